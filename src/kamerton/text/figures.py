"""Text and numbers as a reader meets them, on a page or on a terminal."""

from __future__ import annotations

import math
import re

ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]"
)
"""Terminal control sequences (ECMA-48): CSI, OSC and the two-character ones."""
BREAKS = re.compile("\r\n|[\r\u2028\u2029]")
BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Direction controls: they can make a text read as another one (Boucher and Anderson 2021, "Trojan Source")."""
NONCHARACTERS = "\ufdd0-\ufdef" + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
CONTROLS = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{BIDI}{NONCHARACTERS}]")
SURROGATES = re.compile("[\ud800-\udfff]")


def safe_text(text: str) -> str:
    r"""Take out what could move a cursor or turn a line around: escapes, control and direction characters.

    Line breaks and tabs stay; half surrogate pairs, which cannot be written as UTF-8, become U+FFFD.

    >>> safe_text("a\x1b[2Jb\u202ec\r\nd")
    'abc\nd'
    """
    text = BREAKS.sub("\n", ESCAPES.sub("", text))
    return SURROGATES.sub("\ufffd", CONTROLS.sub("", text))


def one_line(text: str, limit: int) -> str:
    r"""Make a safe text fit one line of at most `limit` characters.

    >>> one_line("a  b\nc" * 9, 8)
    'a b ca …'
    """
    line = " ".join(safe_text(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def number(value: float) -> str:
    """Write a number with three or four telling digits; what is not a number as a dash.

    >>> number(0.8731), number(-12.5), number(31415.9), number(0.0002), number(1200)
    ('0.873', '−12.50', '31,416', '0.0002', '1,200')
    """
    if math.isnan(value):
        return "–"
    size = abs(value)
    if math.isinf(value):
        text = "∞"
    elif isinstance(value, int) or size >= 1000:
        text = f"{size:,.0f}"
    elif 0 < size < 0.001:
        text = f"{size:.2g}".replace("e-0", "e-")
    else:
        text = f"{size:.3f}" if size < 10 else f"{size:.2f}" if size < 100 else f"{size:.1f}"
    return f"−{text}" if value < 0 else text


def signed(value: float) -> str:
    """Write a difference with its sign.

    >>> signed(0.05), signed(-0.05), signed(0.0)
    ('+0.050', '−0.050', '0.000')
    """
    return f"+{number(value)}" if value > 0 else number(value)


def percent(share: float) -> str:
    """Write a share in per cent.

    >>> percent(0.0412), percent(0.95)
    ('4.1%', '95%')
    """
    return f"{100 * share:.1f}".removesuffix(".0") + "%"


def probability(value: float) -> str:
    """Write a p-value: two telling digits where it is small, and never nought.

    >>> probability(0.0013), probability(0.287), probability(0.0)
    ('0.0013', '0.287', 'below 0.0001')
    """
    if value < 0.0001:
        return "below 0.0001"
    return f"{value:.2g}" if value < 0.01 else number(value)


def duration(seconds: float) -> str:
    """Write a time in the two largest units that matter.

    >>> duration(0.42), duration(75), duration(7260)
    ('0.4 s', '1 min 15 s', '2 h 01 min')
    """
    if math.isnan(seconds):
        return "–"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3599.5:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def scaled(count: float, step: int, units: tuple[str, ...]) -> str:
    """Write a large count in the unit that leaves one to three digits before the point.

    >>> scaled(22_700_000, 1000, ("", "K", "M", "B")), scaled(1536, 1024, (" B", " KB"))
    ('22.7M', '1.5 KB')
    """
    power = 0
    while abs(count) >= step and power < len(units) - 1:
        count, power = count / step, power + 1
    digits = f"{count:.0f}" if power == 0 or abs(count) >= 100 else f"{count:.1f}"
    return digits + units[power]


def parameters(count: int) -> str:
    """Write a number of weights: `22.7M`."""
    return scaled(count, 1000, ("", "K", "M", "B", "T"))


def memory(count: int) -> str:
    """Write a number of bytes: `1.5 GB` (powers of 1024)."""
    return scaled(count, 1024, (" B", " KB", " MB", " GB", " TB"))
