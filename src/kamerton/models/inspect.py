"""Inspect a model folder by its JSON files and the headers of its weights, before any library loads it."""

import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from kamerton.core.contracts import ModelFacts, ModelKind
from kamerton.core.errors import Fault, ModelError
from kamerton.core.figures import Figure
from kamerton.core.files import cache_folder, cached, sha256_of
from kamerton.core.messages import Joined, Value, msg
from kamerton.models.first_use import misbehavior
from kamerton.models.hazards import PICKLES, TEMPLATES, hazards, pairs
from kamerton.models.naming import (
    ADAPTER,
    CONFIG,
    DOWNLOAD_AGAIN,
    architecture,
    listed,
    pickles_fault,
    read_settings,
    weights_fault,
)

ENCODERS = {
    "albert", "bert", "big_bird", "camembert", "convbert", "deberta", "deberta-v2", "distilbert", "electra", "ernie",
    "data2vec-text", "fnet", "gte", "jina_embeddings_v3", "mra", "nomic_bert", "roc_bert",
    "eurobert", "flaubert", "funnel", "longformer", "luke", "megatron-bert", "mobilebert", "modernbert", "mpnet",
    "nystromformer", "rembert", "roberta", "roberta-prelayernorm", "roformer", "squeezebert", "xlm", "xlm-roberta",
    "xlm-roberta-xl", "xmod", "yoso",
}  # fmt: skip
"""Families that read in both directions, for architectures whose name does not say so (`BertModel`)."""
POSITIONS_AFTER_PADDING = {
    "camembert", "data2vec-text", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
    "xlm-roberta-xl", "xmod",
}  # fmt: skip
"""Families that number positions from the padding id on, and so lose that many of them."""
OTHER_SENSES = ("vision_config", "audio_config", "image_size", "num_mel_bins", "feat_extract_norm")
HEADS = ("Model", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
CONFIGURATION = (CONFIG, ADAPTER, "generation_config.json")
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt",
    "chat_template.jinja", "chat_template.json", f"{TEMPLATES}/*.jinja", "vocab.txt", "*vocab*.json", "*.model",
    "*.spm", "*.codes", "byte_maps.json", "dict.txt", "emoji.json", "normalizer.json", "prophetnet.tokenizer",
    "tekken.json", "word_*.json",
)  # fmt: skip
"""Every file that a tokenizer of transformers reads."""
ADAPTER_WEIGHTS = "adapter_model.safetensors"
LONGEST_CONTEXT = 1 << 24
UNSTATED_CONTEXT = 512
"""For relative positions without any stated limit: the length that T5 and its kin were pretrained at."""
SMALL = 1 << 20
"""Files up to this size are hashed anew each time."""
EXPONENTS: dict[str, tuple[type[np.unsignedinteger], int, int]] = {
    "F64": (np.uint64, 0x7FF << 52, 1023 + 64 << 52),
    "F32": (np.uint32, 0xFF << 23, 127 + 64 << 23),
    "BF16": (np.uint16, 0xFF << 7, 127 + 64 << 7),
    "F16": (np.uint16, 0x1F << 10, 0x1F << 10),
}
"""The bits of the exponent, and what they are at 2^64, whose square float32 cannot hold; in half precision, where no
number is as large, at infinity and NaN (IEEE 754; bfloat16 is the upper half of float32)."""
MASKS = re.compile(r"mask", re.IGNORECASE)
"""Names of buffers that may hold minus infinity: what attention must not see."""
AT_ONCE = 1 << 22
"""Numbers looked at together."""
SHOWN = 3
LARGEST_HEADER = 8 << 20
"""Bytes: some 75,000 tensors; published files have up to a few thousand each."""
RANKS = 4096
"""What a setting of an adapter may be without a tensor of this size."""
NO_SIZE = re.compile(r"seed|key|token|step")


