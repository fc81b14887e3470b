"""Describe a path that is not a base model: what it is, and what to name instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kamerton.core.errors import Fault
from kamerton.core.files import shell_word
from kamerton.core.messages import Message, Value, msg

LFS = b"version https://git-lfs"
LFS_SIZE = 1024
"""A pointer has some 130 bytes."""
SHOWN = 5
SAVED = msg("name a folder that `save_pretrained` wrote: config.json, model.safetensors and the tokenizer")
ORIGINAL = msg("name the model that it was made from, as a folder or a Hugging Face id with model.safetensors")
DOWNLOAD_AGAIN = msg("download the file again")


@dataclass(frozen=True)
class Format:
    """Weights that cannot be trained here: the files that hold them, and a description."""

    patterns: tuple[str, ...]
    description: Message


FORMATS = (
    Format(("*.gguf",), msg("in GGUF, the format of llama.cpp: quantized for inference, not for training")),
    Format(("*.onnx", "onnx/*.onnx"), msg("in ONNX, which can be run but not trained")),
    Format(("openvino_model.*",), msg("in OpenVINO's format, which can be run but not trained")),
    Format(("*.h5", "saved_model.pb", "*.ckpt.index"), msg("of TensorFlow, which transformers no longer reads")),
    Format(("*.msgpack",), msg("of Flax, which transformers no longer reads")),
    Format(
        ("consolidated*.pth", "consolidated*.safetensors"),
        msg("in the publisher's own layout instead of transformers'"),
    ),
    Format(
        ("*.tflite", "*.mlmodel", "*.mlpackage"),
        msg("in a format for mobile devices, which can be run but not trained"),
    ),
)
FILES = {
    ".gguf": FORMATS[0].description,
    ".onnx": FORMATS[1].description,
    ".h5": FORMATS[3].description,
    ".msgpack": FORMATS[4].description,
    ".safetensors": msg("only weights: a model is a folder with config.json and a tokenizer beside them"),
    **dict.fromkeys((".bin", ".pt", ".pth", ".ckpt", ".pkl"), msg("a pickle, and loading one can run any code")),
    ".json": msg("a settings file: a model is a folder with the weights beside it"),
}
"""What a single file is, by its suffix."""
ARCHIVES = (".zip", ".gz", ".tar", ".tgz", ".7z", ".rar")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "tokenizer.model", "spiece.model", "vocab.json")


def file_fault(path: Path) -> Fault:
    """Return the fault of a file that was named as a model."""
    if is_pointer(path):
        return pointer_fault(path)
    suffix = path.suffix.lower()
    if suffix in ARCHIVES:
        return Fault(msg("this file is an archive"), str(path), msg("unpack it, and name the folder"))
    other = msg("not a model: a model is a folder with config.json and model.safetensors")
    rule = msg("this file is {description}", description=FILES.get(suffix, other))
    if (path.parent / "config.json").is_file():
        return Fault(rule, str(path), msg("name its folder: --model {folder}", folder=shell_word(path.parent)))
    return Fault(rule, str(path), ORIGINAL if suffix in FILES else SAVED)


def folder_fault(folder: Path) -> Fault:
    """Return the fault of a folder without a config.json."""
    names = {path.name for path in folder.iterdir()}
    if fault := weights_fault(folder):
        return fault
    if inside := _models_inside(folder):
        rule = msg("the folder is not a model, but contains some: {names}", names=", ".join(inside[:SHOWN]))
        return Fault(rule, str(folder), msg("name one: --model {folder}", folder=shell_word(folder / inside[-1])))
    if not names:
        rule = msg("the folder is empty")
    elif any(folder.glob("*.safetensors")):
        rule = msg("the folder has weights, but no config.json that describes the model")
    elif names.intersection(TOKENIZERS):
        rule = msg("the folder has a tokenizer, but no config.json and no model")
    else:
        rule = msg("the folder is not a model: it has no config.json")
    return Fault(rule, str(folder), SAVED)


def weights_fault(folder: Path) -> Fault | None:
    """Return the fault of weights in another format; None if no known format is found."""
    for one in FORMATS:
        if found := sorted(path.name for pattern in one.patterns for path in folder.glob(pattern)):
            rule = msg("the weights are {description} ({files})", description=one.description, files=listed(found))
            return Fault(rule, str(folder), ORIGINAL)
    return None


def pickles_fault(folder: Path, names: list[str], architecture: str) -> Fault:
    """Return the fault of a folder whose weights are pickles, with a command that converts trusted ones."""
    rule = msg("the weights are only in {files}: loading one can run any code, so none is loaded", files=listed(names))
    at = repr(str(folder))
    program = f"import transformers as t; t.{architecture}.from_pretrained({at}).save_pretrained({at})"
    remedy = msg(
        "choose a model with model.safetensors; if you trust {folder}: python -c {program}",
        folder=shell_word(folder),
        program=shell_word(program),
    )
    return Fault(rule, str(folder), remedy)


def pointers(folder: Path) -> list[Path]:
    """List the git-LFS pointers in a folder: files that git-LFS has not fetched yet."""
    return [path for path in sorted(folder.iterdir()) if is_pointer(path)]


def is_pointer(path: Path) -> bool:
    """Return whether a file is a git-LFS pointer."""
    if not path.is_file() or path.stat().st_size > LFS_SIZE:
        return False
    with path.open("rb") as file:
        return file.read(len(LFS)) == LFS


def pointer_fault(path: Path) -> Fault:
    """Return the fault of a git-LFS pointer, with the command that fetches the file."""
    rule = msg("this is a git-LFS pointer, not the file itself")
    return Fault(rule, str(path), msg("`git -C {folder} lfs pull` fetches it", folder=shell_word(path.parent)))


def _models_inside(folder: Path) -> list[str]:
    """List the subfolders that hold a model or an adapter, the latest checkpoint last."""
    found = {path.parent.name for name in ("config.json", "adapter_config.json") for path in folder.glob(f"*/{name}")}
    return sorted(found, key=lambda name: (len(name), name))


def listed(names: Iterable[str]) -> Value:
    """Return the first names of a list, and how many more there are."""
    every = list(names)
    first = ", ".join(every[:SHOWN])
    return msg("{names} and {count} more", names=first, count=len(every) - SHOWN) if len(every) > SHOWN else first
