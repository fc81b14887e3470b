"""Check a model folder for what must not reach a library: anything that runs code, or reaches outside the folder.

Only names, JSON and headers are read, and nothing is imported. A configuration is as dangerous as a program: `auto_map`
names code to import, and an attention implementation can name a kernel to download and run (CVE-2026-4372, without
`trust_remote_code`).

Chat templates and tokenizers can only be judged by what they do: see `first_use`.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Wording, msg
from kamerton.models.naming import ADAPTER, CONFIG, folder_fault, pointer_fault, pointers, read_settings

SETTINGS = (
    CONFIG, ADAPTER, "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.json",
    "processor_config.json", "preprocessor_config.json", "added_tokens.json", "base_quantization.json",
)  # fmt: skip
"""What transformers, PEFT and Kamerton read as settings."""
LARGEST_SETTINGS = 1 << 20
LARGEST_TOKENIZER_SETTINGS = 16 << 20
"""Some list thousands of reserved tokens here."""
LARGEST_TEXT = 256 << 20
"""Of tokenizers, vocabularies and templates, in bytes."""
TEMPLATES = "additional_chat_templates"
SHARDS = re.compile(r"shard-\d+-model-")
"""What the shards of a distributed checkpoint are named."""
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".msgpack", ".npy", ".npz"})
IMPLEMENTATIONS = frozenset({"eager", "sdpa"})
NAMED_BY_THE_AUTHOR = frozenset({"id2label", "label2id", "added_tokens_decoder"})
"""Settings with arbitrary keys."""
ELSEWHERE = {
    "adapters", "configuration_files", "fast_tokenizer_files", "gguf_file", "init_inputs", "shadow_model",
    "transformers_weights",
}  # fmt: skip
"""Settings that name further files, repositories or arguments to load a model with."""
IMPORTED = frozenset({"fusion_config", "kernel_config", "megatron_config", "megatron_core", "parent_library"})
LIBRARIES = ("kamerton.", "megatron.core.", "peft.", "transformers.")
"""What a saved adapter may name; PEFT's default `megatron.core` is imported only with a `megatron_config`."""
COUNTED = re.compile(r"block|depth|expert|group|label|layer|stage")
"""Parts of names of settings that a library counts to."""
MOST_COUNTED, MOST_COPIES = 1 << 17, 64
PATTERNS = re.compile(r"(target|exclude)_modules|.*_pattern")
"""Settings of adapters that PEFT takes for regular expressions."""
QUANTIFIED = re.compile(r"\)[*+{]|([*+{].*){5}", re.DOTALL)
"""What a pattern needs to run for hours; those of published adapters choose among names."""
DIGIT = re.compile(r"\[?\\d\]?(\+|\{1,\})")
KINDS = {"model_type": str, "architectures": list | None, "id2label": dict | None, "added_tokens_decoder": dict}
NUMBERED = ("id2label", "added_tokens_decoder")
VOCABULARIES = ("vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
CODE_REMEDY = msg("choose a model whose code is part of transformers")
CLEAN_COPY = msg("the configuration looks tampered with; get a clean copy")
REMOVE = msg("remove it")


def hazards(folder: Path) -> Iterator[Fault]:
    """Yield every reason to refuse a folder as a model or an adapter, except for its weights."""
    if not folder.is_dir():
        yield Fault(msg("this is not a folder"), str(folder), msg("name a folder with config.json and safetensors"))
        return
    if unfetched := pointers(folder):
        yield from map(pointer_fault, unfetched)
        return
    if not (folder / ADAPTER).exists():
        if not (folder / CONFIG).is_file():
            yield folder_fault(folder)
            return
        in_parts = (folder / "tokenizer_config.json").is_file() and any((folder / n).is_file() for n in VOCABULARIES)
        if not (folder / "tokenizer.json").is_file() and not in_parts:
            rule = msg("the folder has no tokenizer.json")
            yield Fault(rule, str(folder), msg("save the model's tokenizer there too"))
    yield from _strange_files(folder)
    for name in SETTINGS:
        if (folder / name).is_file():
            yield from _settings(folder / name)


def _strange_files(folder: Path) -> Iterator[Fault]:
    inside = [folder.resolve()]
    if inside[0].parent.name == "snapshots":  # the hub's cache: names in snapshots/, contents in blobs/
        inside.append(inside[0].parent.parent / "blobs")
    for path in sorted([*folder.iterdir(), *folder.glob(f"{TEMPLATES}/*")]):
        target = Path(os.path.realpath(path))
        if not any(target.is_relative_to(root) for root in inside):
            yield Fault(msg("a link leads out of the model's folder"), str(path), msg("copy the file itself"))
        elif not path.is_file() and not path.is_dir():
            yield Fault(msg("this is neither a file nor a folder"), str(path), REMOVE)
        elif path.suffix in {".py", ".pyc", ".so"} or path.name == "custom_generate":
            yield Fault(msg("the model brings its own code, which is never run"), str(path), CODE_REMEDY)
        elif SHARDS.match(path.name):
            yield Fault(msg("transformers would load this file in place of model.safetensors"), str(path), REMOVE)
        elif path.suffix in {".jinja", ".json", ".model", ".spm", ".txt"} and path.stat().st_size > LARGEST_TEXT:
            yield Fault(msg("a file of texts is at most {limit} bytes", limit=LARGEST_TEXT), str(path), CLEAN_COPY)


def _settings(path: Path) -> Iterator[Fault]:
    largest = LARGEST_TOKENIZER_SETTINGS if path.name == "tokenizer_config.json" else LARGEST_SETTINGS
    if path.stat().st_size > largest:
        rule: Wording = msg("a configuration is at most {limit} bytes; this file is larger", limit=largest)
        yield Fault(rule, str(path), CLEAN_COPY)
        return
    try:
        settings = read_settings(path)
    except ModelError as error:
        yield from error.faults
        return
    for key, value in pairs(settings):
        if rule := _broken_rule(key, value):
            yield Fault(rule, f"{path} {key}", CODE_REMEDY)
        elif rule := _misstated(key, value):
            yield Fault(rule, f"{path} {key}", CLEAN_COPY)


def pairs(settings: object) -> Iterator[tuple[str, object]]:
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
    if word in IMPORTED and value is not None and not (isinstance(value, str) and f"{value}.".startswith(LIBRARIES)):
        return msg("the configuration names a module to import, which is never done")
    there = word.endswith(("_file", "_path")) and not word.endswith("name_or_path") and os.path.lexists(str(value))
    if there or (word in ELSEWHERE and value):
        return msg("the configuration names other files, which nothing has checked")
    return ""


def _misstated(key: str, value: object) -> Wording:
    """Return what would take hours, or what no library could read."""
    parts = list(value) if isinstance(value, list | dict) else [value] if value else []
    if PATTERNS.fullmatch(key) and any(QUANTIFIED.search(DIGIT.sub("", str(part))) for part in parts):
        return msg("a pattern like this may take hours to match")
    most = MOST_COUNTED if key != "layer_replication" else MOST_COPIES
    if COUNTED.search(key.lower()) and max([len(parts), *(part for part in parts if isinstance(part, int))]) > most:
        return msg("no model has more than {count}", count=most)
    if key in KINDS and not isinstance(value, KINDS[key]):
        return msg("the setting has a value of another kind")
    if key in NUMBERED and not all(re.fullmatch(r"\d{1,8}", str(part)) for part in parts):
        return msg("the keys are numbers of at most eight digits")
    return ""
