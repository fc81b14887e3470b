"""Data that browsers send: bounded, and each in a folder of its own, under a name that is only a name.

    .studio/files/ID/NAME    a file, its permissions the owner's alone

What is half sent is in a hidden folder, and disappears with the request.
"""

import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from anyio.to_thread import run_sync

from kamerton.core.errors import DataError, Fault
from kamerton.core.figures import Figure
from kamerton.core.files import appearing, hidden, remove
from kamerton.core.messages import msg
from kamerton.studio.queue import studio_folder

MOST_BYTES = 4 << 30
"""Of a file: more rows than a machine of one person trains on."""
SPARE_BYTES = 1 << 30
"""That stay free on the disk, for the run."""
MOST_PASTED = 32 << 20
BLOCK = 4 << 20
"""Bytes that are written at once."""
LONGEST, LONGEST_ENDING = 120, 24
"""Bytes of a name, and of its ending; what is made of the file has names that are longer, and 255 are allowed."""
ABANDONED = 24 * 3600
"""Seconds after which what is half sent was left by a server that was killed."""
STRANGE = re.compile(r"[^\w .()+,=@-]+")
"""What no name keeps: separators, controls, what patterns and shells read as signs."""
RECIPES = (".yaml", ".yml")
ID = re.compile(r"[0-9a-f]{16}")
FIRST_LINES = 20


@dataclass(frozen=True)
class Upload:
    """A data file that was sent."""

    id: str
    name: str
    size: int
    """Bytes; of a folder, those of the files in it."""
    sent: float
    """When it came, in seconds since 1970."""


