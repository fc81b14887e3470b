"""Inspect a model folder by its JSON files and the headers of its weights, before any library loads it."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from kamerton.core.contracts import ModelFacts, ModelKind
from kamerton.core.errors import Fault, ModelError
from kamerton.core.files import BAD_JSON, cache_folder, read_json, sha256_of, write_json
from kamerton.core.messages import msg
from kamerton.models.finite import damage_of, fault_of, not_finite
from kamerton.models.hazards import PICKLES, VOCABULARIES, hazards
from kamerton.models.naming import DOWNLOAD_AGAIN, listed, pickles_fault, pointer_fault, pointers, weights_fault

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
CONFIGURATION = ("config.json", "generation_config.json")
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt",
    "chat_template.jinja", "chat_template.json", *VOCABULARIES,
)  # fmt: skip
LONGEST_CONTEXT = 1 << 24
UNSTATED_CONTEXT = 512
"""For relative positions without any stated limit: the length that T5 and its kin were pretrained at."""
SMALL = 1 << 20
"""Files up to this size are hashed anew each time."""


@dataclass(frozen=True)
class ModelSizes:
    """The sizes that a configuration states, under whichever of their names."""

    layers: int
    hidden: int
    vocabulary: int
    context: int


def inspect_folder(folder: Path, name: str) -> ModelFacts:
    """Check that a folder is a base model that is safe to load, and return its facts.

    Raises:
        ModelError: with every reason to refuse it.
    """
    if folder.is_dir() and (unfetched := pointers(folder)):
        raise ModelError([pointer_fault(path) for path in unfetched])
    faults = list(hazards(folder))
    if not (folder / "config.json").is_file():
        raise ModelError(faults)
    parameters = 0
    try:
        parameters = count_parameters(folder)
        faults += [fault_of(path, found) for path in weight_files(folder) if (found := _not_finite(path))]
    except ModelError as error:
        faults += error.faults
    if faults:
        raise ModelError(faults)
    config = read_json(folder / "config.json")
    shape = _shape(config, _tokenizer_limit(folder), str(folder / "config.json"))
    return ModelFacts(
        name=name,
        folder=str(folder),
        kind=kind_of(config, str(folder / "config.json")),
        family=str(config["model_type"]),
        parameters=parameters,
        layers=shape.layers,
        hidden=shape.hidden,
        vocabulary=shape.vocabulary,
        context=shape.context,
        fingerprint=fingerprint(folder),
    )


# ── weights ───────────────────────────────────────────────────────────────────────────────────


def weight_files(folder: Path) -> list[Path]:
    """List the files that transformers loads the weights from: `model.safetensors`, or what its index names.

    Raises:
        ModelError: there are none, or only ones that run code, or the index names files elsewhere.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        return _shards(index)
    if fault := weights_fault(folder):
        raise ModelError(fault)
    pickles = sorted(path.name for path in folder.glob("*") if path.suffix in PICKLES)
    if pickles:
        raise ModelError(pickles_fault(folder, pickles, _architecture(folder)))
    raise ModelError(
        Fault(msg("the folder has no model.safetensors"), str(folder), msg("name a folder with the weights"))
    )


def _architecture(folder: Path) -> str:
    with suppress(*BAD_JSON, KeyError, IndexError, TypeError):
        word = str(read_json(folder / "config.json")["architectures"][0])
        return word if word.isidentifier() else "AutoModel"
    return "AutoModel"


def _shards(index: Path) -> list[Path]:
    try:
        weight_map = read_json(index)["weight_map"]
        names = sorted(set(weight_map.values()))
        shards = [index.parent / name for name in names if Path(name).name == name and name.endswith(".safetensors")]
    except (*BAD_JSON, KeyError, TypeError, AttributeError) as error:
        raise ModelError(Fault(msg("the index of the weights is damaged"), str(index), DOWNLOAD_AGAIN)) from error
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing or not shards or len(shards) < len(names):
        rule = msg("the index names weights that are not in the folder: {files}", files=listed(missing or names))
        raise ModelError(Fault(rule, str(index), msg("download the missing files")))
    return shards


def count_parameters(folder: Path) -> int:
    """Count the weights from the headers: floating numbers only, tied ones once, since they are stored once.

    Raises:
        ModelError: weights are missing, or a header is broken or promises more than the file holds.
    """
    return sum(_count(path) for path in weight_files(folder))


def _count(path: Path) -> int:
    try:
        with safe_open(path, framework="np") as weights:
            slices = [weights.get_slice(key) for key in weights.keys()]  # noqa: SIM118 (not a dict)
            return sum(math.prod(part.get_shape()) for part in slices if "F" in part.get_dtype())
    except SafetensorError as error:
        raise ModelError(damage_of(path)) from error


# ── configuration ─────────────────────────────────────────────────────────────────────────────


