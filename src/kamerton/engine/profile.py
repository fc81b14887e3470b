"""What a model costs, measured on a few rows: arithmetic is counted, and the bytes of what stands at once weighed.

Nothing is timed and no formula knows any architecture: torch's own counter sees every product that a
forward and a backward pass make, and every tensor that they make is seen as it comes and goes. So methods,
frozen layers, gradient checkpointing and layouts are all accounted for as they are.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
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
from kamerton.kernels.product import fast_products_pay
from kamerton.models.structure import outer_model


@dataclass(frozen=True)
class Cost:
    """What something costs for each token and for each read."""

    per_token: float
    per_read: float

    def of(self, tokens: float, reads: float) -> float:
        """Cost of so many tokens and reads."""
        return self.per_token * tokens + self.per_read * reads


@dataclass(frozen=True)
class Gauge:
    """What a model costs."""

    training: Cost
    """Floating-point operations of a forward and a backward pass."""
    trainable: int
    """Numbers that train."""


def gauge(model: nn.Module, layout: Layout, form: Objective, rows: Sequence[Encoded]) -> Gauge:
    """Run a few rows forward and backward, and count.

    Args:
        model: as it will be trained.
        layout: proven for it.
        form: gives the loss.
        rows: some, of usual length. What is quadratic in the length is counted at theirs.
    """
    sequences = [sequence for row in rows for sequence in row.sequences]
    tokens, reads = sum(len(one.tokens) for one in sequences), sum(len(one.output_positions) for one in sequences)
    with FlopCounterMode(display=False, custom_mapping=_unknown_products()) as counter:
        _learn(model, layout, form, rows)
    head = _head_flops(model, classes_of(model))
    return Gauge(
        Cost(max(0.0, counter.get_total_flops() - 2 * head * reads) / tokens, 2 * head),
        sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
    )


def weigh(model: nn.Module, layout: Layout, form: Objective, rows: Sequence[Encoded]) -> int:
    """Run rows forward and backward, and give the bytes of the tensors that this made, gradients included, at the most.

    The arguments are those of `gauge`. The two are runs of their own: torch's counter holds on to what layers that are
    computed again have let go.
    """
    with Weighed() as weighed:
        _learn(model, layout, form, rows)
    return weighed.most


def _learn(model: nn.Module, layout: Layout, form: Objective, rows: Sequence[Encoded]) -> None:
    """Run rows forward and backward as training does, and leave neither gradients nor a trace in what is random."""
    sequences = [sequence for row in rows for sequence in row.sequences]
    model.train()
    with torch.random.fork_rng():
        form.losses(layout.logits(model, sequences).float(), rows).sum().backward()
    model.zero_grad(set_to_none=True)


class Weighed(TorchDispatchMode):
    """While active, weighs the tensors that operations make for as long as something holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        """Bytes when most were there."""
        self._now = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation; what it was given was there before, and what it gives may be new."""
        given = kwargs or {}
        for storage in _storages((args, given)):
            self._note(storage, 0)
        made = func(*args, **given)
        for storage in _storages(made):
            self._note(storage, storage.nbytes())
        self.most = max(self.most, self._now)
        return made

    def _note(self, storage: torch.UntypedStorage, size: int) -> None:
        at = storage._cdata
        if at not in self._known:
            self._known[at] = weakref.ref(storage, lambda _: self._forget(at, size))
            self._now += size

    def _forget(self, at: int, size: int) -> None:
        del self._known[at]
        self._now -= size


def _storages(values: Any) -> list[torch.UntypedStorage]:
    """Give where the tensors among some values stand; those in a library's own layout do not say."""
    tensors = [part for value in tree_leaves(values) if isinstance(value, Tensor) for part in _dense(value)]
    return [tensor.untyped_storage() for tensor in tensors if not tensor.is_mkldnn]


def _dense(tensor: Tensor) -> list[Tensor]:
    """Give what a tensor is stored as: itself, or a sparse one's entries and where they stand."""
    return [tensor._indices(), tensor._values()] if tensor.layout == torch.sparse_coo else [tensor]


def _unknown_products() -> dict[Any, Any]:
    """Count what torch's counter does not know: the faster products, where they are taken."""
    return {torch.ops.mkldnn._linear_pointwise: _product_flops} if fast_products_pay() else {}


def _product_flops(x: torch.Size, *_: object, out_shape: torch.Size) -> int:
    return 2 * x[-1] * out_shape.numel()


def _head_flops(model: nn.Module, classes: int) -> float:
    """Count a forward product with the output head, for one read."""
    hidden: Any = outer_model(model).config.get_text_config().hidden_size
    return 2.0 * hidden * classes
