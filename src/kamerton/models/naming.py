"""What a path is that is no base model: named as what it is, with what helps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from kamerton.core.errors import Fault
from kamerton.core.files import shell_word

LFS = b"version https://git-lfs"
LFS_SIZE = 1024
"""A pointer has some 130 bytes."""
SHOWN = 5
SAVED = "name a folder that `save_pretrained` wrote: config.json, model.safetensors and the tokenizer"
ORIGINAL = "name the model that it was made from, as a folder or a Hugging Face id with model.safetensors"
FORMATS = (
    (("*.gguf",), "in GGUF, the format of llama.cpp: rounded for answering, not for training", ORIGINAL),
    (("*.onnx", "onnx/*.onnx"), "in ONNX, which can be run but not trained", ORIGINAL),
    (("openvino_model.*",), "in OpenVINO's format, which can be run but not trained", ORIGINAL),
    (("*.h5", "saved_model.pb", "*.ckpt.index"), "of TensorFlow, which transformers no longer reads", ORIGINAL),
    (("*.msgpack",), "of Flax, which transformers no longer reads", ORIGINAL),
    (
        ("consolidated*.pth", "consolidated*.safetensors"),
        "in the publisher's own layout, not in transformers'",
        ORIGINAL,
    ),
    (("*.tflite", "*.mlmodel", "*.mlpackage"), "in a format for phones, which can be run but not trained", ORIGINAL),
)
"""Names of files, what their weights are, and what helps."""
FILES = {
    ".gguf": FORMATS[0][1],
    ".onnx": FORMATS[1][1],
    ".h5": FORMATS[3][1],
    ".msgpack": FORMATS[4][1],
    ".safetensors": "the weights alone: a model is a folder with config.json and a tokenizer beside them",
    **dict.fromkeys((".bin", ".pt", ".pth", ".ckpt", ".pkl"), "in a pickle, and loading one can run any code"),
    **dict.fromkeys((".zip", ".gz", ".tar", ".tgz", ".7z", ".rar"), "an archive"),
    ".json": "a settings file: a model is a folder with the weights beside it",
}
"""What a single file is, by the end of its name."""
PACKED = ("unpack it, and name the folder",)
TOKENIZERS = ("tokenizer.json", "vocab.txt", "tokenizer.model", "spiece.model", "vocab.json")


def file_fault(path: Path) -> Fault:
    """Return what a file is that was named as a model."""
    what = FILES.get(path.suffix.lower(), "no model: a model is a folder with config.json and model.safetensors")
    if is_pointer(path):
        return pointer_fault(path)
    if what == "an archive":
        return Fault("this file is an archive", str(path), "unpack it, and name the folder")
    if (path.parent / "config.json").is_file():
        return Fault(f"this file is {what}", str(path), f"name its folder: --model {shell_word(path.parent)}")
    return Fault(f"this file is {what}", str(path), ORIGINAL if path.suffix.lower() in FILES else SAVED)


def folder_fault(folder: Path) -> Fault:
    """Return what a folder without a config.json is."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return Fault("the folder is empty", str(folder), SAVED)
    if fault := weights_fault(folder):
        return fault
    if inside := list(_models_inside(folder)):
        named = ", ".join(inside[:SHOWN])
        place = shell_word(folder / inside[-1])
        return Fault(f"the folder is no model, but holds some: {named}", str(folder), f"name one: --model {place}")
    if any(folder.glob("*.safetensors")):
        return Fault("no config.json: the weights are there, but not what they are of", str(folder), SAVED)
    if any(name in TOKENIZERS for name in names):
        return Fault("no config.json: this is a tokenizer without a model", str(folder), SAVED)
    return Fault("no config.json: this is no model folder", str(folder), SAVED)


def weights_fault(folder: Path) -> Fault | None:
    """Return that a folder's weights are of another format; None if they are of none that is known."""
    for patterns, what, remedy in FORMATS:
        if found := sorted(path.name for pattern in patterns for path in folder.glob(pattern)):
            return Fault(f"the weights are {what} ({_listed(found)})", str(folder), remedy)
    return None


def pickles_fault(folder: Path, names: list[str], architecture: str) -> Fault:
    """Return that a folder's weights are in pickles only, and how they are written anew where they are trusted."""
    rule = f"the weights are only in {_listed(names)}: loading one can run any code, so none is loaded"
    place = shell_word(folder)
    again = (
        f"import transformers as t; t.{architecture}.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
    )
    remedy = f"choose a model with model.safetensors; if you trust {place}: python -c {shell_word(again)}"
    return Fault(rule, str(folder), remedy)


def pointers(folder: Path) -> list[Path]:
    """List the files that git-LFS has not fetched yet."""
    return [path for path in sorted(folder.iterdir()) if is_pointer(path)]


def is_pointer(path: Path) -> bool:
    """Return whether a file only stands for one that git-LFS keeps elsewhere."""
    if not path.is_file() or path.stat().st_size > LFS_SIZE:
        return False
    with path.open("rb") as file:
        return file.read(len(LFS)) == LFS


def pointer_fault(path: Path) -> Fault:
    """Return the fault of a git-LFS pointer, with the command that fetches the file."""
    command = f"git -C {shell_word(path.parent)} lfs pull"
    return Fault("this is a git-LFS pointer, not the file itself", str(path), f"`{command}` fetches it")


def _models_inside(folder: Path) -> Iterator[str]:
    """Name the subfolders that hold a model or an adapter, the latest checkpoint last."""
    found = [
        path
        for path in folder.iterdir()
        if any((path / name).is_file() for name in ("config.json", "adapter_config.json"))
    ]
    yield from (path.name for path in sorted(found, key=lambda path: (len(path.name), path.name)))


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN} more" if len(every) > SHOWN else "")
