"""Storage at addresses, by fsspec: object stores have no rename, so what is written there is written once.

Keys come from where the storage's own libraries take them: the environment, `~/.aws`. No message repeats an argument.
"""

import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import fsspec

from kamerton.core import registry
from kamerton.core.errors import Fault, RecipeError, RunError
from kamerton.core.files import replacing
from kamerton.core.messages import msg, verbatim

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""The extra that brings a protocol's library."""
REFUSALS = {
    "s3": "botocore.exceptions:BotoCoreError",
    "gs": "google.auth.exceptions:GoogleAuthError",
}
"""By extra: the base of its library's errors that are none of the system's."""


@dataclass(frozen=True)
class Storage:
    """A folder, or one object, at an address."""

    address: str
    system: Any
    """fsspec's."""
    root: str
    refusals: tuple[type[Exception], ...] = ()
    """The errors of its library that are none of the system's."""

    @classmethod
    def at(cls, address: str) -> Self:
        """Open the storage of an address.

        Raises:
            RecipeError: there is no such protocol, or its library is not installed.
        """
        protocol = address.partition("://")[0]
        extra = EXTRAS.get(protocol, "")
        try:
            system, root = fsspec.url_to_fs(address, use_listings_cache=False, skip_instance_cache=True)
        except (ImportError, ValueError) as error:
            rule = msg("nothing here reads {protocol}://: {reason}", protocol=protocol, reason=_first_line(error))
            remedy = verbatim(f"pip install 'kamerton[{extra}]'") if extra else msg("copy it here first")
            raise RecipeError(Fault(rule, address, remedy)) from error
        refusals = (registry.load(REFUSALS[extra]),) if extra else ()
        return cls(address, system, str(root).rstrip("/"), refusals)

    def path(self, name: str) -> str:
        """Return the storage's own path of a name in this folder; of the folder for an empty name."""
        return posixpath.join(self.root, name) if name else self.root

    def names(self, folder: str = "") -> list[str]:
        """List all objects in a folder, at any depth, by their names relative to this one; none if there is no such."""
        with self.told(folder):
            try:
                found = self.system.find(self.path(folder))
            except FileNotFoundError:
                return []
        return sorted(str(one)[len(self.root) :].lstrip("/") for one in found)

    def is_file(self) -> bool:
        """Return whether this address is one object, and no folder."""
        with self.told(""):
            return bool(self.system.isfile(self.root))

    def about(self, name: str) -> Mapping[str, Any]:
        """Return what the storage knows of an object, under its own names; `size` is in bytes."""
        with self.told(name):
            return dict(self.system.info(self.path(name)))

    def place(self, name: str) -> str:
        """Return the address of an object."""
        return f"{self.address}/{name}" if name else self.address

    def put(self, source: Path, name: str) -> None:
        """Upload a file under a name that was not used before."""
        with self.told(name):
            self.system.makedirs(posixpath.dirname(self.path(name)), exist_ok=True)
            self.system.put_file(str(source), self.path(name))

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""
        with self.told(name):
            self.system.makedirs(posixpath.dirname(self.path(name)), exist_ok=True)
            self.system.pipe_file(self.path(name), data)

    def read(self, name: str) -> bytes:
        """Read an object. Raises `FileNotFoundError` if there is none."""
        with self.told(name):
            return bytes(self.system.cat_file(self.path(name)))

    def get(self, name: str, target: Path) -> None:
        """Download an object into a private file, which appears whole. Raises `FileNotFoundError` if there is none."""
        with self.told(name), replacing(target) as temporary:
            temporary.touch(mode=0o600)
            self.system.get_file(self.path(name), str(temporary))

    def remove(self, name: str) -> None:
        """Remove an object that nothing names any more."""
        with self.told(name):
            self.system.rm_file(self.path(name))

    @contextmanager
    def told(self, name: str) -> Iterator[None]:
        """Name the address in errors of the storage.

        Raises:
            RunError: it refuses, or cannot be reached.
        """
        expected: tuple[type[Exception], ...] = (OSError, ValueError, RuntimeError, *self.refusals)
        try:
            yield
        except FileNotFoundError:
            raise
        except expected as error:
            rule = msg("the storage refuses: {reason}", reason=_first_line(error))
            remedy = msg("check the address, your keys for it, and the network")
            raise RunError(Fault(rule, self.place(name), remedy)) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
