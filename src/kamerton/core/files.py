"""Atomic writes: to a temporary file, synced and renamed."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

ACTIVE = re.compile(r'[$`"\\!\n]')
"""What shells act on within double quotes."""
NO_MEMORY = re.compile("can't allocate memory|out of memory|failed to map segment")
SEAL = hashlib.sha256().digest_size
RUST = re.compile(r"\(os error (\d+)\)")


def sync(path: Path) -> None:
    """Sync a file, or the names in a folder, so that they survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def error_number(error: BaseException | None) -> int | None:
    """Return the system's number of an error; None if the system did not raise it.

    Libraries written in Rust (safetensors, tokenizers) only write `(os error 28)` into their text, PyTorch and the
    loader of libraries that there is too little memory.
    """
    if isinstance(error, OSError):
        return error.errno
    if isinstance(error, MemoryError) or (isinstance(error, Exception) and NO_MEMORY.search(str(error))):
        return errno.ENOMEM
    found = RUST.search(str(error)) if isinstance(error, Exception) else None
    return int(found[1]) if found else None


class Writing(AbstractContextManager["Writing"]):
    """Adds the path to the system's errors while it is written, under a temporary name or not.

    Raises:
        OSError: with the path.
    """

    def __init__(self, path: Path, temporary: Path | None = None) -> None:
        self.path, self.temporary = path, temporary

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        number = error_number(error)
        named = isinstance(error, OSError) and error.filename not in (None, str(self.temporary))
        if number is not None and not named:
            raise OSError(number, os.strerror(number), str(self.path)) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; on success it is synced and replaces `path` in one step.

    What killed processes left of the same file is removed.

    Raises:
        OSError: it cannot be written; the error names `path`, and nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with Writing(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in path.parent.iterdir():
                if left.name.startswith(f".{path.name}.") and left.suffix == ".tmp" and _is_over(left.stem):
                    left.unlink(missing_ok=True)
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
            sync(path.parent)
    finally:
        with suppress(OSError):  # where nothing can be removed, nothing could be written
            temporary.unlink(missing_ok=True)


def _is_over(name: str) -> bool:
    """Return whether the process whose number ends a name has ended."""
    try:
        os.kill(int(name.rpartition(".")[2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):  # another user's, or no number
        return False
    return False


def hidden(path: Path) -> Path:
    """Return the temporary name under which a new file or folder is prepared: what is there was left by a kill."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield the hidden path of a new file or folder; on success it is synced and appears as `path` in one step.

    Raises:
        OSError: it cannot be written; the error names `path`, and nothing is left behind.
    """
    temporary = hidden(path)
    remove(temporary)
    try:
        with Writing(path, temporary):
            yield temporary
            for written in (*temporary.rglob("*"), temporary):
                sync(written)
            temporary.replace(path)
            sync(path.parent)
    finally:
        with suppress(OSError):  # where nothing can be removed, nothing could be written
            remove(temporary)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a private folder; what killed processes left beside it is removed first.

    It is in the user's cache folder, or where nothing can be written there, in the system's temporary one.

    Raises:
        OSError: it cannot be made.
    """
    root = private_folder("scratch")
    with ExitStack() as held:
        with _locked(root, fcntl.LOCK_EX):
            for left in root.iterdir():
                with suppress(OSError), _locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB):  # else it is in use
                    shutil.rmtree(left)
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(dir=root)))
            held.enter_context(_locked(folder, fcntl.LOCK_EX))
        yield folder


def private_folder(name: str) -> Path:
    """Return a folder of this name that is the user's alone, made if it is not there.

    It is in the user's cache folder, or where nothing can be written there, the one such of the system's temporary one.

    Raises:
        OSError: it cannot be made, or is somebody else's.
    """
    root = cache_folder() / name
    with suppress(OSError):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(root, os.W_OK):
        root = Path(tempfile.gettempdir()) / f"kamerton-{os.getuid()}"
        root.mkdir(mode=0o700, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(root))
    return root


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically."""
    write_text(path, json_text(value))


def json_text(value: object) -> str:
    """Return JSON, indented, without NaN (which is not JSON)."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def mode_of(path: str | None) -> int:
    """Return the permissions of a user's file, or of its archive, for what is made from it; else private ones."""
    found = next((one for one in (Path(path), *Path(path).parents) if one.exists()), None) if path else None
    return 0o600 | (found.stat().st_mode & 0o066 if found and found.is_file() else 0)


@contextmanager
def permitting(mode: int) -> Iterator[None]:
    """Restrict what a block makes to the permissions `mode`; whoever may read a folder may also enter it."""
    usual = os.umask(0o077)
    os.umask(usual | 0o777 & ~(mode | (mode & 0o444) >> 2))
    try:
        yield
    finally:
        os.umask(usual)


BAD_JSON = (ValueError, RecursionError)
"""What `json` raises for a text that is not JSON, or is nested too deeply."""


def write_sealed(path: Path, data: bytes) -> None:
    """Write a file atomically with a checksum before its content."""
    with replacing(path) as temporary:
        temporary.write_bytes(hashlib.sha256(data).digest() + data)


def read_sealed(path: Path) -> bytes | None:
    """Return what `write_sealed` wrote; None where it is missing or damaged, or cannot be read."""
    with suppress(OSError):
        written = path.read_bytes()
        if written[:SEAL] == hashlib.sha256(written[SEAL:]).digest():
            return written[SEAL:]
    return None


def cached(path: Path, compute: Callable[[], bytes]) -> bytes:
    """Return the content of a cache file; where it is missing or damaged, it is computed, and written if it can be."""
    kept = read_sealed(path)
    if kept is None:
        kept = compute()
        with optional():
            write_sealed(path, kept)
    return kept


def sha256_of(path: Path) -> str:
    """Hash a file's bytes without holding them all."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def nearby(path: str) -> Path:
    """Return a path relative to the working folder if it is inside, else absolute."""
    absolute, here = Path(path), Path.cwd()
    return absolute.relative_to(here) if absolute.is_relative_to(here) and absolute != here else absolute


def shell_word(word: str | Path) -> str:
    """Quote a word for a shell if it needs that: in double quotes, unless it holds what a shell would act on there.

    >>> print(shell_word("my file's.csv"), shell_word("plain"), shell_word("$x y"))
    "my file's.csv" plain '$x y'
    """
    quoted = shlex.quote(str(word))
    return quoted if quoted == str(word) or ACTIVE.search(str(word)) else f'"{word}"'


def cache_folder() -> Path:
    """Return the user's cache folder: `$KAMERTON_CACHE`, else `$XDG_CACHE_HOME/kamerton`, else `~/.cache/kamerton`."""
    if own := os.environ.get("KAMERTON_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "kamerton"


def own_lines(name: str) -> tuple[Path, list[str]]:
    """Return a file of what the user allowed, in `$XDG_CONFIG_HOME/kamerton` or `~/.config/kamerton`, and its lines.

    Raises:
        OSError: it cannot be read.
    """
    path = Path(os.environ.get("XDG_CONFIG_HOME") or _home() / ".config") / "kamerton" / name
    return path, path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user whom the system does not know, without $HOME: nothing can be kept
        return Path(os.devnull)


UNKEPT: list[OSError] = []
"""Why results could not be kept in the cache folder."""


@contextmanager
def optional() -> Iterator[None]:
    """Ignore errors of writing to the cache folder, which only cost time; the command reports them at its end."""
    try:
        yield
    except OSError as error:
        UNKEPT.append(error)
