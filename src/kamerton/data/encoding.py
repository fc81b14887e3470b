"""Find the encoding of a text file and say what was assumed.

A byte order mark decides. Without one, text that is valid UTF-8 is UTF-8: other encodings hardly ever
happen to be. What is left is one byte a letter: Western (cp1252) where letters beyond ASCII stand
alone among ASCII ones, else the Cyrillic encoding whose letters are the most probable Russian.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, Literal

from kamerton.core.errors import DataError, Fault
from kamerton.data.kinds import HEAD as HEAD_OF_KIND
from kamerton.data.kinds import refuse_other
from kamerton.data.options import FOUND, Options
from kamerton.data.unpack import Bytes
from kamerton.text.russian import likeness

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CYRILLIC = ("cp1251", "koi8-r", "cp866", "mac_cyrillic", "iso8859-5")
HIGH = bytes(range(128, 256))
CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1b")
RUNS = re.compile(rb"[\x80-\xff]+")
SAMPLE = 20_000
"""Words looked at to tell one-byte encodings apart."""
LONGEST_WORD = 60
HEAD = 1 << 16
"""Bytes from the beginning in which marks and control characters are looked for."""
LARGEST_TEXT = 1 << 30
SURE, WRONG = 8, 3
"""Bytes beyond ASCII that make a line surely UTF-8 if all fit, and bytes that do not fit which make it surely not."""
LONGEST_LINE = 1 << 20
UNKNOWN_TO_CP1252 = b"\x81\x8d\x8f\x90\x9d"
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
    other: str = ""
    """The encoding of lines that are not UTF-8, where a file holds lines of two."""

    @property
    def label(self) -> str:
        """The encodings of the file, separated by commas."""
        return f"{self.name}, {self.other}" if self.other else self.name


@dataclass(frozen=True)
class Source:
    """A text file and how its bytes are to be read: not read yet, and read as often as is wanted."""

    content: Bytes
    encoding: Encoding
    options: Options = FOUND

    @property
    def file(self) -> str:
        """The file, as the user named it."""
        return self.content.file

    def open(self) -> io.TextIOWrapper:
        """Read it line by line; a line ends as on Unix, Windows or old Macs, and keeps its end."""
        raw = self.content.open()
        if self.encoding.other:
            raw = io.BufferedReader(OneEncoding(raw, self.encoding.other))
        return io.TextIOWrapper(raw, self.encoding.name, self.encoding.errors, newline="")

    def text(self) -> str:
        """Read it as one text.

        Raises:
            DataError: it is too large to be held in memory.
        """
        with self.open() as file:
            text = file.read(LARGEST_TEXT + 1)
        if len(text) > LARGEST_TEXT:
            rule = f"one JSON document of more than {LARGEST_TEXT >> 30} Gi letters"
            raise DataError(Fault(rule, self.file, "write one object a line (JSONL): that is read piece by piece"))
        return text

    @property
    def notes(self) -> list[str]:
        """What was assumed about the encoding."""
        return [self.encoding.note] if self.encoding.note else []


def decode(content: Bytes) -> Source:
    """Find the encoding of a file's bytes: all are looked at, none are kept.

    Raises:
        DataError: the file is empty, is not text, or is broken UTF-16 or UTF-32.

    """
    file, look = content.file, _Look()
    for chunk in content.chunks():
        if not look.head:
            refuse_other(file, chunk[:HEAD_OF_KIND], "")
        look.take(chunk)
    if look.blank:
        raise DataError(Fault("the file is empty", file, "give a file with rows to learn from"))
    encoding = mark_of(look.head)
    if encoding:
        _require_decodable(content, encoding)
        return Source(content, encoding)
    encoding = look.utf8()
    if look.unsure and (mixed := _mixed(content)):
        return Source(content, mixed)
    if _is_binary(look.head, damaged=encoding is None):
        remedy = "give a table: CSV, TSV, JSON, JSONL or Parquet"
        raise DataError(Fault("this is a binary file, not text", file, remedy))
    return Source(content, encoding or _one_byte(look.runs, look.unknown))


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


def mark_of(head: bytes) -> Encoding | None:
    """Recognise an encoding by the first bytes: a byte order mark, or UTF-16 without one; None if they say nothing."""
    return _marked(head) or _wide(head)


def _marked(raw: bytes) -> Encoding | None:
    name = next((name for mark, name in BOMS if raw.startswith(mark)), None)
    if name == "utf-8-sig":
        return Encoding(name, "surrogateescape")
    return Encoding(name, note=f"read as {name}, by its byte order mark") if name else None


def _wide(head: bytes) -> Encoding | None:
    """Recognise UTF-16 without a mark: every second byte is 0 (Latin) or 4 (Cyrillic), which text never has."""
    for name, start in (("utf-16-le", 1), ("utf-16-be", 0)):
        high = head[start::2]
        if len(high) > 1 and len(high.translate(None, b"\0\4")) < 0.1 * len(high):
            return Encoding(name, note=f"read as {name}, though it has no byte order mark")
    return None


def _require_decodable(content: Bytes, encoding: Encoding) -> None:
    decoder, read = codecs.getincrementaldecoder(encoding.name)(encoding.errors), 0
    try:
        for chunk in content.chunks():
            decoder.decode(chunk)
            read += len(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        place = f"{content.file} near byte {read}"
        raise DataError(Fault(f"this is not valid {encoding.name}", place, "save the file as UTF-8")) from None


def _is_binary(head: bytes, *, damaged: bool) -> bool:
    """Judge by control characters: text that has a few is damaged text."""
    share = 1 - len(head.translate(None, CONTROL)) / len(head)
    return share > 0.3 or (share > 0.05 and damaged)


class _Look:
    """What is seen of a file's bytes while they pass."""

    def __init__(self) -> None:
        self.head = b""
        self.blank = True
        self.unknown = False
        """Whether a byte occurs that cp1252 does not know."""
        self.runs: list[bytes] = []
        """Runs of bytes beyond ASCII, the first of them."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._right = self._broken = 0

    def take(self, chunk: bytes) -> None:
        """Look at the next bytes."""
        self.head = self.head or chunk[:HEAD]
        self.blank = self.blank and not chunk.strip(b" \t\r\n\0")
        self._count(self._decoder.decode(chunk))
        if chunk.isascii():
            return
        self.unknown = self.unknown or chunk.translate(None, UNKNOWN_TO_CP1252) != chunk
        if len(self.runs) < SAMPLE:
            found = islice(RUNS.finditer(chunk), SAMPLE - len(self.runs))
            self.runs += [match.group()[:LONGEST_WORD] for match in found]

    @property
    def unsure(self) -> bool:
        """Whether some bytes beyond ASCII are UTF-8 and others are not."""
        return self._right > 0 and self._broken > 0

    def utf8(self) -> Encoding | None:
        """Recognise UTF-8; where a few bytes are damaged, it is UTF-8 if nearly all bytes beyond ASCII are right."""
        self._count(self._decoder.decode(b"", final=True))
        if not self._broken:
            return Encoding("utf-8")
        if self._right < CERTAIN * self._broken:
            return None
        note = f"{self._broken} bytes are not UTF-8; their rows are left out"
        return Encoding("utf-8", "surrogateescape", note)

    def _count(self, text: str) -> None:
        """Count the bytes beyond ASCII that are UTF-8, and those that are not."""
        if text.isascii():
            return
        whole = text.encode("utf-8", "surrogateescape")
        right = text.encode("utf-8", "ignore")
        self._broken += len(whole) - len(right)
        self._right += _high(right)


def _high(raw: bytes) -> int:
    return len(raw) - len(raw.translate(None, HIGH))


def _one_byte(runs: Sequence[bytes], unknown: bool) -> Encoding:
    """Find the encoding of one byte a letter that fits runs of bytes beyond ASCII best."""
    in_words = sum(len(run) for run in runs if len(run) > 1)
    if in_words < 0.5 * sum(map(len, runs)):
        name = "latin-1" if unknown else "cp1252"
        return Encoding(name, note=f"read as {name}: not UTF-8, and letters beyond ASCII stand alone")
    name = max(CYRILLIC, key=lambda name: sum(likeness(run.decode(name, "replace")) for run in runs))
    return Encoding(name, "surrogateescape", f"read as {name}: not UTF-8, and so the letters are the likeliest Russian")


# ── lines of two encodings ────────────────────────────────────────────────────────────────────


def _mixed(content: Bytes) -> Encoding | None:
    """Recognise a file whose lines are of two encodings, put together out of several: surely UTF-8, and surely not."""
    sure = others = lines = 0
    runs = list[bytes]()
    with content.open() as file:
        while line := file.readline(LONGEST_LINE):
            if line.isascii():
                continue
            lines += 1
            if is_foreign(line):
                others += 1
                runs += [run[:LONGEST_WORD] for run in RUNS.findall(line)][: max(0, SAMPLE - len(runs))]
            elif _high(line) >= SURE and not _wrong(line):
                sure += 1
    if not sure or not others or 2 * (sure + others) < lines:
        return None
    name = _one_byte(runs, unknown=False).name
    note = f"lines of two encodings: {others} are read as {name}, the others as UTF-8"
    return Encoding("utf-8", "surrogateescape", note, name)


def is_foreign(line: bytes) -> bool:
    """Return whether a line is of an encoding other than UTF-8, and no UTF-8 with a damaged byte."""
    wrong = _wrong(line)
    return wrong >= WRONG and wrong > _high(line) - wrong


def _wrong(line: bytes) -> int:
    """Count the bytes that are not UTF-8."""
    return _high(line) - _high(line.decode("utf-8", "ignore").encode("utf-8"))


class OneEncoding(io.RawIOBase):
    """The bytes of a file of two encodings as UTF-8."""

    def __init__(self, raw: BinaryIO, other: str) -> None:
        super().__init__()
        self._raw, self._other, self._left = raw, other, b""

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Return the next bytes, line by line."""
        if not self._left:
            line = self._raw.readline(LONGEST_LINE)
            if not line.isascii() and is_foreign(line):
                line = line.decode(self._other, "surrogateescape").encode("utf-8", "surrogateescape")
            self._left = line
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count

    def close(self) -> None:
        """Close the file beneath."""
        self._raw.close()
        super().close()