def inspect_folder(folder: Path, name: str) -> ModelFacts:
    """Check that a folder is a base model that is safe to load, and return its facts.

    Raises:
        ModelError: with every reason to refuse it.
    """
    if (folder / ADAPTER).exists():
        rule = msg("this is an adapter, not a base model: it holds only what was trained on top of one")
        remedy = msg("name the base model itself; `kamerton predict RUN` uses what was tuned")
        raise ModelError(Fault(rule, str(folder), remedy))
    tensors = require_safe(folder)
    config, place = read_settings(folder / CONFIG), str(folder / CONFIG)
    sizes = stated_sizes(config, place, limit=_tokenizer_limit(folder))
    table = [sizes["vocabulary"], sizes["hidden"]]
    return ModelFacts(
        name=name,
        folder=str(folder),
        kind=_kind(config, place),
        family=str(config["model_type"]),
        # floating numbers only, tied ones once, since they are stored once
        parameters=sum(math.prod(one["shape"]) for one in tensors.values() if "F" in one["dtype"]),
        fingerprint=fingerprint(folder),
        tables=max(1, sum(one["shape"] == table for one in tensors.values())),
        published=_usual_type(tensors.values()),
        **sizes,
    )


def _usual_type(tensors: Iterable[Mapping[str, Any]]) -> str:
    """Return the type that most of the numbers have."""
    sizes = Counter[str]()
    for one in tensors:
        sizes[one["dtype"]] += math.prod(one["shape"])
    return max(sizes, key=sizes.__getitem__, default="")


def require_safe(folder: Path) -> dict[str, Any]:
    """Check a folder before any library loads it: a base model, an export, a run's own model, or an adapter.

    Nothing in it runs code or reaches outside, and it states no other sizes than its weights have.

    Returns:
        Its tensors as the headers describe them.

    Raises:
        ModelError: with every reason to refuse it.
    """
    faults, adapter = list(hazards(folder)), folder / ADAPTER
    if not any((folder / name).is_file() for name in (CONFIG, ADAPTER)):
        raise ModelError(faults)
    tensors = dict[str, Any]()
    try:
        for path in weight_files(folder):
            tensors |= tensors_of(path)
            if found := _remembered(path, "squares", not_finite):
                faults.append(fault_of(path, found))
    except ModelError as error:
        faults += error.faults
    if faults := faults or misbehavior(folder):
        raise ModelError(faults)
    largest = max((size for tensor in tensors.values() for size in tensor["shape"]), default=0)
    if adapter.is_file():
        _require_ranks(adapter, max(largest, RANKS))
    else:
        stated_sizes(read_settings(folder / CONFIG), str(folder / CONFIG), largest)
    return tensors


# ── weights ───────────────────────────────────────────────────────────────────────────────────


def weight_files(folder: Path) -> list[Path]:
    """List the files that transformers loads the weights from: `model.safetensors`, or what its index names.

    Raises:
        ModelError: there are none, or only ones that run code, or the index names files elsewhere.
    """
    if (folder / ADAPTER).exists():
        if (folder / ADAPTER_WEIGHTS).is_file():
            return [folder / ADAPTER_WEIGHTS]
        rule = msg("the adapter has no {file}", file=ADAPTER_WEIGHTS)
        raise ModelError(Fault(rule, str(folder), msg("save it as safetensors, PEFT's default")))
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        return _shards(index)
    if fault := weights_fault(folder):
        raise ModelError(fault)
    if pickles := sorted(path.name for path in folder.glob("*") if path.suffix in PICKLES):
        word = architecture(read_settings(folder / "config.json")) or "AutoModel"
        raise ModelError(pickles_fault(folder, pickles, word))
    rule, remedy = msg("the folder has no model.safetensors"), msg("name a folder with the weights")
    raise ModelError(Fault(rule, str(folder), remedy))


def _shards(index: Path) -> list[Path]:
    try:
        weight_map = read_settings(index)["weight_map"]
        names = sorted(set(weight_map.values()))
        shards = [index.parent / name for name in names if Path(name).name == name and name.endswith(".safetensors")]
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(Fault(msg("the index of the weights is damaged"), str(index), DOWNLOAD_AGAIN)) from error
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing or not shards or len(shards) < len(names):
        rule = msg("the index names weights that are not in the folder: {files}", files=listed(missing or names))
        raise ModelError(Fault(rule, str(index), msg("download the missing files")))
    return shards


def tensors_of(path: Path) -> dict[str, Any]:
    """Read which tensors a safetensors file holds from its header, which the library checks.

    Raises:
        ModelError: it is damaged, or its header is absurd.
    """
    try:
        header = _header(path)[1]
        with safe_open(path, framework="np"):
            return {name: tensor for name, tensor in header.items() if name != "__metadata__"}
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ModelError(damage_of(path)) from error


