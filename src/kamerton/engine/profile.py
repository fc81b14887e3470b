"""FLOP and memory profile of a model, measured on a few rows.

Nothing is timed, and no formula depends on the architecture: torch's own counter sees every product of a forward and a
backward pass, and every tensor is seen as it is allocated and freed. So methods, frozen layers, gradient checkpointing
and layouts are all accounted for.
"""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from kamerton.core.contracts import Objective
from kamerton.core.records import Encoded
from kamerton.engine.engine import classes_of
from kamerton.engine.layout import Layout
from kamerton.kernels.device import own_random_states
from kamerton.kernels.product import fast_products_pay
from kamerton.models.load import count_parameters
from kamerton.models.structure import device_of, outer_model

ONEDNN: dict[Any, Any] = {
    torch.ops.mkldnn._linear_pointwise: lambda x, *_, out_shape: 2 * x[-1] * out_shape.numel(),
}
"""The formula of the products that torch's counter does not know."""


@dataclass(frozen=True)
class FlopProfile:
    """Floating-point operations of a forward and a backward pass, by its tokens and output positions."""

    per_token: float
    per_output: float
    trainable: int
    """Trainable parameters."""

    def of(self, tokens: float, outputs: float) -> float:
        """Return the operations of so many tokens and output positions."""
        return self.per_token * tokens + self.per_output * outputs


def profile_flops(model: nn.Module, layout: Layout, form: Objective, rows: Sequence[Encoded]) -> FlopProfile:
    """Count the operations of a forward and a backward pass of rows of usual length."""
    sequences = [sequence for row in rows for sequence in row.sequences]
    tokens, outputs = sum(len(one.tokens) for one in sequences), sum(len(one.output_positions) for one in sequences)
    with FlopCounterMode(display=False, custom_mapping=ONEDNN if fast_products_pay() else {}) as counter:
        _backpropagate(model, layout, form, rows)
    head = 2.0 * int(outer_model(model).config.get_text_config().hidden_size) * classes_of(model)
    per_token = max(0.0, counter.get_total_flops() - 2 * head * outputs) / tokens
    return FlopProfile(per_token, 2 * head, count_parameters(model, trainable=True))


def profile_memory(model: nn.Module, layout: Layout, form: Objective, rows: Sequence[Encoded]) -> int:
    """Return the peak bytes of the tensors that a forward and a backward pass allocate, gradients included.

    It needs a pass of its own: the FLOP counter holds references to tensors that recomputed layers have freed.
    """
    with MemoryProfile() as profile:
        _backpropagate(model, layout, form, rows)
    return profile.peak


def _backpropagate(model: nn.Module, layout: Layout, form: Objective, rows: Sequence[Encoded]) -> None:
    """Run rows forward and backward as in training; clear the gradients and restore the random state."""
    sequences = [sequence for row in rows for sequence in row.sequences]
    model.train()
    with own_random_states(device_of(model)):
        form.losses(layout.logits(model, sequences).float(), rows).sum().backward()
    model.zero_grad(set_to_none=True)


class MemoryProfile(TorchDispatchMode):
    """While active, counts the bytes of the tensors that operations allocate, as long as they are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        """Most bytes at once."""
        self._now = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation; its inputs count nothing if they are new here, its outputs count in full."""
        given = kwargs or {}
        for storage in _storages((args, given)):
            self._note(storage, 0)
        made = func(*args, **given)
        for storage in _storages(made):
            self._note(storage, storage.nbytes())
        self.peak = max(self.peak, self._now)
        return made

    def _note(self, storage: torch.UntypedStorage, size: int) -> None:
        at = storage._cdata
        if at not in self._known:
            self._known[at] = weakref.ref(storage, lambda _: self._forget(at, size))
            self._now += size

    def _forget(self, at: int, size: int) -> None:
        del self._known[at]
        self._now -= size


def _storages(values: Any) -> Iterator[torch.UntypedStorage]:
    """Yield the storages of the tensors among some values, without those in oneDNN's own layout."""
    for value in tree_leaves(values):
        if isinstance(value, Tensor) and value.layout == torch.sparse_coo:
            yield from (value._indices().untyped_storage(), value._values().untyped_storage())
        elif isinstance(value, Tensor) and not value.is_mkldnn:
            yield value.untyped_storage()
