"""Standard streams that may be closed, or in an encoding that lacks the characters to print."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from kamerton.core import registry
from kamerton.core.errors import DataError, Fault, KamertonError
from kamerton.core.messages import msg
from kamerton.text.safe import safe_text

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

OUTPUT, ERRORS = "standard output", "standard error"

PLAIN = {
    "→": "->", "←": "<-", "↓": "v", "↑": "^", "✓": "*", "•": "*", "·": ".", "…": "...", "–": "-", "—": "-", "−": "-",
    "±": "+-", "×": "x", "≈": "~", "≥": ">=", "≤": "<=", "∞": "inf", "«": '"', "»": '"', "“": '"', "”": '"', "„": '"',
    "‘": "'", "’": "'", "№": "No.", "⟦": "[", "⟧": "]", "↵": "$", "⇥": ">", "\u00a0": " ", "\u202f": " ", "━": "-",
    "─": "-", "╸": "-", "╺": "-", "│": "|", "²": "^2",
}  # fmt: skip
"""Replacements for characters that a stream's encoding lacks."""
HANDLER = "kamerton.plain"
UNDECODED = re.compile("[\udc80-\udcff]")
"""Stands for a byte that the system's encoding could not decode."""


def prepare_streams() -> None:
    """Make the standard streams safe to use: no file takes a closed descriptor, every character can be written.

    Raises:
        KamertonError: standard output is closed.
    """
    _occupy_descriptors()
    codecs.register_error(HANDLER, _plainly)
    if sys.__stderr__ is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # for as long as the process lives
    closed = cast(TextIO | None, sys.stdout) is None
    sys.stdout, sys.stderr = _safe(sys.stdout, OUTPUT), _safe(sys.stderr, ERRORS)
    if closed:
        remedy = msg("redirect it: `kamerton … > file`, or `> /dev/null`")
        raise KamertonError(Fault(msg("standard output is closed, so nothing can be printed"), remedy=remedy))


class _NamedStream(io.FileIO):
    """A standard stream whose errors name it, as those of a file name the file."""

    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__(stream.fileno(), "w", closefd=False)
        self.called, self._kept = name, stream  # which would close the descriptor when it goes

    def write(self, written: ReadableBuffer, /) -> int:
        try:
            return super().write(written)
        except OSError as error:
            error.filename = self.called
            raise


class Terminal(io.TextIOWrapper):
    """A terminal, which texts of data and models cannot steer: controls are left out of what is printed.

    In a pipe and in a file they stay. `styled` is for colors and bars, whose texts are made safe before.
    """

    styled: TextIO

    def write(self, text: str) -> int:
        """Write a text without controls; one that begins with a carriage return draws a library's bar anew."""
        return super().write("\r" * text.startswith("\r") + safe_text(text.removeprefix("\r")))


def _safe(stream: TextIO, name: str) -> TextIO:
    """Wrap a stream so that every character can be written and errors name it; leave other objects alone."""
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(stream.buffer, io.BufferedWriter | io.FileIO):
        return stream
    raw, lines = io.BufferedWriter(_NamedStream(stream, name)), stream.line_buffering or stream.write_through
    if not stream.isatty():
        return io.TextIOWrapper(raw, stream.encoding, HANDLER, line_buffering=lines)
    # both hand on at once what they get, so that their texts appear in order
    shown = Terminal(raw, stream.encoding, HANDLER, line_buffering=True, write_through=True)
    shown.styled = io.TextIOWrapper(raw, stream.encoding, HANDLER, line_buffering=True, write_through=True)
    return shown


def _occupy_descriptors() -> None:
    """Open the null device in place of closed streams: else a file that is opened later takes their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Replace what cannot be encoded: known characters by plain ones, the rest by escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign) or _escaped(sign) for sign in signs), error.end


def _escaped(sign: str) -> str:
    return sign.encode("ascii", "backslashreplace").decode("ascii")


def is_unicode(stream: object) -> bool:
    """Return whether a stream can encode every character."""
    encoding = stream.encoding if isinstance(stream, io.TextIOBase) else None
    return bool(encoding) and codecs.lookup(str(encoding)).name.startswith("utf")


def silence(number: int) -> None:
    """Discard what is still buffered for a stream: writing failed, and would fail again at the end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def standard_input() -> io.BufferedReader:
    """Return the bytes of standard input.

    Raises:
        DataError: it is closed.
    """
    if sys.stdin is None:
        remedy = msg("pipe texts into it: `cat texts | kamerton …`")
        raise DataError(Fault(msg("standard input is closed"), "input", remedy))
    return cast(io.BufferedReader, sys.stdin.buffer)


def decoded_arguments(arguments: list[str]) -> list[str]:
    """Return arguments with their bytes decoded as those of a file would be, where they are not UTF-8.

    Raises:
        DataError: an argument is no text in any known encoding, or names a file whose name is not UTF-8.
    """
    return [_decoded(argument) if UNDECODED.search(argument) else argument for argument in arguments]


def _decoded(argument: str) -> str:
    raw = os.fsencode(argument)
    if Path(argument).exists():
        shown = "".join(map(_escaped, argument))
        rule = msg("the file's name is not UTF-8, and runs and pages name files in UTF-8")
        raise DataError(Fault(rule, shown, msg("rename it")))
    return registry.load("kamerton.data.encoding:text_of")(raw, "argument")
