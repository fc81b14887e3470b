"""PEFT's low-rank layers, computed in one autograd node with the matrix beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn

from kamerton.kernels.linear import PLAIN, HalfLinear, Pair, apply_pairs
from kamerton.kernels.product import Fused


class PairedLinear(Linear, Fused):  # type: ignore[misc]  # PEFT has no types
    """A low-rank layer of PEFT; only how it computes differs, and only where gradients are wanted.

    What is more than one pair beside a frozen matrix, in fp32 and without dropout, is left to PEFT.
    """

    group: SharedInputs | None = None
    """The layers that read the same input."""

    def forward(self, x: Tensor, adapter_names: Any = None, alora_offsets: Any = None) -> Tensor:
        """Return the layer's output, as PEFT does."""
        special = adapter_names is not None or alora_offsets is not None
        if self.plain or special or not torch.is_grad_enabled() or not self.pairs_alone(x):
            output: Tensor = super().forward(x, adapter_names=adapter_names, alora_offsets=alora_offsets)
            return output
        return self.group.output(self, x) if self.group else self.outputs(x, [self])[0]

    def pairs_alone(self, x: Tensor) -> bool:
        """Return whether the layer is one pair beside a frozen matrix, so that one node computes both."""
        tuned: Any = self
        base, names = tuned.base_layer, tuned.active_adapters
        name = names[0] if len(names) == 1 else None
        return (
            not tuned.disable_adapters
            and not tuned.merged
            and name in tuned.lora_A
            and name not in tuned.lora_variant
            and isinstance(tuned.lora_dropout[name], nn.Identity)
            and not tuned.lora_bias[name]
            and type(base) in PLAIN
            and not any(parameter.requires_grad for parameter in base.parameters())
            and x.dtype == base.weight.dtype == tuned.lora_A[name].weight.dtype == torch.float32
        )

    @property
    def pair(self) -> Pair:
        """The matrix and the active pair."""
        tuned: Any = self
        base, [name] = tuned.base_layer, tuned.active_adapters
        a, b = tuned.lora_A[name].weight, tuned.lora_B[name].weight
        halved = isinstance(base, HalfLinear) and base.training
        weight = base.half_weight() if halved else base.weight
        return Pair(weight, base.bias, a, b, float(tuned.scaling[name]))

    def outputs(self, x: Tensor, layers: Sequence[PairedLinear]) -> tuple[Tensor, ...]:
        """Return the outputs of several layers for one input, in one node."""
        return apply_pairs(x, [layer.pair for layer in layers])


class SharedInputs:
    """Layers that read the same tensor, such as those of queries, keys and values: the first one asked computes all."""

    def __init__(self, layers: Sequence[PairedLinear]) -> None:
        self.layers = tuple(layers)
        self._input: Tensor | None = None
        self._waiting: dict[PairedLinear, Tensor] = {}

    def output(self, layer: PairedLinear, x: Tensor) -> Tensor:
        """Return a layer's output, computed with the others' at the first request for this input."""
        if self._input is not x or layer not in self._waiting:
            kin = [one for one in self.layers if one is layer or one.pairs_alone(x)]
            self._input, self._waiting = x, dict(zip(kin, layer.outputs(x, kin), strict=True))
        output = self._waiting.pop(layer)
        if not self._waiting:
            self._input = None
        return output


def pair_up(model: nn.Module, run: Callable[[], object]) -> None:
    """Make PEFT's low-rank layers compute in one node, those of one block with the same input together.

    Args:
        model: with its adapters.
        run: runs a forward pass, which shows the layers with the same input.
    """
    reads: dict[str, list[tuple[PairedLinear, Tensor]]] = {}
    hooks = []
    for name, module in model.named_modules():
        if type(module) is Linear:
            module.__class__ = PairedLinear
            seen = reads.setdefault(name.rpartition(".")[0], [])
            hooks.append(module.register_forward_pre_hook(partial(_note, seen)))
    run()
    for hook in hooks:
        hook.remove()
    for block in reads.values():
        for layers in _alike(block):
            group = SharedInputs(layers)
            for layer in layers:
                layer.group = group


def _note(seen: list[tuple[PairedLinear, Tensor]], layer: PairedLinear, args: tuple[Tensor, ...]) -> None:
    seen.append((layer, args[0]))


def _alike(block: Sequence[tuple[PairedLinear, Tensor]]) -> list[list[PairedLinear]]:
    """Group a block's layers by the tensor that they read; those that read alone are left out."""
    by_input: dict[int, list[PairedLinear]] = {}
    for layer, x in block:
        by_input.setdefault(id(x), []).append(layer)
    return [layers for layers in by_input.values() if len(set(layers)) == len(layers) > 1]
