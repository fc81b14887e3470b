"""A path that was named as a base model: the folder to load, or what the path is and what to name instead."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kamerton.core.errors import Fault, ModelError
from kamerton.core.files import shell_word
from kamerton.core.messages import Joined, Message, Value, Wording, msg
from kamerton.core.readers import read_object
from kamerton.runs.run import Run

ADAPTER, CONFIG = "adapter_config.json", "config.json"
ORIGIN = "merged.json"
"""In a folder that an adapter was merged into: the adapter and its base."""
LFS = b"version https://git-lfs"
LFS_SIZE = 1024
"""A pointer has some 130 bytes."""
SHOWN = 5
SAVED = msg("name a folder that `save_pretrained` wrote: config.json, model.safetensors and the tokenizer")
ORIGINAL = msg("name the model that it was made from, as a folder or a Hugging Face id with model.safetensors")
DOWNLOAD_AGAIN = msg("download the file again")
GGUF = msg("in GGUF, the format of llama.cpp: quantized for inference, not for training")
ONNX = msg("in ONNX, which can be run but not trained")
TENSORFLOW = msg("of TensorFlow, which transformers no longer reads")
FLAX = msg("of Flax, which transformers no longer reads")
FORMATS = {
    ("*.gguf",): GGUF,
    ("*.onnx", "onnx/*.onnx"): ONNX,
    ("openvino_model.*",): msg("in OpenVINO's format, which can be run but not trained"),
    ("*.h5", "saved_model.pb", "*.ckpt.index"): TENSORFLOW,
    ("*.msgpack",): FLAX,
    ("consolidated*.pth", "consolidated*.safetensors"): msg("in the publisher's own layout instead of transformers'"),
    ("*.tflite", "*.mlmodel", "*.mlpackage"): msg("in a format for mobile devices, which can be run but not trained"),
}
"""Weights that cannot be trained here, by the patterns of the files that hold them."""
FILES = {
    ".gguf": GGUF,
    ".onnx": ONNX,
    ".h5": TENSORFLOW,
    ".msgpack": FLAX,
    ".safetensors": msg("only weights: a model is a folder with config.json and a tokenizer beside them"),
    **dict.fromkeys((".bin", ".pt", ".pth", ".ckpt", ".pkl"), msg("a pickle, and loading one can run any code")),
    ".json": msg("a settings file: a model is a folder with the weights beside it"),
}
"""What a single file is, by its suffix."""
ARCHIVES = (".zip", ".gz", ".tar", ".tgz", ".7z", ".rar")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "tokenizer.model", "spiece.model", "vocab.json")


def model_folder(path: Path) -> Path:
    """Return the folder that holds the model, or the adapter, that a path names.

    A run stands for its tuned model, a repository of the Hub's cache for its newest snapshot, a folder of
    sentence-transformers for its transformer.

    Raises:
        ModelError: the path is a file.
        RunError: it is a run without a tuned model, or with one that answers at an address.
    """
    if path.is_file():
        raise ModelError(file_fault(path))
    if (path / CONFIG).is_file() or (path / ADAPTER).is_file():
        return path
    if (path / "recipe.yaml").is_file():
        run = Run(path)
        run.require_model()
        return run.model
    if (path / "snapshots").is_dir():
        if (main := path / "refs" / "main").is_file():
            return path / "snapshots" / main.read_text(encoding="utf-8").strip()
        every = sorted((path / "snapshots").iterdir(), key=lambda one: one.stat().st_mtime)
        return every[-1] if every else path
    inner = path / "0_Transformer"
    return inner if (inner / CONFIG).is_file() else path


def origin(name: str, folder: Path) -> Wording:
    """Return what a named path stands for; empty if it is the model itself."""
    parts = list[Message]()
    if (Path(name) / "recipe.yaml").is_file():
        parts.append(msg("the tuned model of the run {run}", run=name))
    if (folder / ORIGIN).is_file():
        parts.append(msg("its adapter merged into {base}", base=str(read_settings(folder / ORIGIN).get("base"))))
    elif Path(name).is_dir() and not parts and folder.resolve() != Path(name).resolve():
        parts.append(msg("the model in {folder}", folder=str(folder)))
    return Joined(parts, ", ") if parts else ""


read_settings = partial(read_object, kind=ModelError, remedy=DOWNLOAD_AGAIN)
"""Reads a JSON file of a model's folder."""


def architecture(config: Mapping[str, Any]) -> str:
    """Return the class that a model was saved as; empty if its configuration does not say so."""
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named and str(named[0]).isidentifier() else ""


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
    configs = [path for name in (CONFIG, ADAPTER) for path in folder.glob(f"*/{name}")]
    if inside := sorted({path.parent.name for path in configs}, key=lambda name: (len(name), name)):
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
    for patterns, description in FORMATS.items():
        if found := sorted(path.name for pattern in patterns for path in folder.glob(pattern)):
            rule = msg("the weights are {description} ({files})", description=description, files=listed(found))
            return Fault(rule, str(folder), ORIGINAL)
    return None


def pickles_fault(folder: Path, names: list[str], architecture: str) -> Fault:
    """Return the fault of a folder whose weights are pickles, with a command that converts trusted ones."""
    rule = msg("the weights are only in {files}: loading one can run any code, so none is loaded", files=listed(names))
    at = repr(str(folder))
    program = f"import transformers as t; t.{architecture}.from_pretrained({at}).save_pretrained({at})"
    words = {"folder": shell_word(folder), "program": shell_word(program)}
    remedy = msg("choose a model with model.safetensors; if you trust {folder}: python -c {program}", **words)
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


def listed(names: Sequence[str]) -> Value:
    """Return the first names of a list, and how many more there are."""
    first, more = ", ".join(names[:SHOWN]), len(names) - SHOWN
    return msg("{names} and {count} more", names=first, count=more) if more > 0 else first
