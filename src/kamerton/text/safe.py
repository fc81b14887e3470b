"""Text that is safe to show on a page or in a terminal."""

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
    r"""Remove escapes, control and direction characters, which could move the cursor or reverse a line.

    Line breaks and tabs stay; half surrogate pairs, which cannot be written as UTF-8, become U+FFFD.

    >>> safe_text("a\x1b[2Jb\u202ec\r\nd")
    'abc\nd'
    """
    text = BREAKS.sub("\n", ESCAPES.sub("", text))
    return SURROGATES.sub("\ufffd", CONTROLS.sub("", text))


def one_line(text: str, limit: int) -> str:
    r"""Return a safe text as one line of at most `limit` characters.

    >>> one_line("a  b\nc" * 9, 8)
    'a b ca …'
    """
    line = " ".join(safe_text(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