def types_of(folder: str | Path) -> dict[str, str]:
    """Read the types of a folder's weights from the files' headers, as `BF16`."""
    files = map(tensors_of, weight_files(Path(folder)))
    return {name: tensor["dtype"] for tensors in files for name, tensor in tensors.items()}


def not_finite(path: Path) -> dict[str, int]:
    """Count the values whose square is NaN or infinite in float32, in each tensor of a safetensors file with some."""
    size, header = _header(path)
    data = np.memmap(path, np.uint8, "r", offset=size) if path.stat().st_size > size else np.empty(0, np.uint8)
    found = {}
    for name, tensor in header.items():
        kind, ends = tensor.get("dtype"), tensor.get("data_offsets")
        if kind in EXPONENTS and not MASKS.search(name) and (count := _count(data[slice(*ends)], *EXPONENTS[kind])):
            found[name] = count
    return found


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Read a safetensors header; return its bytes, too."""
    with path.open("rb") as file:
        if (size := int.from_bytes(file.read(8), "little")) > LARGEST_HEADER:
            raise ValueError(size)
        return 8 + size, json.loads(file.read(size))


def _count(raw: np.ndarray, kind: type[np.unsignedinteger], exponent: int, least: int) -> int:
    values, mask = raw.view(kind), kind(exponent)
    parts = (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))
    return sum(int(np.count_nonzero((part & mask) >= kind(least))) for part in parts)


def fault_of(path: Path, found: dict[str, int]) -> Fault:
    """Return the fault of a file in which `not_finite` found values."""
    named: list[Value] = [msg("{tensor} ({count})", tensor=name, count=count) for name, count in found.items()]
    if len(named) > SHOWN:
        named[SHOWN:] = [msg("{count} more {count:tensor|tensors}", count=len(named) - SHOWN)]
    rule = msg(
        "weights are NaN, infinite or beyond 10^19, so every answer would be NaN: {tensors}",
        tensors=Joined(named, ", "),
    )
    remedy = msg("download the file again, or choose another model: half precision may have overflowed")
    return Fault(rule, str(path), remedy)


def damage_of(path: Path) -> Fault:
    """Return the fault of a safetensors file that the library cannot read: how much of it there is."""
    size = path.stat().st_size
    rule = msg("the file is damaged: its header cannot be read; it has {size}", size=Figure(size, "memory"))
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        start, header = _header(path)
        whole = start + max(int(tensor["data_offsets"][1]) for name, tensor in header.items() if name != "__metadata__")
        if whole > size:
            sizes = {"size": Figure(size, "memory"), "whole": Figure(whole, "memory")}
            rule = msg("the file is cut off: it has {size} of {whole}", **sizes)
    return Fault(rule, str(path), DOWNLOAD_AGAIN)


# ── configuration ─────────────────────────────────────────────────────────────────────────────


def _kind(config: Mapping[str, Any], place: str) -> ModelKind:
    """Return whether a configuration is of an encoder, a decoder or a sequence-to-sequence model of text."""
    saved, family = architecture(config), str(config.get("model_type"))
    senses = [key for key in OTHER_SENSES if key in config or key in _part(config, "encoder")]
    if not senses and not saved.endswith("EncoderModel"):
        if config.get("is_encoder_decoder") is True:
            return "seq2seq"
        if saved.endswith(("ForCausalLM", "LMHeadModel")):
            return "decoder"
        if family in ENCODERS or saved.endswith(("ForMaskedLM", "ForPreTraining")):
            return "encoder"
        if saved.endswith(HEADS) and ("num_key_value_heads" in config or family.startswith("gpt")):
            return "decoder"
    reason = msg("it is neither an encoder nor a decoder of text")
    if senses:
        reason = msg("it takes more than text ({setting})", setting=senses[0])
    name = saved or family
    rule = msg("{architecture} models cannot be tuned here: {reason}", architecture=name, reason=reason)
    raise ModelError(Fault(rule, place, msg("choose a text model like BERT, Llama or T5")))


def stated_sizes(
    config: Mapping[str, Any], place: str, largest: int = LONGEST_CONTEXT, limit: int | None = None
) -> dict[str, int]:
    """Return layers, hidden, vocabulary and context as a configuration states them, under whichever of their names.

    Args:
        config: of transformers.
        place: where it stands, for the error.
        largest: size of the model's tensors, which no size exceeds.
        limit: the tokenizer's, in tokens.

    Raises:
        ModelError: a size is missing or absurd.
    """
    encoder, decoder = _part(config, "encoder"), _part(config, "decoder")
    layers = _first(encoder, "num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers")
    if not layers and isinstance(each := encoder.get("layers_block_type"), list):  # Nemotron-H names them one by one
        layers = len(each)
    if decoder is not encoder:
        layers += _first(decoder, "num_hidden_layers", "n_layer")
    layers += _first(config, "num_decoder_layers", "decoder_layers")
    context = _first(encoder, "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
    if str(encoder.get("model_type")) in POSITIONS_AFTER_PADDING:
        context -= _first(encoder, "pad_token_id") + 1
    else:
        context = context or UNSTATED_CONTEXT
    sizes = {
        "layers": layers,
        "hidden": _first(encoder, "hidden_size", "n_embd", "d_model", "dim", "emb_dim"),
        "vocabulary": _first(decoder, "vocab_size"),
        "context": context,
    }
    most = {"hidden": largest, "vocabulary": largest}
    faults = [
        Fault(msg("the configuration states {value} as {setting}", value=value, setting=word), place, DOWNLOAD_AGAIN)
        for word, value in sizes.items()
        if not 0 < value <= most.get(word, LONGEST_CONTEXT)
    ]
    if "model_type" not in config:
        faults.append(Fault(msg("the configuration has no model_type"), place, DOWNLOAD_AGAIN))
    if faults:
        raise ModelError(faults)
    return sizes | {"context": min(context, limit or LONGEST_CONTEXT)}


def _require_ranks(path: Path, most: int) -> None:
    """Check that an adapter's configuration states no size that its weights do not have."""
    faults = [
        Fault(msg("the configuration states {value} as {setting}", value=value, setting=key), str(path), DOWNLOAD_AGAIN)
        for key, value in pairs(read_settings(path))
        if isinstance(value, int) and abs(value) > most and not NO_SIZE.search(key)
    ]
    if faults:
        raise ModelError(faults)


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    return part if isinstance(part, dict) else config


