"""Logs of a run: JSON Lines that only grow, each line with a checksum of its own."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from kamerton.core.errors import Fault, RunError
from kamerton.core.files import BAD_JSON, replacing
from kamerton.core.messages import msg

MARK = ', "crc": "'
"""Before a line's checksum, its last value."""


def append_line(path: Path, record: Mapping[str, Any], mode: int) -> None:
    """Append a record; what a kill left of an earlier line is removed first.

    Args:
        path: of the log.
        record: JSON.
        mode: permissions of a new log.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode), "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size and (file.seek(size - 1), file.read(1))[1] != b"\n":
            size = len(whole_lines(path))
            file.truncate(size)
        file.seek(size)
        file.write(_line(record).encode())


def whole_lines(path: Path) -> bytes:
    """Return what is in a log, without a last line that a kill cut short."""
    data = path.read_bytes()
    return data[: data.rfind(b"\n") + 1]


def write_lines(path: Path, records: Iterable[Mapping[str, Any]], mode: int) -> None:
    """Replace a log."""
    with replacing(path) as temporary:
        temporary.write_text("".join(map(_line, records)), encoding="utf-8")
        temporary.chmod(mode)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a log, without a last line that a kill cut short; no records if there is no log.

    Raises:
        RunError: with every line that is damaged. Logs of older versions have no checksums.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    lines, older = data.split(b"\n")[:-1], MARK.encode() not in data  # not splitlines: texts may hold other ends
    records = [parse_line(line, older=older) for line in lines]
    remedy = msg("restore the file from a copy, or remove the line")
    rule = msg("the line is not what the run wrote: it was damaged or edited")
    faults = [Fault(rule, f"{path}:{n}", remedy) for n, record in enumerate(records, 1) if record is None]
    if faults:
        raise RunError(faults)
    return [record for record in records if record is not None]


def has_checksums(path: Path) -> bool:
    """Return whether any line of a log has a checksum; logs of older versions have none."""
    return path.exists() and MARK.encode() in path.read_bytes()


def _line(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, ensure_ascii=False)
    return text[:-1] + MARK + _end(text) + "\n"


def _end(text: str) -> str:
    """Return a line's checksum and its last signs."""
    return f"{crc32(text.encode()):08x}" + '"}'


def parse_line(line: bytes, *, older: bool = False) -> dict[str, Any] | None:
    """Parse a line without its end; None if it is damaged. Lines of older versions have no checksums."""
    try:
        begun, _, end = line.decode().rpartition(MARK)
        text = end if older else begun + "}"
        record = json.loads(text)
    except BAD_JSON:
        return None
    return record if (older or end == _end(text)) and isinstance(record, dict) else None
