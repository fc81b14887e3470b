"""PEFT's low-rank layers, computed in one autograd node with the matrix beside them."""

from __future__ import annotations

from collections import defaultdict
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
        return self.group.output(self, x) if self.group else apply_pairs(x, [self.pair])[0]

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
            and x.dtype == tuned.lora_A[name].weight.dtype == torch.float32
            and (base.weight.dtype == torch.float32 or isinstance(base, HalfLinear))
        )

    @property
    def pair(self) -> Pair:
        """The matrix and the active pair."""
        tuned: Any = self
        base, [name] = tuned.base_layer, tuned.active_adapters
        a, b = tuned.lora_A[name].weight, tuned.lora_B[name].weight
        half = isinstance(base, HalfLinear) and base.training
        weight, kind = (base.half_weight(), base.product_type) if half else (base.weight, a.dtype)
        return Pair(weight, base.bias, a, b, float(tuned.scaling[name]), kind)


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
            self._input, self._waiting = x, dict(zip(kin, apply_pairs(x, [one.pair for one in kin]), strict=True))
        output = self._waiting.pop(layer)
        if not self._waiting:
            self._input = None
        return output


def pair_up(model: nn.Module, run: Callable[[], object]) -> None:
    """Make PEFT's low-rank layers compute in one node, those of one block with the same input together.

    These show in a forward pass of the model with its adapters, which `run` runs.
    """
    reads: dict[tuple[str, int], list[PairedLinear]] = defaultdict(list)
    inputs = list[Tensor]()  # held, so that no two of them have the same id

    def note(block: str, layer: PairedLinear, args: tuple[Tensor, ...]) -> None:
        inputs.append(args[0])
        reads[block, id(args[0])].append(layer)

    hooks = []
    for name, module in model.named_modules():
        if type(module) is Linear:
            module.__class__ = PairedLinear
            hooks.append(module.register_forward_pre_hook(partial(note, name.rpartition(".")[0])))
    run()
    for hook in hooks:
        hook.remove()
    for layers in reads.values():
        if len(set(layers)) == len(layers) > 1:
            group = SharedInputs(layers)
            for layer in layers:
                layer.group = group
