"""Find the encoding of a text file and say what was assumed.

A byte order mark decides. Without one, text that is valid UTF-8 is UTF-8: other encodings hardly ever
happen to be. What is left is one byte a letter: Western (cp1252) where letters beyond ASCII stand
alone among ASCII ones, else the Cyrillic encoding whose letters are the most probable Russian.
"""

from __future__ import annotations

import codecs
import io
import math
import re
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from kamerton.errors import DataError, Fault

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SIGNATURES = (
    (b"PAR1", "Parquet", "let the name end in .parquet"),
    (b"\x1f\x8b", "gzip", "let the name end in .gz after the format: rows.csv.gz"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "save the sheet as CSV, encoded in UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word document", "save the sheet as CSV, encoded in UTF-8"),
    (b"%PDF", "PDF", "give a table: CSV, TSV, JSON, JSONL or Parquet"),
)
CYRILLIC = ("cp1251", "koi8-r", "cp866")
HIGH = bytes(range(128, 256))
CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1b")
RUNS = re.compile(rb"[\x80-\xff]+")
SAMPLE = 20_000
"""Words looked at to tell one-byte encodings apart."""
LONGEST_WORD = 60
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
CERTAIN = 4
"""A text is damaged UTF-8, not another encoding, if this many times more of its high bytes fit UTF-8 than do not:
some pairs and triples of Cyrillic letters in one-byte encodings happen to fit."""


@dataclass(frozen=True)
class Encoding:
    """How to read a file's bytes as text."""

    name: str
    errors: Literal["strict", "surrogateescape"] = "strict"
    """`surrogateescape` where single bytes are damaged: `flaw` finds them in the rows concerned."""
    note: str = ""


@dataclass(frozen=True)
class Source:
    """A text file that was read: its name, bytes and encoding."""

    file: str
    raw: bytes
    encoding: Encoding

    def open(self) -> io.TextIOWrapper:
        """Read it line by line; a line ends as on Unix, Windows or old Macs, and keeps its end."""
        return io.TextIOWrapper(io.BytesIO(self.raw), self.encoding.name, self.encoding.errors, newline="")

    def text(self) -> str:
        """Read it as one text."""
        return self.raw.decode(self.encoding.name, self.encoding.errors)

    @property
    def notes(self) -> list[str]:
        """What was assumed about the encoding."""
        return [self.encoding.note] if self.encoding.note else []


def decode(file: str, raw: bytes) -> Source:
    """Find the encoding of a file's bytes.

    Raises:
        DataError: the file is empty, is not text, or is broken UTF-16 or UTF-32.

    """
    if not raw.strip(b" \t\r\n\0"):
        raise DataError(Fault("the file is empty", file, "give a file with rows to learn from"))
    for signature, kind, remedy in SIGNATURES:
        if raw.startswith(signature):
            raise DataError(Fault(f"this is {kind}, not text", file, remedy))
    encoding = _marked(raw) or _wide(raw)
    if encoding:
        _require_decodable(file, raw, encoding)
        return Source(file, raw, encoding)
    if _is_binary(raw):
        remedy = "give a table: CSV, TSV, JSON, JSONL or Parquet"
        raise DataError(Fault("this is a binary file, not text", file, remedy))
    return Source(file, raw, _utf8(raw) or _one_byte(raw))


def flaw(text: str) -> str:
    r"""Say what makes a text unusable: a NUL, a damaged byte, half a character; an empty string if nothing.

    >>> flaw("тест"), flaw("a\0b")
    ('', 'holds a NUL character')
    """
    if "\0" in text:
        return "holds a NUL character"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            return f"holds the byte 0x{code - 0xDC00:02x}, which is not UTF-8"
        return f"holds half a character (the lone surrogate \\u{code:04x})"
    return ""


def _marked(raw: bytes) -> Encoding | None:
    name = next((name for mark, name in BOMS if raw.startswith(mark)), None)
    if name == "utf-8-sig":
        return Encoding(name, "surrogateescape")
    return Encoding(name, note=f"read as {name}, by its byte order mark") if name else None


def _wide(raw: bytes) -> Encoding | None:
    """Recognise UTF-16 without a mark: every second byte is 0 (Latin) or 4 (Cyrillic), which text never has."""
    head = raw[: 1 << 16]
    for name, start in (("utf-16-le", 1), ("utf-16-be", 0)):
        high = head[start::2]
        if len(high) > 1 and len(high.translate(None, b"\0\4")) < 0.1 * len(high):
            return Encoding(name, note=f"read as {name}, though it has no byte order mark")
    return None


def _require_decodable(file: str, raw: bytes, encoding: Encoding) -> None:
    try:
        raw.decode(encoding.name, encoding.errors)
    except UnicodeDecodeError as error:
        fault = Fault(f"this is not valid {encoding.name}", f"{file} byte {error.start}", "save the file as UTF-8")
        raise DataError(fault) from None


def _is_binary(raw: bytes) -> bool:
    """Judge by control characters: text that has a few is damaged text."""
    head = raw[: 1 << 16]
    share = 1 - len(head.translate(None, CONTROL)) / len(head)
    return share > 0.3 or (share > 0.05 and _utf8(raw) is None)


def _utf8(raw: bytes) -> Encoding | None:
    """Recognise UTF-8; where a few bytes are damaged, it is UTF-8 if nearly all bytes beyond ASCII are right."""
    text = raw.decode("utf-8", "surrogateescape")
    right = text.encode("utf-8", "ignore")
    broken = len(raw) - len(right)
    if not broken:
        return Encoding("utf-8")
    if _high(right) < CERTAIN * broken:
        return None
    return Encoding("utf-8", "surrogateescape", f"{broken} bytes are not UTF-8; their rows are left out")


def _high(raw: bytes) -> int:
    return len(raw) - len(raw.translate(None, HIGH))


def _one_byte(raw: bytes) -> Encoding:
    runs = [match.group()[:LONGEST_WORD] for match in islice(RUNS.finditer(raw), SAMPLE)]
    in_words = sum(len(run) for run in runs if len(run) > 1)
    if in_words < 0.5 * sum(map(len, runs)):
        name = "latin-1" if raw.translate(None, b"\x81\x8d\x8f\x90\x9d") != raw else "cp1252"
        return Encoding(name, note=f"read as {name}: not UTF-8, and letters beyond ASCII stand alone")
    name = max(CYRILLIC, key=lambda name: sum(_russian(run.decode(name, "replace")) for run in runs))
    return Encoding(name, "surrogateescape", f"read as {name}: not UTF-8, and so the letters are the likeliest Russian")


def _russian(word: str) -> float:
    """Score a word as Russian: log frequencies of its letters, and odds for how they follow each other."""
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