def _first(config: Mapping[str, Any], *keys: str) -> int:
    """Return the first of the settings that is a whole number, else 0."""
    values = (config.get(key) for key in keys)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), 0)


def _tokenizer_limit(folder: Path) -> int | None:
    """Read the tokenizer's limit; one without a limit has an astronomical number there."""
    path = folder / "tokenizer_config.json"
    limit = read_settings(path).get("model_max_length") if path.is_file() else None
    return int(limit) if isinstance(limit, int | float) and 0 < limit <= LONGEST_CONTEXT else None


# ── fingerprint ───────────────────────────────────────────────────────────────────────────────


def fingerprint(folder: Path) -> str:
    """Hash all that determines the model's answers: configuration, tokenizer, weights; sha256, in hex."""
    return _hash_together([path for files in _files(folder).values() for path in files])


def fingerprints(folder: Path) -> dict[str, str]:
    """Hash configuration, tokenizer and weights separately."""
    return {part: _hash_together(files) for part, files in _files(folder).items()}


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file that determines the model's answers, by its name."""
    files = [path for part in _files(folder).values() for path in part]
    return {path.relative_to(folder).as_posix(): _remembered(path, "hashes", sha256_of) for path in sorted(files)}


def _files(folder: Path) -> dict[str, list[Path]]:
    return {
        "configuration": [folder / name for name in CONFIGURATION if (folder / name).is_file()],
        "tokenizer": [path for name in TOKENIZER for path in folder.glob(name) if path.is_file()],
        "weights": weight_files(folder),
    }


def _hash_together(files: Sequence[Path]) -> str:
    lines = (f"{path.name} {_remembered(path, 'hashes', sha256_of)}\n" for path in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _remembered(path: Path, kind: str, compute: Callable[[Path], Any]) -> Any:
    """Compute a property of a file; a large file's is cached until its path, size or time changes."""
    state = path.stat()
    if state.st_size <= SMALL:
        return compute(path)
    seen = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
    memory = cache_folder() / kind / hashlib.sha256(os.fsencode(seen)).hexdigest()
    return json.loads(cached(memory, lambda: json.dumps(compute(path)).encode()))
