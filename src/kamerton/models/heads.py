"""Heads of models: which ones are kept, which ones are replaced, and by what names methods train them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedModel

from kamerton.core.messages import Message, msg
from kamerton.models.inspect import weight_files
from kamerton.models.naming import read_settings

PURPOSES = {
    "ForSequenceClassification": msg("{count} {count:label|labels} of whole texts ({labels})"),
    "ForTokenClassification": msg("{count} {count:label|labels} of single tokens ({labels})"),
    "ForQuestionAnswering": msg("spans"),
}
"""Heads whose outputs stand for labels or places, and what they predict, by the end of the class's name."""
UNNAMED = "LABEL_{}"
"""What transformers calls labels without names."""
SHOWN = 3
"""Labels shown of a head."""


@dataclass(frozen=True)
class NewHead:
    """A head that takes the place of the one that a model was saved with."""

    message: Message
    """Why, in one line."""
    weights: tuple[str, ...]
    """Names of its new weights: those of the output layer."""

    def begin(self, model: PreTrainedModel) -> None:
        """Initialize the output layer as the model's own library does."""
        for name in sorted({weight.rpartition(".")[0] for weight in self.weights}):
            layer: Any = model.get_submodule(name)
            for weight in layer.parameters(recurse=False):
                weight._is_hf_initialized = False  # else transformers leaves what it has loaded
            model._init_weights(layer)


def empty_model(folder: str | Path, model_class: str, config: Mapping[str, object]) -> PreTrainedModel:
    """Build a model from its configuration on torch's meta device: structure without weights."""
    settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **config)
    with torch.device("meta"):
        model: PreTrainedModel = getattr(transformers, model_class).from_config(settings)
    return model


def new_head(folder: str | Path, model_class: str, config: Mapping[str, object]) -> NewHead | None:
    """Return the head that must replace the one that a model was saved with.

    The saved head stays if it predicts the same labels of the same things in the same order. Otherwise only its output
    layer is replaced: what stands between the layers and the outputs (RoBERTa's `classifier.dense`) is kept.

    Returns:
        None if the head stays, or the folder has none of this type.
    """
    if "num_labels" not in config:  # it is loaded as it was saved
        return None
    saved = read_settings(Path(folder) / "config.json")
    old, new = _purpose(saved.get("architectures") or [""]), _purpose([model_class])
    if not old or not new or (old == new and _meaning(saved, old) == _meaning(config, new)):
        return None
    heads = {"new": _described(config, new), "old": _described(saved, old)}
    message = msg("a new head for {new} replaces the model's own, which is for {old}", **heads)
    count = int(str(config["num_labels"]))
    one, other = (_shapes(folder, model_class, labels) for labels in (count, count + 1))
    return NewHead(message, tuple(name for name, shape in one.items() if other.get(name) != shape))


def missing_heads(folder: str | Path, empty: PreTrainedModel) -> tuple[str, ...]:
    """Return the heads that a model's weight files lack, by their headers; one tied to embeddings is not missing."""
    saved: set[str] = set()
    for path in weight_files(Path(folder)):
        with safe_open(path, framework="np") as weights:
            saved |= {key.partition(".")[0] for key in weights.keys()}  # noqa: SIM118 (not a dict)
    shared = set(empty.all_tied_weights_keys)
    own = {name.partition(".")[0] for name, _ in empty.named_parameters() if name not in shared}
    return tuple(sorted(own - saved - {empty.base_model_prefix}))


def whole_heads(model: PreTrainedModel, keys: Sequence[str]) -> tuple[str, ...]:
    """Return the modules that hold new weights, as methods train and save them.

    A head above the base model is returned whole, even if only its output layer is new: PEFT adds the whole
    `classifier` to what it saves, and could not load a part of it that was saved beside.
    Within the base model, it is the largest module whose weights are all new: a pooler.
    """
    new, base = set(keys), model.base_model_prefix
    weights = list(model.state_dict())
    firsts = {key: key.partition(".")[0] for key in new}
    heads = {_largest_new(key, new, weights) if first == base else first for key, first in firsts.items()}
    return tuple(sorted(head for head in heads if head))


def _largest_new(key: str, new: set[str], weights: Sequence[str]) -> str:
    """Return the outermost module around a weight that has only new weights."""
    parts = key.split(".")[:-1]
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        if all(weight in new for weight in weights if weight.startswith(f"{name}.")):
            return name
    return ".".join(parts)


def _purpose(names: Sequence[str]) -> str:
    return next((ending for ending in PURPOSES if str(names[0]).endswith(ending)), "")


def _meaning(config: Mapping[str, Any], purpose: str) -> object:
    if purpose == "ForQuestionAnswering":
        return purpose  # a start and an end
    labels = _labels(config)
    return (labels, config.get("problem_type") if len(labels) == 1 else None)  # a number, or the score of one label


def _labels(config: Mapping[str, Any]) -> list[str]:
    """Return a configuration's labels in order; unnamed ones have the library's default names."""
    named = config.get("id2label") or {i: UNNAMED.format(i) for i in range(int(config.get("num_labels", 2)))}
    return [str(label) for _, label in sorted(named.items(), key=lambda item: int(item[0]))]


def _described(config: Mapping[str, Any], purpose: str) -> Message:
    labels = _labels(config)
    if purpose != "ForQuestionAnswering" and labels == [UNNAMED.format(0)]:
        return msg("one number")
    names = ", ".join([*labels[:SHOWN], *(["…"] if len(labels) > SHOWN else [])])
    return replace(PURPOSES[purpose], values={"count": len(labels), "labels": names})


def _shapes(folder: str | Path, model_class: str, labels: int) -> dict[str, torch.Size]:
    empty = empty_model(folder, model_class, {"num_labels": labels})
    return {name: weight.shape for name, weight in empty.state_dict().items()}
