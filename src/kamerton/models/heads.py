"""Heads of models: which ones are kept, which ones are replaced, and by what names methods train them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import get_ident
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from torch.nn.modules import module as construction
from transformers import AutoConfig, PreTrainedModel

from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Message, msg
from kamerton.kernels.trial import is_out_of_memory
from kamerton.models.inspect import tensors_of, weight_files
from kamerton.models.naming import DOWNLOAD_AGAIN, read_settings

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
REFUSALS = (
    ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RuntimeError, IndexError, ZeroDivisionError,
    OSError, ImportError, AssertionError, StrictDataclassError,
)  # fmt: skip
"""What transformers and PEFT raise when a configuration makes no sense, or does not fit a model."""
MODULES, WEIGHTS = 10_000, 1 << 27
"""A model may have so many more parts and numbers than its files, times 16 and 4: new heads, dropout, masks."""


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
    """Build a model from its configuration on torch's meta device: structure without weights.

    Raises:
        ModelError: transformers cannot build it, or not of this size.
    """
    with building(folder, model_class):
        settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **config)
        with torch.device("meta"):
            model: PreTrainedModel = getattr(transformers, model_class).from_config(settings)
    return model


@contextmanager
def building(folder: str | Path, model_class: str) -> Iterator[None]:
    """Watch a model being built, before it has weights: it must not outgrow those in its files.

    Raises:
        ModelError: it does, or transformers cannot build it.
    """
    shapes = [tensor["shape"] for path in weight_files(Path(folder)) for tensor in tensors_of(path).values()]
    room, thread = [16 * len(shapes) + MODULES, 4 * sum(map(math.prod, shapes)) + WEIGHTS], get_ident()

    def grow(_owner: nn.Module, _name: str, part: nn.Module | torch.Tensor | None) -> None:
        if get_ident() == thread:
            size = part.numel() if isinstance(part, torch.Tensor) and part.is_meta else 1
            room[isinstance(part, torch.Tensor)] -= size
            if min(room) < 0:
                rule = msg("the configuration describes a model far larger than its weights")
                raise ModelError(Fault(rule, f"{folder}/config.json", DOWNLOAD_AGAIN))

    kinds = ("module", "parameter", "buffer")
    hooks = [vars(construction)[f"register_module_{kind}_registration_hook"](grow) for kind in kinds]
    try:
        yield
    except REFUSALS as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]  # transformers lists all its configurations behind it
        rule = msg("{model_class} cannot be loaded: {error}", model_class=model_class, error=reason)
        raise ModelError(Fault(rule, str(folder), msg("choose another model, or another task for this one"))) from error
    finally:
        for hook in hooks:
            hook.remove()


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
        saved |= {key.partition(".")[0] for key in tensors_of(path)}
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
    labels = output_names(config)
    return (labels, config.get("problem_type") if len(labels) == 1 else None)  # a number, or the score of one label


def output_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a configuration's labels in order; unnamed ones have the library's default names."""
    named = config.get("id2label") or {i: UNNAMED.format(i) for i in range(int(config.get("num_labels", 2)))}
    return tuple(str(label) for _, label in sorted(named.items(), key=lambda item: int(item[0])))


def _described(config: Mapping[str, Any], purpose: str) -> Message:
    labels = output_names(config)
    if purpose != "ForQuestionAnswering" and labels == (UNNAMED.format(0),):
        return msg("one number")
    names = ", ".join([*labels[:SHOWN], *(["…"] if len(labels) > SHOWN else [])])
    return replace(PURPOSES[purpose], values={"count": len(labels), "labels": names})


def _shapes(folder: str | Path, model_class: str, labels: int) -> dict[str, torch.Size]:
    empty = empty_model(folder, model_class, {"num_labels": labels})
    return {name: weight.shape for name, weight in empty.state_dict().items()}
