"""Lines of a stream as they come, and other bytes beside files, decoded as a file of the same bytes would be."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import Wording, msg
from kamerton.data.encoding import HEAD, Encoding, decode, mark_of
from kamerton.data.unpack import CHUNK, held


def text_of(raw: bytes, name: str) -> str:
    """Decode bytes.

    Raises:
        DataError: they are no text.
    """
    with decode(held(name, raw)).open() as file:
        return file.read()


def lines_of(raw: io.BufferedReader, name: str, note: Callable[[Wording], None]) -> Iterator[str]:
    """Yield lines as they come, without their ends.

    Bytes are UTF-8 until some come that are not: those decide, as a file's bytes do, for the rest of the stream.

    Raises:
        DataError: what comes is no text.
    """
    encoding = mark_of(raw.peek(HEAD)[:HEAD])
    if encoding and encoding.note:
        note(encoding.note)
        yield from _wide_lines(raw, encoding, name)
        return
    encoding = encoding or Encoding("utf-8")
    for block in _blocks(raw):
        if encoding.errors == "strict" and not encoding.note and not _is_utf8(block):
            encoding = decode(held(name, block)).encoding
            note(encoding.note)
        text = block.decode(encoding.name, encoding.errors)
        yield from text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def _wide_lines(raw: io.BufferedReader, encoding: Encoding, name: str) -> Iterator[str]:
    try:
        for line in io.TextIOWrapper(raw, encoding.name):
            yield line.removesuffix("\n")
    except UnicodeDecodeError:
        raise DataError(
            Fault(msg("this is not valid {encoding}", encoding=encoding.name), name, msg("write it in UTF-8"))
        ) from None


def _blocks(raw: io.BufferedReader) -> Iterator[bytes]:
    """Yield what has arrived, up to the end of the last whole line."""
    rest = b""
    while chunk := raw.read1(CHUNK):
        whole, end, rest = (rest + chunk).rpartition(b"\n")
        if end:
            yield whole + end
    if rest:
        yield rest


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
