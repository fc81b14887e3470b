"""Detect the encoding of a text file, and note what was assumed.

A byte order mark decides. Without one, text that is valid UTF-8 is UTF-8, since other encodings hardly ever are. The
rest is a single-byte encoding: Western (cp1252) where non-ASCII letters stand alone among ASCII ones, else the
Cyrillic encoding in which the text is the most probable Russian.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, Literal

from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import Wording, msg
from kamerton.data.kinds import HEAD as KIND_HEAD
from kamerton.data.kinds import TABLE, refuse_other
from kamerton.data.table import FOUND, Options
from kamerton.data.unpack import CHUNK, Bytes, held
from kamerton.text.repair import likeness

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CYRILLIC = ("cp1251", "koi8-r", "cp866", "mac_cyrillic", "iso8859-5")
HIGH = bytes(range(128, 256))
CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1b")
RUNS = re.compile(rb"[\x80-\xff]+")
SAMPLE = 20_000
"""Words by which single-byte encodings are told apart."""
LONGEST_WORD = 60
HEAD = 1 << 16
"""Bytes at the beginning in which marks and control characters are looked for."""
LARGEST_TEXT = 1 << 30
SURE, WRONG = 8, 3
"""Non-ASCII bytes that make a line surely UTF-8 if all are valid, and invalid bytes that make it surely not UTF-8."""
LONGEST_LINE = 1 << 20
UNKNOWN_TO_CP1252 = b"\x81\x8d\x8f\x90\x9d"
CERTAIN = 4
"""A text is damaged UTF-8, not another encoding, if it has this many times as many valid non-ASCII bytes as invalid
ones: some pairs and triples of Cyrillic letters in single-byte encodings happen to be valid."""


@dataclass(frozen=True)
class Encoding:
    """How to decode a file's bytes."""

    name: str
    errors: Literal["strict", "surrogateescape"] = "strict"
    """`surrogateescape` where single bytes may be damaged: `flaw` finds them in their rows."""
    note: Wording = ""
    other: str = ""
    """The encoding of lines that are not UTF-8, where a file holds lines of two."""

    @property
    def label(self) -> str:
        """The encodings of the file, separated by commas."""
        return f"{self.name}, {self.other}" if self.other else self.name


@dataclass(frozen=True)
class Source:
    """A text file and its encoding; it is read anew whenever it is opened."""

    content: Bytes
    encoding: Encoding
    options: Options = FOUND

    @property
    def file(self) -> str:
        """The name of the file, as the user wrote it."""
        return self.content.file

    def open(self) -> io.TextIOWrapper:
        """Open it as text; a line ends as on Unix, Windows or old Macs, and keeps its end."""
        raw = self.content.open()
        if self.encoding.other:
            raw = io.BufferedReader(_OneEncoding(raw, self.encoding.other))
        return io.TextIOWrapper(raw, self.encoding.name, self.encoding.errors, newline="")

    def lines(self) -> Iterator[str]:
        """Yield its lines, each with its end."""
        with self.open() as file:
            yield from file

    def texts(self) -> Iterator[str]:
        """Yield its lines without their ends and the white space before these."""
        return (line.strip("\r\n\ufeff").rstrip() for line in self.lines())

    def text(self) -> str:
        """Return the whole text; raise `DataError` if it is too large to be held in memory."""
        with self.open() as file:
            text = file.read(LARGEST_TEXT + 1)
        if len(text) > LARGEST_TEXT:
            rule = msg("the file is one JSON document of more than {most} characters", most=LARGEST_TEXT)
            raise DataError(Fault(rule, self.file, msg("write one object a line (JSONL), which is read in pieces")))
        return text

    @property
    def notes(self) -> list[Wording]:
        """What was assumed about the encoding."""
        return [self.encoding.note] if self.encoding.note else []


