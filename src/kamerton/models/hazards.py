"""Check a model folder for what must not reach a library: anything that runs code, or reaches outside the folder.

Only names, JSON and headers are read, and nothing is imported. A configuration is as dangerous as a program: `auto_map`
names code to import, and an attention implementation can name a kernel to download and run (CVE-2026-4372, without
`trust_remote_code`).

Chat templates and tokenizers can only be judged by what they do: see `first_use`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Wording, msg
from kamerton.models.naming import folder_fault, pointer_fault, pointers, read_settings

SETTINGS = (
    "config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.json",
    "processor_config.json", "preprocessor_config.json",
)  # fmt: skip
"""What transformers reads as settings."""
LARGEST_SETTINGS = 1 << 20
LARGEST_TOKENIZER_SETTINGS = 16 << 20
"""Some list thousands of reserved tokens here."""
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".msgpack", ".npy", ".npz"})
IMPLEMENTATIONS = frozenset({"eager", "sdpa"})
NAMED_BY_THE_AUTHOR = frozenset({"id2label", "label2id", "added_tokens_decoder"})
"""Settings with arbitrary keys."""
VOCABULARIES = ("vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
CODE_REMEDY = msg("choose a model whose code is part of transformers")


def hazards(folder: Path) -> Iterator[Fault]:
    """Yield every reason to refuse a folder as a base model, except for its weights."""
    if not folder.is_dir():
        yield Fault(msg("this is not a folder"), str(folder), msg("name a folder with config.json and safetensors"))
        return
    if (folder / "adapter_config.json").exists():
        yield Fault(
            msg("this is an adapter, not a base model: it holds only what was trained on top of one"),
            str(folder),
            msg("name the base model itself; `kamerton predict RUN` uses what was tuned"),
        )
    elif not (folder / "config.json").is_file():
        yield folder_fault(folder)
        return
    whole = (folder / "tokenizer.json").is_file()
    in_parts = (folder / "tokenizer_config.json").is_file() and any((folder / name).is_file() for name in VOCABULARIES)
    if not whole and not in_parts:
        yield Fault(msg("the folder has no tokenizer.json"), str(folder), msg("save the model's tokenizer there too"))
    yield from _unsafe(folder)


def adapter_hazards(folder: Path) -> Iterator[Fault]:
    """Yield every reason to refuse a folder as an adapter, except for its weights."""
    yield from (pointer_fault(path) for path in pointers(folder))
    yield from _unsafe(folder)
    config = folder / "adapter_config.json"
    yield from _settings(config)
    with suppress(ModelError):  # reported by `_settings`
        if read_settings(config).get("megatron_config") is not None:
            rule = msg("the configuration names a module to import, which is never done")
            yield Fault(rule, f"{config} megatron_config", CODE_REMEDY)


def _unsafe(folder: Path) -> Iterator[Fault]:
    yield from _strange_files(folder)
    for name in SETTINGS:
        if (folder / name).is_file():
            yield from _settings(folder / name)


def _strange_files(folder: Path) -> Iterator[Fault]:
    inside = [folder.resolve()]
    if inside[0].parent.name == "snapshots":  # the hub's cache: names in snapshots/, contents in blobs/
        inside.append(inside[0].parent.parent / "blobs")
    for path in sorted(folder.iterdir()):
        target = Path(os.path.realpath(path))
        if not any(target.is_relative_to(root) for root in inside):
            yield Fault(msg("a link leads out of the model's folder"), str(path), msg("copy the file itself"))
        elif not path.is_file() and not path.is_dir():
            yield Fault(msg("this is neither a file nor a folder"), str(path), msg("remove it"))
        elif path.suffix in {".py", ".pyc", ".so"} or path.name == "custom_generate":
            yield Fault(msg("the model brings its own code, which is never run"), str(path), CODE_REMEDY)


def _settings(path: Path) -> Iterator[Fault]:
    largest = LARGEST_TOKENIZER_SETTINGS if path.name == "tokenizer_config.json" else LARGEST_SETTINGS
    if path.stat().st_size > largest:
        rule: Wording = msg("a configuration is at most {limit} bytes; this file is larger", limit=largest)
        yield Fault(rule, str(path), msg("the configuration looks tampered with; get a clean copy"))
        return
    try:
        settings = read_settings(path)
    except ModelError as error:
        yield from error.faults
        return
    for key, value in _pairs(settings):
        if rule := _broken_rule(key, value):
            yield Fault(rule, f"{path} {key}", CODE_REMEDY)


def _pairs(settings: object) -> Iterator[tuple[str, object]]:
    """Yield all keys and values, at any depth, without recursion."""
    waiting = [settings]
    while waiting:
        match waiting.pop():
            case dict() as table:
                yield from table.items()
                waiting += [value for key, value in table.items() if key not in NAMED_BY_THE_AUTHOR]
            case list() as values:
                waiting += values


def _broken_rule(key: str, value: object) -> Wording:
    word = key.lower()
    if word in {"auto_map", "trust_remote_code"} or word.startswith("custom_"):
        return msg("the configuration names code of its own, which is never run")
    if "implementation" in word or word.startswith("_attn"):
        if value is None or isinstance(value, bool) or (isinstance(value, str) and value in IMPLEMENTATIONS):
            return ""
        return msg("{value} may name code to download; only eager and sdpa are accepted", value=repr(value))
    if word in {"quantization_config", "compression_config"} and value is not None:
        return msg("quantized weights cannot be trained here; use the model's unquantized ones")
    return ""
