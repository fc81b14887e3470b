"""The folder that the studio shows: its runs, and beside them what is the studio's own.

    WORKSPACE/runs/NAME    a run, made here or on the command line
    WORKSPACE/.studio      files (uploads), bin (deleted runs), queue, logs, session

Names in addresses are never joined to a path: a run is looked up among those that there are.
"""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path

from kamerton.core.errors import Fault, KamertonError, RunError
from kamerton.core.files import write_text
from kamerton.core.messages import msg
from kamerton.runs.run import RECIPE, Run

OWN = ".studio"
SESSION = "session"


class MissingError(KamertonError):
    """There is nothing of this name in the workspace."""


class Workspace:
    """The runs of a folder, and the studio's own files.

    Args:
        folder: where `kamerton tune` was called: it has, or will have, the folder `runs`.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.runs = self.folder / "runs"
        self.own = self.folder / OWN
        self.files, self.bin = self.own / "files", self.own / "bin"
        for needed in (self.runs, self.own, self.files, self.bin):
            needed.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def session(self) -> str:
        """The secret of the workspace, which browsers get by a link: it outlives the server."""
        place = self.own / SESSION
        if not place.exists():
            write_text(place, secrets.token_hex(32) + "\n")
        return place.read_text(encoding="ascii").strip()

    def names(self) -> list[str]:
        """Return the names of all runs."""
        return [folder.name for folder in _folders(self.runs) if (folder / RECIPE).exists()]

    def run(self, name: str) -> Run:
        """Open a run.

        Raises:
            MissingError: there is none of this name.
            RunError: it is damaged.
        """
        return Run(self.place(name))

    def place(self, name: str) -> Path:
        """Return the folder of a run.

        Raises:
            MissingError: there is none of this name.
        """
        for folder in _folders(self.runs):
            if folder.name == name and (folder / RECIPE).exists():
                return folder
        raise MissingError(Fault(msg("there is no run '{name}' here", name=name)))

    def free_name(self, wanted: str) -> str:
        """Return a name for a new run: the wanted one, with a number if it is taken."""
        taken = {folder.name for folder in _folders(self.runs)}
        return next(name for name in (wanted, *(f"{wanted}-{n}" for n in range(2, 10_000))) if name not in taken)

    # ── the bin ───────────────────────────────────────────────────────────────────────────────

    def delete(self, name: str) -> None:
        """Move a run to the bin.

        Raises:
            RunError: something is at work on it.
        """
        folder = self.place(name)
        with Run(folder).files.locked():
            folder.rename(self.bin / f"{time.time_ns()} {name}")

    def binned(self) -> list[tuple[str, str]]:
        """Return keys and names of the runs in the bin, the last one first."""
        found = sorted((folder.name for folder in _folders(self.bin)), reverse=True)
        return [(key, key.partition(" ")[2]) for key in found]

    def restore(self, key: str) -> str:
        """Move a run back from the bin, and return its name, which has a number if the old one is taken."""
        folder, name = self._binned(key)
        free = self.free_name(name)
        folder.rename(self.runs / free)
        return free

    def erase(self, key: str) -> None:
        """Delete a run of the bin for good."""
        folder, name = self._binned(key)
        try:
            shutil.rmtree(folder)
        except OSError as error:
            rule = msg("'{name}' cannot be deleted: {reason}", name=name, reason=error.strerror or str(error))
            raise RunError(Fault(rule, str(folder), msg("check its permissions"))) from None

    def _binned(self, key: str) -> tuple[Path, str]:
        for known, name in self.binned():
            if known == key:
                return self.bin / known, name
        raise MissingError(Fault(msg("that run is no longer in the bin")))


def _folders(parent: Path) -> list[Path]:
    return sorted(folder for folder in parent.iterdir() if folder.is_dir() and not folder.name.startswith("."))
