"""Repair texts without changing what they say: wrong encodings (mojibake), HTML entities, invisible signs, spaces.

Of mojibake there are two kinds: UTF-8 read as a one-byte encoding (`Ã©`, `РџСЂ`), which decodes again as UTF-8 as
hardly any real text does; and one Cyrillic encoding read as another, or as Western (`Ïðèâåò`, `рТЙЧЕФ`), whose letters
are improbable Russian until they are put right. Letters that were lost (`????`, `�`) are counted; they cannot be
repaired.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from kamerton.core.messages import Joined, Message, msg

ENTITY = re.compile(r"&(?:[A-Za-z]{2,8}|#\d{2,6}|#[xX][0-9A-Fa-f]{2,5});")
TAG = re.compile(
    r"</?(?:a|b|i|u|p|br|hr|em|li|ol|ul|td|th|tr|div|img|span|font|code|pre|table|tbody|strong|script|style|"
    r"blockquote|h[1-6])(?:\s[^<>]{0,300})?/?>",
    re.IGNORECASE,
)
"""Tags of pages; angle brackets of other kinds are left to mathematics, code and templates."""
INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\xad\u200b\u2060\ufeff]")
"""Control characters, soft hyphens, zero-width spaces, byte order marks: a tokenizer sees what a reader does not."""
ODD_SPACE = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
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
HIGH_RUN = re.compile(r"[^\x00-\x7f]+")
WESTERN_RUN = re.compile("[À-ÿ¨¸£³]{3,}")
"""Accented letters in a row, which Western languages hardly have, and Cyrillic ones read as Western always do."""
CYRILLIC_OR_BOX = re.compile("[\u0400-\u045f\u2550-\u256c\u0490\u0491]")
LIKELY = -2.9
"""Likeness of real Russian, in nats a letter, is hardly ever below this."""
FREQUENCY = {
    "о": 10.97, "е": 8.45, "а": 8.01, "и": 7.35, "н": 6.70, "т": 6.26, "с": 5.47, "р": 4.73, "в": 4.54, "л": 4.40,
    "к": 3.49, "м": 3.21, "д": 2.98, "п": 2.81, "у": 2.62, "я": 2.01, "ы": 1.90, "ь": 1.74, "г": 1.70, "з": 1.65,
    "б": 1.59, "ч": 1.44, "й": 1.21, "х": 0.97, "ж": 0.94, "ш": 0.73, "ю": 0.64, "ц": 0.48, "щ": 0.36, "э": 0.32,
    "ф": 0.26, "ъ": 0.04, "ё": 0.04,
}  # fmt: skip
"""Letters of Russian text in per cent, rounded, as counted in the Russian National Corpus."""
PUNCTUATION = frozenset("«»—–…№“”„‘’§°\xa0")
VOWELS = frozenset("аеёиоуыэюя")
ALTERNATION, CAPITALS, ODD_CAPITAL, FOREIGN = 0.85, -2.0, -3.0, -8.0
"""Log odds: a vowel next to a consonant (in Russian 7 pairs of 10), a word in capitals, a capital after a small letter,
a sign that is not of Russian text."""


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

    def among(first: int, last: int) -> str:
        return f"[{''.join(re.escape(sign) for sign, byte in _bytes_of(codec).items() if first <= byte <= last)}]"

    more = among(0x80, 0xBF)
    return re.compile(f"(?:{among(0xC2, 0xDF)}{more}|{among(0xE0, 0xEF)}{more}{{2}}|{among(0xF0, 0xF4)}{more}{{3}})+")


@cache
def _exchange(mistake: Misreading) -> dict[int, str]:
    """Map characters read as one encoding to those that their bytes have in another."""
    table = _bytes_of(mistake.read_as)
    return {ord(letter): bytes([byte]).decode(mistake.truly, "replace") for letter, byte in table.items()}


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
        return b"".join(bytes([known[sign]]) if sign in known else sign.encode("ascii") for sign in text).decode()
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

    def decoded(found: re.Match[str]) -> str:
        letters = _as_utf8(found[0], codec) or ""
        fits = codec == WESTERN or all(ord(letter) in EUROPEAN for letter in letters)
        return letters if letters and fits else found[0]

    return _misread(codec).sub(decoded, text)


def _from_one_byte(text: str) -> Mended | None:
    """Exchange one-byte encodings where that makes likely Russian of what is not."""
    head = text[:LOOKED_AT]
    runs = HIGH_RUN.findall(head)
    letters = sum(map(len, runs))
    if letters < LEAST_LETTERS:
        return None
    if sum(map(len, WESTERN_RUN.findall(head))) > PART * letters:
        pairs = FROM_WESTERN
    elif len(CYRILLIC_OR_BOX.findall(head)) > CYRILLIC_PART * letters:
        pairs = FROM_CYRILLIC
    else:
        return None
    now = sum(map(likeness, runs))
    if now > LIKELY * letters:
        return None
    scores = {pair: sum(likeness(run.translate(_exchange(pair))) for run in runs) for pair in pairs}
    best = max(pairs, key=lambda pair: scores[pair])
    return Mended(text.translate(_exchange(best)), (best,)) if scores[best] - now >= GAIN * letters else None


def neat(text: str) -> tuple[str, list[Message]]:
    """Repair HTML entities, invisible signs and odd spaces of a text; return it, and what was repaired.

    >>> neat("Ïðèâåò ")[0]
    'Ïðèâåò'
    """
    repairs = []
    for name, repair in REPAIRS.items():
        before, text = text, repair(text)
        if text != before:
            repairs.append(name)
    return text, repairs


def unescape(text: str) -> str:
    """Replace HTML entities by the letters they stand for, once."""
    return ENTITY.sub(lambda match: html.unescape(match.group()), text) if "&" in text else text


def _tidy_space(text: str) -> str:
    """Replace odd spaces and strip the ends; the indentation of a first line of several stays."""
    text = ODD_SPACE.sub(" ", text).rstrip()
    return text.lstrip("\r\n") if "\n" in text.strip() else text.lstrip()


REPAIRS = {
    msg("HTML entities"): unescape,
    msg("invisible signs"): lambda text: INVISIBLE.sub("", text.replace("\r\n", "\n")),
    msg("spaces"): _tidy_space,
}
"""By name, in the order in which they are made."""


@lru_cache(maxsize=1 << 16)
def likeness(word: str) -> float:
    """Score a word as Russian: log frequencies of its letters, and odds for how they follow each other.

    >>> likeness("привет") > likeness("РТЙЧЕФ")
    True
    """
    score = CAPITALS if word.isupper() and len(word) > 1 else 0.0
    for before, sign in zip(" " + word, word, strict=False):
        letter = sign.lower()
        if letter not in FREQUENCY:
            score += FOREIGN / 2 if sign in PUNCTUATION else FOREIGN
            continue
        score += math.log(FREQUENCY[letter] / 100)
        if before.lower() in FREQUENCY and (before.lower() in VOWELS) != (letter in VOWELS):
            score += ALTERNATION
        if sign.isupper() and before.islower():
            score += ODD_CAPITAL
    return score