@dataclass(frozen=True)
class Uploads:
    """The data files of a workspace."""

    workspace: Path
    most_bytes: int = MOST_BYTES

    @property
    def folder(self) -> Path:
        """Where they are."""
        return studio_folder(self.workspace, "files")

    def new_id(self) -> str:
        """Return a name for a folder that is not there."""
        return secrets.token_hex(8)

    def is_id(self, id: str) -> bool:
        """Return whether a text may be an id."""
        return bool(ID.fullmatch(id))

    def place(self, id: str) -> Path:
        """Return the folder of an upload, which may not be there."""
        return self.folder / id

    def path(self, id: str) -> Path | None:
        """Return the file of an upload; None if there is none of this id."""
        folder = self.folder / id if self.is_id(id) else None
        return next(iter(sorted(folder.iterdir())), None) if folder and folder.is_dir() else None

    def every(self) -> list[Upload]:
        """Return all files, the last one first."""
        found = []
        for folder in self.folder.iterdir():
            if self.is_id(folder.name) and (path := self.path(folder.name)):
                size = sum(one.stat().st_size for one in (path, *path.rglob("*")) if one.is_file())
                found.append(Upload(folder.name, path.name, size, folder.stat().st_mtime))
        return sorted(found, key=lambda one: -one.sent)

    def delete(self, id: str) -> None:
        """Delete a file, if there is one of this id."""
        if self.path(id) is not None:
            gone = hidden(self.folder / id)
            self.place(id).rename(gone)
            remove(gone)

    async def receive(self, name: str, length: int | None, blocks: AsyncIterator[bytes]) -> str:
        """Write a file as it arrives, and return its id.

        Args:
            name: as the browser gives it; it becomes a plain name.
            length: of the file, if the browser says so.
            blocks: of the file.

        Raises:
            DataError: the file is too large, empty, no data, or there is no room for it.
        """
        name = plain_name(name)
        self._require_room(name, length or 0)
        id = self.new_id()
        with appearing(self.folder / id) as folder:
            folder.mkdir(mode=0o700)
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                received = await self._write(descriptor, name, blocks)
            finally:
                os.close(descriptor)
            if length is not None and received != length:
                raise DataError(Fault(msg("the file did not arrive whole"), name, msg("send it again")))
            if not received:
                raise DataError(Fault(msg("the file is empty"), name, msg("choose another one")))
        return id

    async def _write(self, descriptor: int, name: str, blocks: AsyncIterator[bytes]) -> int:
        """Write blocks, some megabytes at once and in a thread; return how many bytes there were."""
        received, waiting = 0, bytearray()
        async for block in blocks:
            received += len(block)
            waiting += block
            if len(waiting) >= BLOCK:
                self._require_room(name, received, len(waiting))
                await run_sync(_write_all, descriptor, bytes(waiting))
                waiting.clear()
        self._require_room(name, received, len(waiting))
        await run_sync(_write_all, descriptor, bytes(waiting))
        return received

    def _require_room(self, name: str, length: int, left: int | None = None) -> None:
        if length > self.most_bytes:
            most = Figure(self.most_bytes, "memory")
            remedy = msg("give a part of its rows, or tune it by the command line: `kamerton tune FILE`")
            raise DataError(Fault(msg("the file is larger than {most}", most=most), name, remedy))
        needed, free = (length if left is None else left) + SPARE_BYTES, shutil.disk_usage(self.folder).free
        if free < needed:
            rule = msg("there is too little room on the disk: {free} are free", free=Figure(free, "memory"))
            raise DataError(Fault(rule, name, msg("free some space there: delete runs, or empty the bin")))

    def write(self, name: str, text: str) -> str:
        """Write a text as a file, and return its id. Raises as `receive` does."""
        data = text.encode("utf-8", "surrogatepass")
        self._require_room(name, len(data))
        if not text.strip():
            raise DataError(Fault(msg("no rows were pasted"), "", msg("paste rows, with their column names first")))
        id = self.new_id()
        with appearing(self.folder / id) as folder:
            folder.mkdir(mode=0o700)
            path = folder / name
            path.touch(mode=0o600)
            path.write_bytes(data)
        return id

    def clear(self) -> None:
        """Remove what servers that were killed left half sent."""
        for left in self.folder.glob(".*.tmp"):
            with suppress(OSError):
                if left.stat().st_mtime < time.time() - ABANDONED:
                    remove(left)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def plain_name(name: str) -> str:
    r"""Return a browser's name of a file as a plain one, with its ending.

    >>> plain_name("C:\\data\\Отзывы*.csv"), plain_name("../../.bashrc"), plain_name("a" * 300 + ".jsonl.gz")[-12:]
    ('Отзывы_.csv', 'bashrc', 'aaa.jsonl.gz')

    Raises:
        DataError: it is a recipe, which may name other files of this machine.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    letters = "".join(sign for sign in last if unicodedata.category(sign)[0] != "C")
    plain = STRANGE.sub("_", letters).strip(" .-_") or "data"
    if plain.lower().endswith(RECIPES):
        remedy = msg("start it on the command line: `kamerton tune {name}`", name=plain)
        raise DataError(Fault(msg("this is a recipe, which may name any file of this machine"), plain, remedy))
    suffixes = "".join(Path(plain).suffixes[-2:])
    ending = suffixes if suffixes.isascii() and len(suffixes) <= LONGEST_ENDING else ""
    stem = plain.removesuffix(ending).encode()[:LONGEST].decode(errors="ignore")
    return stem.strip(" .") + ending


def pasted_name(text: str) -> str:
    r"""Return the name of a file for pasted rows, with the ending of the format that they look like.

    >>> pasted_name('{"text": "a"}'), pasted_name('[{"a": 1}]'), pasted_name("text,label\na,b"), pasted_name("a. b")
    ('pasted.jsonl', 'pasted.json', 'pasted.csv', 'pasted.txt')
    """
    lines = [line for line in text.splitlines() if line.strip()][:FIRST_LINES]
    first = lines[0].lstrip("\ufeff \t") if lines else ""
    if first.startswith(("{", "[")):
        return "pasted.json" if first.startswith("[") or not first.rstrip().endswith("}") else "pasted.jsonl"
    for mark, ending in (("\t", ".tsv"), (",", ".csv"), (";", ".csv")):
        if lines and all(mark in line for line in lines):
            return f"pasted{ending}"
    return "pasted.txt"
