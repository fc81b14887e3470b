"""Detect and repair text that was read in a wrong encoding (mojibake).

Two kinds: UTF-8 read as a one-byte encoding (`Ã©`, `РџСЂ`), which decodes again as UTF-8 as hardly any
real text does; and one Cyrillic encoding read as another, or as Western (`Ïðèâåò`, `рТЙЧЕФ`), whose
letters are improbable Russian until they are put right. Letters that were lost (`????`, `�`) are
counted; they cannot be repaired.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from kamerton.core.messages import Joined, Message, msg
from kamerton.text.russian import likeness

UTF8 = "UTF-8"
LETTERS_LOST = msg("letters lost in reading")
WESTERN = "cp1252"
CYRILLIC = ("cp1251", "koi8-r", "cp866")
ROUNDS = 3
"""Damage is sometimes done twice or thrice."""
LEAST_LETTERS = 6
"""Letters from which on improbable Russian is recognized."""
PART = 0.6
"""Share of the signs beyond ASCII that a mistake must explain."""
CYRILLIC_PART = 0.4
"""Share of Cyrillic letters and boxes among them: half of the small letters of cp866 are signs in cp1251."""
EUROPEAN = frozenset((*range(0xA0, 0x460), *range(0x490, 0x492), *range(0x2000, 0x2300)))
"""Letters and signs that were in a text read as Cyrillic."""
GAIN = 0.7
"""Least gain in likeness to Russian, in nats a letter: real Russian loses more than that by any wrong reading."""
LOOKED_AT = 300
"""Characters of a text by which it is judged."""
LOST = re.compile("\ufffd|(?<![\\w?])\\?{3,}(?:\\s+\\?{2,})+|(?<=\\w)\\?{3,}(?=\\w)")
"""Signs that stand for lost letters: the replacement character, words of question marks, and such marks in a word."""


@dataclass(frozen=True)
class Mended:
    """A text put right, and how it had been misread."""

    text: str
    steps: tuple[Misreading, ...]
    """The wrong readings, the last one first."""


@dataclass(frozen=True)
class Misreading:
    """Bytes of one encoding read as another."""

    read_as: str
    truly: str


FROM_WESTERN = tuple(Misreading(WESTERN, truly) for truly in ("cp1251", "koi8-r"))
FROM_CYRILLIC = tuple(Misreading(one, other) for one in CYRILLIC for other in CYRILLIC if one != other)


@cache
def _bytes_of(codec: str) -> dict[str, int]:
    """Map the characters of a one-byte encoding to bytes; a byte without one stands for itself, as browsers do it."""
    table = {chr(byte): byte for byte in range(128, 256)} if codec == WESTERN else {}
    for byte in range(128, 256):
        letter = bytes([byte]).decode(codec, "replace")
        table[chr(byte) if letter == "\ufffd" else letter] = byte
    return table


@cache
def _misread(codec: str) -> re.Pattern[str]:
    """Return the pattern of letters of UTF-8 read as `codec`: two to four characters that were its bytes."""
    signs: dict[int, list[str]] = {}
    for letter, byte in _bytes_of(codec).items():
        signs.setdefault(byte, []).append(letter)

    def among(first: int, last: int) -> str:
        return "[" + "".join(re.escape(letter) for byte in range(first, last + 1) for letter in signs[byte]) + "]"

    more = among(0x80, 0xBF)
    return re.compile(f"(?:{among(0xC2, 0xDF)}{more}|{among(0xE0, 0xEF)}{more}{{2}}|{among(0xF0, 0xF4)}{more}{{3}})+")


@cache
def _exchange(mistake: Misreading) -> dict[int, str]:
    """Map characters read as one encoding to those that their bytes have in another."""
    table = _bytes_of(mistake.read_as)
    return {ord(letter): bytes([byte]).decode(mistake.truly, "replace") for letter, byte in table.items()}


HIGH_RUN = re.compile(r"[^\x00-\x7f]+")
WESTERN_RUN = re.compile("[À-ÿ¨¸£³]{3,}")
"""Accented letters in a row, which Western languages hardly have, and Cyrillic ones read as Western always do."""
CYRILLIC_OR_BOX = re.compile("[\u0400-\u045f\u2550-\u256c\u0490\u0491]")
LIKELY = -2.9
"""Likeness of real Russian, in nats a letter, is hardly ever below this."""


def damage_by(steps: Sequence[Misreading]) -> Message:
    """Return the name of the damage that wrong readings did.

    >>> str(damage_by([Misreading("cp1252", UTF8)]))
    'UTF-8 read as cp1252'
    """
    parts = [msg("{truly} read as {read_as}", truly=step.truly, read_as=step.read_as) for step in steps]
    return msg("{damages}", damages=Joined(parts, ", then "))


def damage_of(text: str) -> Message | None:
    r"""Return the damage of a text; None if there is none.

    >>> str(damage_of("Ð\x9fÑ\x80Ð¸Ð²ÐµÑ\x82")), damage_of("Привет")
    ('UTF-8 read as cp1252', None)
    """
    if text.isascii() and "???" not in text:
        return None
    mended = mend(text)
    return damage_by(mended.steps) if mended else LETTERS_LOST if LOST.search(text) else None


def mend(text: str) -> Mended | None:
    """Reverse wrong readings, up to three in a row; None if there is none.

    >>> mend("Ïðèâåò, ìèð").text
    'Привет, мир'
    """
    steps: list[Misreading] = []
    for _ in range(ROUNDS):
        found = None if text.isascii() else _from_one_byte(text) or _from_utf8(text)
        if found is None or found.text.count("\ufffd") > text.count("\ufffd"):
            break
        text = found.text
        steps += found.steps
    return Mended(text, tuple(steps)) if steps else None


def undo(text: str, steps: Sequence[Misreading]) -> str | None:
    """Reverse wrong readings that other texts show; None if this text was not misread so.

    >>> undo("äà", [Misreading("cp1252", "cp1251")]), undo("да", [Misreading("cp1252", "cp1251")])
    ('да', None)
    """
    for step in steps:
        again = _as_utf8(text, step.read_as) if step.truly == UTF8 else _exchanged(text, step)
        if again is None:
            return None
        text = again
    return text


def _as_utf8(text: str, codec: str) -> str | None:
    known = _bytes_of(codec)
    try:
        return b"".join(bytes([known[sign]]) if sign in known else sign.encode("ascii") for sign in text).decode(
            "utf-8"
        )
    except UnicodeError:
        return None


def _exchanged(text: str, mistake: Misreading) -> str | None:
    """Exchange encodings if that gives letters alone, and likelier ones between Cyrillic encodings."""
    table = _bytes_of(mistake.read_as)
    if not all(sign.isascii() or sign in table for sign in text):
        return None
    again = text.translate(_exchange(mistake))
    runs, now = HIGH_RUN.findall(again), HIGH_RUN.findall(text)
    better = mistake.read_as == WESTERN or sum(map(likeness, runs)) > sum(map(likeness, now))
    return again if better and all(run.isalpha() for run in runs) else None


def _from_utf8(text: str) -> Mended | None:
    """Read again as UTF-8 what was read as another encoding, if one explains it."""
    read_again = [(codec, _sub_utf8(text, codec)) for codec in (WESTERN, *CYRILLIC)]
    codec, mended = min(read_again, key=lambda pair: len(pair[1]))
    return Mended(mended, (Misreading(codec, UTF8),)) if len(mended) < len(text) else None


def _sub_utf8(text: str, codec: str) -> str:
    """Read pieces of a text again, if they are enough not to be there by chance."""
    pieces = _misread(codec).findall(text)
    high = sum(map(len, HIGH_RUN.findall(text)))
    if not pieces or (codec != WESTERN and sum(map(len, pieces)) < max(4, PART * high)):
        return text
    return _misread(codec).sub(lambda match: _decoded(match.group(), codec), text)


def _decoded(piece: str, codec: str) -> str:
    try:
        letters = bytes(_bytes_of(codec)[letter] for letter in piece).decode("utf-8")
    except UnicodeDecodeError:
        return piece
    return letters if codec == WESTERN or all(ord(letter) in EUROPEAN for letter in letters) else piece


def _from_one_byte(text: str) -> Mended | None:
    """Exchange one-byte encodings where that makes likely Russian of what is not."""
    head = text[:LOOKED_AT]
    runs = HIGH_RUN.findall(head)
    letters = sum(map(len, runs))
    if letters < LEAST_LETTERS:
        return None
    pairs = _possible_readings(head, letters)
    now = sum(map(likeness, runs)) if pairs else 0.0
    if not pairs or now > LIKELY * letters:
        return None
    scores = {pair: sum(likeness(run.translate(_exchange(pair))) for run in runs) for pair in pairs}
    best = max(pairs, key=lambda pair: scores[pair])
    if scores[best] - now < GAIN * letters:
        return None
    return Mended(text.translate(_exchange(best)), (best,))


def _possible_readings(text: str, letters: int) -> tuple[Misreading, ...]:
    """Return the wrong readings that are possible for a text with so many letters beyond ASCII."""
    if sum(map(len, WESTERN_RUN.findall(text))) > PART * letters:
        return FROM_WESTERN
    return FROM_CYRILLIC if len(CYRILLIC_OR_BOX.findall(text)) > CYRILLIC_PART * letters else ()
