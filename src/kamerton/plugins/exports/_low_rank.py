"""Low-rank adapters as other engines take them: pairs of matrices, each with its scale."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

from kamerton.core.exporting import Tuned
from kamerton.core.messages import Wording, msg

PREFIX = "base_model.model."
"""What PEFT puts before the names of the base model's modules."""
MOVING = ("pissa", "olora", "eva", "corda", "loftq")
"""First values by which PEFT changes the base model's own matrices."""


@dataclass(frozen=True)
class LowRankPair:
    """A low-rank update of one matrix: `scale * b @ a` is added to it."""

    module: str
    """The base model's name of it."""
    a: Tensor
    """`[rank, inputs]`."""
    b: Tensor
    """`[outputs, rank]`."""
    scale: float


def low_rank(tuned: Tuned) -> LoraConfig | None:
    """Return the configuration of a run's low-rank adapter; None if it has none."""
    config = tuned.model.active_peft_config if isinstance(tuned.model, PeftModel) else None
    return config if isinstance(config, LoraConfig) and config.peft_type.value == "LORA" else None


def not_plain(tuned: Tuned) -> Wording:
    """Return why an adapter is not the pairs of matrices alone that other engines take; an empty string if it is."""
    config = low_rank(tuned)
    if config is None:
        return msg("only low-rank adapters are read there, and this run has none")
    if config.use_dora:
        return msg("the lengths that DoRA trains beside the pairs are not read there")
    if str(config.init_lora_weights).startswith(MOVING):
        name = str(config.init_lora_weights)
        return msg("adapters begun by {init} fit a base model that PEFT has changed, and no other", init=name)
    if config.bias != "none" or config.lora_bias:
        return msg("biases that are trained beside the pairs are not read there")
    if config.trainable_token_indices:
        return msg("embeddings of new tokens are not read there")
    return ""


def pairs(tuned: Tuned) -> Iterator[LowRankPair]:
    """Yield the pairs of a run's adapter, with the scale that PEFT applies: rank-stabilized ones included."""
    model: Any = tuned.model
    name = model.active_adapter
    for module, layer in model.named_modules():
        if isinstance(layer, LoraLayer) and name in layer.lora_A:
            a, b = layer.lora_A[name].weight.detach(), layer.lora_B[name].weight.detach()
            yield LowRankPair(module.removeprefix(PREFIX), a, b, float(layer.scaling[name]))
