"""Numbers as a reader meets them: how many digits, which unit, and which signs a language writes them with."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Style = Literal[
    "number", "tenths", "hundredths", "thousandths", "ten-thousandths", "signed", "signed tenths",
    "signed hundredths", "signed thousandths", "signed ten-thousandths", "percent", "change", "share",
    "probability", "duration", "parameters", "memory",
]  # fmt: skip


@dataclass(frozen=True)
class Symbols:
    """The signs and units of one language."""

    decimal: str = "."
    group: str = ","
    gap: str = " "
    """What stands between a number and its unit."""
    percent: str = "%"
    below: str = "below {limit}"
    above: str = "above {limit}"
    units: Mapping[str, str] = field(default_factory=dict)
    """English units and their names in this language; a unit that is not named here is written as in English."""

    def localize(self, digits: str) -> str:
        """Write the separators of an English number in this language.

        >>> Symbols(decimal=",", group=" ").localize("31,416.5")
        '31 416,5'
        """
        return digits.translate({ord(","): self.group, ord("."): self.decimal})

    def with_unit(self, digits: str, unit: str) -> str:
        """Write a number with its unit: `1.5 GB`, `22.7M`."""
        name = self.units.get(unit, unit)
        glued = name == unit and unit in ("", "K", "M", "B", "T")
        return f"{self.localize(digits)}{'' if glued else self.gap}{name}"


ENGLISH_SYMBOLS = Symbols()
LARGEST, LIMIT = 1e15, "10¹⁵"
"""Nothing that is measured comes near it: what exceeds it has overflown, and is written in words."""


@dataclass(frozen=True)
class Figure:
    """A number and the style it is written in."""

    value: float
    style: Style = "number"

    def write(self, symbols: Symbols = ENGLISH_SYMBOLS) -> str:
        """Return the number as text.

        >>> Figure(0.8731).write(), Figure(0.25, "share").write(), Figure(75, "duration").write()
        ('0.873', '25%', '1 min 15 s')
        """
        return (WRITERS[self.style] if abs(self.value) < LARGEST else number)(self.value, symbols)


def number(value: float, symbols: Symbols = ENGLISH_SYMBOLS) -> str:
    """Write a number with three or four significant digits; NaN as a dash, one that has overflown in words.

    >>> number(0.8731), number(-12.5), number(31415.9), number(0.0002), number(1200), number(math.inf)
    ('0.873', '−12.50', '31,416', '0.0002', '1,200', 'above 10¹⁵')
    """
    if math.isnan(value):
        return "–"
    if abs(value) >= LARGEST:
        return symbols.above.format(limit=LIMIT) if value > 0 else symbols.below.format(limit=f"−{LIMIT}")
    text = symbols.localize(_digits(value))
    return f"−{text}" if value < 0 else text


def _digits(value: float) -> str:
    size = abs(value)
    if isinstance(value, int) or size >= 1000:
        return f"{size:,.0f}"
    if 0 < size < 0.001:
        return f"{size:.2g}".replace("e-0", "e-")
    return f"{size:.3f}" if size < 10 else f"{size:.2f}" if size < 100 else f"{size:.1f}"


def fixed(digits: str) -> Callable[[float, Symbols], str]:
    """Return a writer of numbers with a fixed number of decimals.

    >>> fixed(",.1f")(1.44, ENGLISH_SYMBOLS), fixed("+,.2f")(-2, ENGLISH_SYMBOLS)
    ('1.4', '−2.00')
    """
    return lambda value, symbols: symbols.localize(format(value, digits)).replace("-", "−")


def signed(value: float, symbols: Symbols = ENGLISH_SYMBOLS) -> str:
    """Write a difference with its sign.

    >>> signed(0.05), signed(-0.05), signed(0.0)
    ('+0.050', '−0.050', '0.000')
    """
    return f"+{number(value, symbols)}" if value > 0 else number(value, symbols)


def percent(share: float, symbols: Symbols = ENGLISH_SYMBOLS) -> str:
    """Write a share as a percentage with one decimal where it is needed.

    >>> percent(0.0412), percent(0.95)
    ('4.1%', '95%')
    """
    return symbols.localize(f"{100 * share:.1f}".removesuffix(".0")) + symbols.percent


def change(share: float, symbols: Symbols = ENGLISH_SYMBOLS) -> str:
    """Write a relative difference as a whole percentage with its sign.

    >>> change(0.062), change(-0.25), change(0.001)
    ('+6%', '−25%', '+0%')
    """
    sign = "−" if round(100 * share) < 0 else "+"
    return f"{sign}{symbols.localize(f'{abs(round(100 * share)):,}')}{symbols.percent}"


def share(part: float, symbols: Symbols = ENGLISH_SYMBOLS) -> str:
    """Write a share of rows: a small one is never written as zero.

    >>> share(0.014), share(0.0002)
    ('1.4%', 'below 0.1%')
    """
    if 0 < part < 0.0005:
        return symbols.below.format(limit=percent(0.001, symbols))
    return percent(part, symbols)


def probability(value: float, symbols: Symbols = ENGLISH_SYMBOLS) -> str:
    """Write a p-value: two significant digits where it is small, and never zero.

    >>> probability(0.0013), probability(0.287), probability(0.0)
    ('0.0013', '0.287', 'below 0.0001')
    """
    if value < 0.0001:
        return symbols.below.format(limit=symbols.localize("0.0001"))
    return symbols.localize(f"{value:.2g}") if value < 0.01 else number(value, symbols)


def duration(seconds: float, symbols: Symbols = ENGLISH_SYMBOLS) -> str:
    """Write a time in its two largest units.

    >>> duration(0.42), duration(75), duration(7260)
    ('0.4 s', '1 min 15 s', '2 h 01 min')
    """
    if seconds < 59.5:
        return symbols.with_unit(f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}", "s")
    large, small = ("min", "s") if seconds < 3599.5 else ("h", "min")
    count = round(seconds) if large == "min" else round(seconds / 60)
    return f"{symbols.with_unit(str(count // 60), large)} {symbols.with_unit(f'{count % 60:02d}', small)}"


def scaled(count: float, step: int, units: tuple[str, ...], symbols: Symbols = ENGLISH_SYMBOLS) -> str:
    """Write a large count in the unit that leaves one to three digits before the decimal point.

    >>> scaled(22_700_000, 1000, ("", "K", "M", "B")), scaled(1536, 1024, ("bytes", "KB"))
    ('22.7M', '1.5 KB')
    """
    power = 0
    while abs(count) >= step and power < len(units) - 1:
        count, power = count / step, power + 1
    digits = f"{count:.0f}" if power == 0 or abs(count) >= 100 else f"{count:.1f}"
    return symbols.with_unit(digits, units[power])


def parameters(count: float, symbols: Symbols = ENGLISH_SYMBOLS) -> str:
    """Write a number of weights: `22.7M`."""
    return scaled(count, 1000, ("", "K", "M", "B", "T"), symbols)


def memory(count: float, symbols: Symbols = ENGLISH_SYMBOLS) -> str:
    """Write a number of bytes in powers of 1024: `1.5 GB`."""
    return scaled(count, 1024, ("bytes", "KB", "MB", "GB", "TB"), symbols)


WRITERS: Mapping[Style, Callable[[float, Symbols], str]] = {
    "number": number,
    "tenths": fixed(",.1f"),
    "hundredths": fixed(",.2f"),
    "thousandths": fixed(",.3f"),
    "ten-thousandths": fixed(",.4f"),
    "signed": signed,
    "signed tenths": fixed("+,.1f"),
    "signed hundredths": fixed("+,.2f"),
    "signed thousandths": fixed("+,.3f"),
    "signed ten-thousandths": fixed("+,.4f"),
    "percent": percent,
    "change": change,
    "share": share,
    "probability": probability,
    "duration": duration,
    "parameters": parameters,
    "memory": memory,
}