def decode(content: Bytes) -> Source:
    """Detect a file's encoding from all of its bytes; refuse one that is empty, no text, or broken UTF-16 or UTF-32."""
    file, look = content.file, _Look()
    for chunk in content.chunks():
        if not look.head:
            refuse_other(file, chunk[:KIND_HEAD], "")
        look.take(chunk)
    if look.blank:
        raise DataError(Fault(msg("the file is empty"), file, msg("name a file with rows to learn from")))
    if encoding := mark_of(look.head):
        _require_decodable(content, encoding)
        return Source(content, encoding)
    encoding = look.utf8()
    if look.right and look.broken and (mixed := _mixed(content)):
        return Source(content, mixed)
    # many control characters: damaged text has a few
    share = 1 - len(look.head.translate(None, CONTROL)) / len(look.head)
    if share > 0.3 or (share > 0.05 and encoding is None):
        raise DataError(Fault(msg("this is a binary file, not text"), file, TABLE))
    return Source(content, encoding or _one_byte(look.runs, look.unknown))


def flaw(text: str) -> Wording:
    r"""Return what makes a text unusable: a NUL, a damaged byte, half a character; an empty string if nothing.

    >>> flaw("тест"), str(flaw("a\0b"))
    ('', 'holds a NUL character')
    """
    if "\0" in text:
        return msg("holds a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            return msg("holds the byte {byte}, which is not UTF-8", byte=f"0x{code - 0xDC00:02x}")
        return msg("holds half a character (the lone surrogate {code})", code=f"\\u{code:04x}")
    return ""


def mark_of(head: bytes) -> Encoding | None:
    """Detect an encoding by the first bytes: a byte order mark, or UTF-16 without one; None for any other text."""
    name = next((name for mark, name in BOMS if head.startswith(mark)), None)
    if name == "utf-8-sig":
        return Encoding(name, "surrogateescape")
    if name:
        return Encoding(name, note=msg("read as {name}, by its byte order mark", name=name))
    for name, start in (("utf-16-le", 1), ("utf-16-be", 0)):
        high = head[start::2]  # 0 for Latin or 4 for Cyrillic letters; other text never has such bytes
        if len(high) > 1 and len(high.translate(None, b"\0\4")) < 0.1 * len(high):
            return Encoding(name, note=msg("read as {name}, without a byte order mark", name=name))
    return None


def _require_decodable(content: Bytes, encoding: Encoding) -> None:
    decoder, read = codecs.getincrementaldecoder(encoding.name)(encoding.errors), 0
    try:
        for chunk in content.chunks():
            decoder.decode(chunk)
            read += len(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        rule = msg("this is not valid {encoding}", encoding=encoding.name)
        place = msg("{file} near byte {byte}", file=content.file, byte=read)
        raise DataError(Fault(rule, place, msg("save the file as UTF-8"))) from None


class _Look:
    """What is seen in a file's bytes, chunk by chunk."""

    def __init__(self) -> None:
        self.head = b""
        self.blank = True
        self.unknown = False
        """Whether a byte occurs that cp1252 does not have."""
        self.runs: list[bytes] = []
        """The first runs of non-ASCII bytes."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.right = self.broken = 0
        """Non-ASCII bytes that are UTF-8, and others."""

    def take(self, chunk: bytes) -> None:
        """Count the bytes of a chunk that are UTF-8, and others."""
        self.head = self.head or chunk[:HEAD]
        self.blank = self.blank and not chunk.strip(b" \t\r\n\0")
        self._count(self._decoder.decode(chunk))
        if chunk.isascii():
            return
        self.unknown = self.unknown or chunk.translate(None, UNKNOWN_TO_CP1252) != chunk
        if len(self.runs) < SAMPLE:
            found = islice(RUNS.finditer(chunk), SAMPLE - len(self.runs))
            self.runs += [match.group()[:LONGEST_WORD] for match in found]

    def utf8(self) -> Encoding | None:
        """Return UTF-8 if all non-ASCII bytes are valid, or nearly all; else None."""
        self._count(self._decoder.decode(b"", final=True))
        if not self.broken:
            return Encoding("utf-8")
        if self.right < CERTAIN * self.broken:
            return None
        note = msg("{bytes} {bytes:byte is|bytes are} not UTF-8; {bytes:its row|their rows} cannot be used",
                   bytes=self.broken)  # fmt: skip
        return Encoding("utf-8", "surrogateescape", note)

    def _count(self, text: str) -> None:
        if not text.isascii():
            right = text.encode("utf-8", "ignore")
            self.broken += len(text.encode("utf-8", "surrogateescape")) - len(right)
            self.right += _high(right)


def _high(raw: bytes) -> int:
    return len(raw) - len(raw.translate(None, HIGH))


def _one_byte(runs: Sequence[bytes], unknown: bool) -> Encoding:
    """Find the single-byte encoding that fits runs of non-ASCII bytes best."""
    in_words = sum(len(run) for run in runs if len(run) > 1)
    if in_words < 0.5 * sum(map(len, runs)):
        name = "latin-1" if unknown else "cp1252"
        note = msg("read as {name}: not UTF-8, and its non-ASCII letters stand alone", name=name)
        return Encoding(name, note=note)
    name = max(CYRILLIC, key=lambda name: sum(likeness(run.decode(name, "replace")) for run in runs))
    note = msg("read as {name}: not UTF-8, and this gives the most probable Russian", name=name)
    return Encoding(name, "surrogateescape", note)


def _mixed(content: Bytes) -> Encoding | None:
    """Detect a file put together from files of two encodings: some lines are surely UTF-8, others surely not."""
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
    note = msg("lines of two encodings: {count} are read as {name}, the others as UTF-8", count=others, name=name)
    return Encoding("utf-8", "surrogateescape", note, name)


def is_foreign(line: bytes) -> bool:
    """Return whether a line has another encoding than UTF-8, and is not UTF-8 with a damaged byte."""
    wrong = _wrong(line)
    return wrong >= WRONG and wrong > _high(line) - wrong


def _wrong(line: bytes) -> int:
    return _high(line) - _high(line.decode("utf-8", "ignore").encode("utf-8"))


class _OneEncoding(io.RawIOBase):
    """A raw stream of a file of two encodings, re-encoded to UTF-8."""

    def __init__(self, raw: BinaryIO, other: str) -> None:
        super().__init__()
        self._raw, self._other, self._left = raw, other, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            line = self._raw.readline(LONGEST_LINE)
            if not line.isascii() and is_foreign(line):
                line = line.decode(self._other, "surrogateescape").encode("utf-8", "surrogateescape")
            self._left = line
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def text_of(raw: bytes, name: str) -> str:
    """Decode bytes; raise `DataError` if they are no text."""
    with decode(held(name, raw)).open() as file:
        return file.read()


def lines_of(raw: io.BufferedReader, name: str, note: Callable[[Wording], None]) -> Iterator[str]:
    """Yield a stream's lines as they come, without their ends.

    Bytes are UTF-8 until some come that are not: those decide, as a file's bytes do, for the rest of the stream.

    Raises:
        DataError: what comes is no text.
    """
    encoding = mark_of(raw.peek(HEAD)[:HEAD])
    if encoding and encoding.note:
        note(encoding.note)
        try:
            yield from (line.removesuffix("\n") for line in io.TextIOWrapper(raw, encoding.name))
        except UnicodeDecodeError:
            rule = msg("this is not valid {encoding}", encoding=encoding.name)
            raise DataError(Fault(rule, name, msg("write it in UTF-8"))) from None
        return
    encoding = encoding or Encoding("utf-8")
    for block in _blocks(raw):
        if encoding.errors == "strict" and not encoding.note and _wrong(block):
            encoding = decode(held(name, block)).encoding
            note(encoding.note)
        text = block.decode(encoding.name, encoding.errors)
        yield from text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def _blocks(raw: io.BufferedReader) -> Iterator[bytes]:
    """Yield what has arrived, up to the end of the last whole line."""
    rest = b""
    while chunk := raw.read1(CHUNK):
        whole, end, rest = (rest + chunk).rpartition(b"\n")
        if end:
            yield whole + end
    if rest:
        yield rest
