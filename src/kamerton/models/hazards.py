"""Check a model folder for what must not reach a library: anything that runs code, or reaches outside the folder.

Only names, JSON and headers are read, and nothing is imported. A configuration is as dangerous as a program: `auto_map`
names code to import, and an attention implementation can name a kernel to download and run (CVE-2026-4372, without
`trust_remote_code`).

Transformers renders chat templates in a sandbox, so they cannot run code; but they can burn hours or memory, and Jinja
computes constant expressions while it *compiles*: `{{ 9 ** 99999999 }}` hangs a process that merely loads it, and no
timer interrupts it. So only Jinja's lexer, which computes nothing, touches their text here.
"""

from __future__ import annotations

import json
import os
import re
from ast import literal_eval
from collections.abc import Iterable, Iterator
from pathlib import Path

from jinja2 import Environment, TemplateSyntaxError

from kamerton.core.errors import Fault
from kamerton.core.files import BAD_JSON
from kamerton.core.messages import Message, Wording, msg, verbatim
from kamerton.models.naming import DOWNLOAD_AGAIN, folder_fault, pointer_fault, pointers

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
LARGEST_TEMPLATE = 100_000
"""Characters. The longest templates of published models have about 20,000."""
LARGEST_NUMBER = 10_000
"""Templates count turns and tools; no published one holds a number above a few thousand."""
LONGEST_NUMBER = 20
"""Digits."""
FORBIDDEN = frozenset({"attr", "center", "cycler", "extends", "import", "include", "joiner", "lipsum", "mro"})
"""Words that templates of attacks need and chat templates do not."""
WIDE_FIELD = re.compile(r"[%{:][^%{}]*\d{5,}")
"""A format string that pads to tens of thousands of characters: `%99999d`, `{:>99999}`."""
Token = tuple[int, str, str]
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
    try:
        settings = json.loads(config.read_bytes())
    except BAD_JSON:  # reported by `_settings`
        return
    if isinstance(settings, dict) and settings.get("megatron_config") is not None:
        rule = msg("the configuration names a module to import, which is never done")
        yield Fault(rule, f"{config} megatron_config", CODE_REMEDY)


def _unsafe(folder: Path) -> Iterator[Fault]:
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
        settings = json.loads(path.read_bytes())
    except BAD_JSON as error:
        yield Fault(msg("the file is not valid JSON: {error}", error=str(error)), str(path), DOWNLOAD_AGAIN)
        return
    if not isinstance(settings, dict):
        yield Fault(msg("the file holds no JSON object"), str(path), DOWNLOAD_AGAIN)
        return
    for key, value in _pairs(settings):
        place = f"{path} {key}"
        if rule := _broken_rule(key, value):
            yield Fault(rule, place, CODE_REMEDY)
        if key == "chat_template":
            for named in value if isinstance(value, list) else [value]:
                text = named.get("template") if isinstance(named, dict) else named
                if isinstance(text, str):
                    yield from _template(text, place)


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


def _template(template: str, place: str) -> Iterator[Fault]:
    for trap in traps(template):
        rule = msg("the chat template is unsafe: {trap}", trap=trap)
        yield Fault(rule, place, msg("use the template of the model's publisher"))


def traps(template: str) -> Iterator[Message]:
    """Yield what is dangerous in a template, with its line."""
    if len(template) > LARGEST_TEMPLATE:
        yield msg("it has {count} characters, more than {limit}", count=len(template), limit=LARGEST_TEMPLATE)
        return
    try:
        tokens = [token for token in Environment().lex(template) if token[1] not in ("whitespace", "data", "comment")]
    except TemplateSyntaxError as error:
        yield _at(error.lineno, verbatim(error.message or ""))
        return
    yield from (_at(token[0], why) for token in tokens if (why := _trap(token)))
    yield from _long_products(tokens)
    for mark, word, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if word[2] == "format" and (mark[2] == "|" or (mark[2] == "." and after[2] == "(")):
            yield _at(word[0], msg("it formats text, which can be padded to fill the memory"))


def _at(line: int, trap: Message) -> Message:
    return msg("line {line}: {trap}", line=line, trap=trap)


def _trap(token: Token) -> Message | None:
    _, kind, text = token
    match kind:
        case "operator" if text == "**":
            return msg("the power operator can compute for hours")
        case "integer" | "float" if len(text) > LONGEST_NUMBER or float(literal_eval(text)) > LARGEST_NUMBER:
            return msg("the number {number} is larger than {limit}", number=text[:40], limit=LARGEST_NUMBER)
        case "name" if text in FORBIDDEN or "__" in text:
            return msg("'{name}' has no place in a chat template", name=text)
        case "string" if WIDE_FIELD.search(text):
            return msg("the format {format} is too wide", format=text[:40])
        case "string" if text[1:-1].startswith("__"):
            return msg("{name} reaches for Python's internals", name=text[:40])
    return None


def _long_products(tokens: Iterable[Token]) -> Iterator[Message]:
    """Yield expressions that multiply more than once: each factor is bounded, their product is not."""
    factors = 0
    for line, kind, text in tokens:
        if kind in ("variable_begin", "block_begin"):
            factors = 0
        if kind == "operator" and text == "*":
            factors += 1
            if factors == 2:
                yield _at(line, msg("a product of more than two factors can grow to fill the memory"))
