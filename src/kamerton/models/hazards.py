"""What in a model folder must not be handed to a library: anything that runs code, or reaches outside.

Only names, JSON and headers are read here, and nothing is imported. A configuration is as dangerous as a
program: `auto_map` names code to import, and an attention implementation can name a kernel to download and run
(CVE-2026-4372, without `trust_remote_code`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from kamerton.core.errors import Fault
from kamerton.core.files import BAD_JSON
from kamerton.models.naming import folder_fault, pointer_fault, pointers
from kamerton.models.template import traps

SETTINGS = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.json",
    "processor_config.json",
    "preprocessor_config.json",
)
"""What transformers reads as settings."""
LARGEST_SETTINGS = 1 << 20
LARGEST_TOKENIZER_SETTINGS = 16 << 20
"""Some list thousands of reserved tokens here."""
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".msgpack", ".npy", ".npz"})
IMPLEMENTATIONS = frozenset({"eager", "sdpa"})
NAMED_BY_THE_AUTHOR = frozenset({"id2label", "label2id", "added_tokens_decoder"})
"""Settings whose keys are data."""
VOCABULARIES = ("vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
CODE_REMEDY = "choose a model whose code is part of transformers"


def hazards(folder: Path) -> Iterator[Fault]:
    """Find everything for which a folder is refused as a base model, weights excepted."""
    if not folder.is_dir():
        yield Fault("this is not a folder", str(folder), "name a folder with config.json and safetensors")
        return
    if (folder / "adapter_config.json").exists():
        yield Fault(
            "this is an adapter, not a base model: it holds only what was trained on top of one",
            str(folder),
            "name the base model itself; to use what was tuned, name its run folder in `kamerton predict`",
        )
    elif not (folder / "config.json").is_file():
        yield folder_fault(folder)
        return
    yield from _missing(folder)
    yield from _unsafe(folder)


def adapter_hazards(folder: Path) -> Iterator[Fault]:
    """Find everything for which a folder is refused as an adapter, weights excepted."""
    yield from (pointer_fault(path) for path in pointers(folder))
    yield from _unsafe(folder)
    config = folder / "adapter_config.json"
    yield from _settings(config)
    try:
        settings = json.loads(config.read_bytes())
    except BAD_JSON:  # told already
        return
    if isinstance(settings, dict) and settings.get("megatron_config") is not None:
        yield Fault(
            "the configuration names a module to import, which is never done", f"{config} megatron_config", CODE_REMEDY
        )


def _unsafe(folder: Path) -> Iterator[Fault]:
    """Find files, settings and templates that run code or reach outside."""
    yield from _strange_files(folder)
    for name in SETTINGS:
        if (folder / name).is_file():
            yield from _settings(folder / name)
    for path in [*folder.glob("*.jinja"), *folder.glob("additional_chat_templates/*.jinja")]:
        yield from _template(path.read_text(encoding="utf-8", errors="replace"), str(path))


def _strange_files(folder: Path) -> Iterator[Fault]:
    inside = [folder.resolve()]
    if inside[0].parent.name == "snapshots":  # the hub's cache: names in snapshots/, contents in blobs/
        inside.append(inside[0].parent.parent / "blobs")
    for path in sorted(folder.iterdir()):
        target = Path(os.path.realpath(path))
        if not any(target.is_relative_to(root) for root in inside):
            yield Fault("a link leads out of the model's folder", str(path), "copy the file itself")
        elif not path.is_file() and not path.is_dir():
            yield Fault("this is neither a file nor a folder", str(path), "remove it")
        elif path.suffix in {".py", ".pyc", ".so"} or path.name == "custom_generate":
            yield Fault("the model brings its own code, which is never run", str(path), CODE_REMEDY)


def _missing(folder: Path) -> Iterator[Fault]:
    whole = (folder / "tokenizer.json").is_file()
    in_parts = (folder / "tokenizer_config.json").is_file() and any((folder / name).is_file() for name in VOCABULARIES)
    if not whole and not in_parts:
        yield Fault("the folder has no tokenizer.json", str(folder), "save the model's tokenizer there too")


def _settings(path: Path) -> Iterator[Fault]:
    largest = LARGEST_TOKENIZER_SETTINGS if path.name == "tokenizer_config.json" else LARGEST_SETTINGS
    if path.stat().st_size > largest:
        yield Fault(f"the file is larger than {largest:,} bytes", str(path), "this is no honest configuration")
        return
    try:
        settings = json.loads(path.read_bytes())
    except BAD_JSON as error:
        yield Fault(f"the file is not readable JSON: {error}", str(path), "get it again from where it came")
        return
    if not isinstance(settings, dict):
        yield Fault("the file holds no JSON object", str(path), "get it again from where it came")
        return
    for key, value in _pairs(settings):
        place = f"{path} {key}"
        if rule := _broken_rule(key, value):
            yield Fault(rule, place, CODE_REMEDY)
        if key == "chat_template":
            for template in _templates(value):
                yield from _template(template, place)


def _pairs(settings: object) -> Iterator[tuple[str, object]]:
    """Walk through all keys and values, however deep, without recursion."""
    waiting = [settings]
    while waiting:
        match waiting.pop():
            case dict() as table:
                yield from table.items()
                waiting += [value for key, value in table.items() if key not in NAMED_BY_THE_AUTHOR]
            case list() as values:
                waiting += values


def _broken_rule(key: str, value: object) -> str:
    word = key.lower()
    if word in {"auto_map", "trust_remote_code"} or word.startswith("custom_"):
        return "the configuration names code of its own, which is never run"
    if "implementation" in word or word.startswith("_attn"):
        harmless = value is None or isinstance(value, bool) or (isinstance(value, str) and value in IMPLEMENTATIONS)
        return "" if harmless else f"{value!r} may name code to download; only eager and sdpa are accepted"
    if word in {"quantization_config", "compression_config"} and value is not None:
        return "the weights are quantized, and quantized weights cannot be trained here; take the model's plain ones"
    return ""


def _templates(value: object) -> list[str]:
    """List the templates of a `chat_template` setting: one text, or several that have names."""
    named = value if isinstance(value, list) else [value]
    texts = [item.get("template") if isinstance(item, dict) else item for item in named]
    return [text for text in texts if isinstance(text, str)]


def _template(template: str, place: str) -> Iterator[Fault]:
    for trap in traps(template):
        yield Fault(f"the chat template is unsafe: {trap}", place, "take the template of the model's own publisher")