def kind_of(config: Mapping[str, Any], place: str) -> ModelKind:
    """Return whether a configuration is of an encoder, a decoder or a sequence-to-sequence model.

    Raises:
        ModelError: the model is none of these, or takes more than text.
    """
    architectures = config.get("architectures")
    architecture = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    family = str(config.get("model_type"))
    senses = [key for key in OTHER_SENSES if key in config or key in _part(config, "encoder")]
    if not senses and not architecture.endswith("EncoderModel"):
        if config.get("is_encoder_decoder") is True:
            return "seq2seq"
        if architecture.endswith(("ForCausalLM", "LMHeadModel")):
            return "decoder"
        if family in ENCODERS or architecture.endswith(("ForMaskedLM", "ForPreTraining")):
            return "encoder"
        if architecture.endswith(HEADS) and ("num_key_value_heads" in config or family.startswith("gpt")):
            return "decoder"
    reason = msg("it is neither an encoder nor a decoder of text")
    if senses:
        reason = msg("it takes more than text ({setting})", setting=senses[0])
    rule = msg(
        "{architecture} models cannot be tuned here: {reason}", architecture=architecture or family, reason=reason
    )
    raise ModelError(Fault(rule, place, msg("choose a text model like BERT, Llama or T5")))


def _shape(config: Mapping[str, Any], limit: int | None, place: str) -> ModelSizes:
    encoder, decoder = _part(config, "encoder"), _part(config, "decoder")
    layers = _first(encoder, "num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers")
    if decoder is not encoder:
        layers += _first(decoder, "num_hidden_layers", "n_layer")
    layers += _first(config, "num_decoder_layers", "decoder_layers")
    shape = ModelSizes(
        layers=layers,
        hidden=_first(encoder, "hidden_size", "n_embd", "d_model", "dim", "emb_dim"),
        vocabulary=_first(decoder, "vocab_size"),
        context=min(_positions(encoder), limit or LONGEST_CONTEXT),
    )
    faults = [
        Fault(msg("the configuration states {value} as {setting}", value=value, setting=word), place, DOWNLOAD_AGAIN)
        for word, value in vars(shape).items()
        if not 0 < value <= LONGEST_CONTEXT
    ]
    if "model_type" not in config:
        faults.append(Fault(msg("the configuration has no model_type"), place, DOWNLOAD_AGAIN))
    if faults:
        raise ModelError(faults)
    return shape


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    return part if isinstance(part, dict) else config


def _first(config: Mapping[str, Any], *keys: str) -> int:
    """Return the first of the settings that is a whole number, else 0."""
    values = (config.get(key) for key in keys)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), 0)


def _positions(config: Mapping[str, Any]) -> int:
    stated = _first(config, "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
    if config.get("model_type") in POSITIONS_AFTER_PADDING:
        return stated - _first(config, "pad_token_id") - 1
    return stated or UNSTATED_CONTEXT


def _tokenizer_limit(folder: Path) -> int | None:
    """Read the tokenizer's limit; one without a limit has an astronomical number there."""
    path = folder / "tokenizer_config.json"
    limit = read_json(path).get("model_max_length") if path.is_file() else None
    return int(limit) if isinstance(limit, int | float) and 0 < limit <= LONGEST_CONTEXT else None


# ── fingerprint ───────────────────────────────────────────────────────────────────────────────


def fingerprint(folder: Path) -> str:
    """Hash all that determines the model's answers: configuration, tokenizer, weights; sha256, in hex."""
    return _hash_together([path for files in _files(folder).values() for path in files])


def fingerprints(folder: Path) -> dict[str, str]:
    """Hash configuration, tokenizer and weights separately."""
    return {part: _hash_together(files) for part, files in _files(folder).items()}


def _files(folder: Path) -> dict[str, list[Path]]:
    return {
        "configuration": [folder / name for name in CONFIGURATION if (folder / name).is_file()],
        "tokenizer": [folder / name for name in TOKENIZER if (folder / name).is_file()],
        "weights": weight_files(folder),
    }


def _hash_together(files: Sequence[Path]) -> str:
    lines = (f"{path.name} {_hash(path)}\n" for path in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _hash(path: Path) -> str:
    return str(_remembered(path, "hashes", sha256_of))


def _not_finite(path: Path) -> dict[str, int]:
    return dict(_remembered(path, "finite", not_finite))


def _remembered(path: Path, kind: str, compute: Callable[[Path], Any]) -> Any:
    """Compute a property of a file; a large file's is cached until its path, size or time changes."""
    state = path.stat()
    if state.st_size <= SMALL:
        return compute(path)
    name = str(path.resolve())
    seen = [name, state.st_size, state.st_mtime_ns]
    memory = cache_folder() / kind / f"{hashlib.sha256(os.fsencode(name)).hexdigest()}.json"
    with suppress(OSError, ValueError):  # not there yet, or damaged: compute anew
        remembered = read_json(memory)
        if remembered[:-1] == seen:
            return remembered[-1]
    value = compute(path)
    with suppress(OSError):  # a cache that cannot be written only costs time
        write_json(memory, [*seen, value])
    return value
