"""What a model costs, measured on a few rows: arithmetic is counted, and what is kept for the backward pass weighed.

Nothing is timed and no formula knows any architecture: torch's own counter sees every product that a
forward and a backward pass make, and every tensor that autograd keeps goes through a hook. So methods,
frozen layers, gradient checkpointing and layouts are all accounted for as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from kamerton.contracts import Form
from kamerton.models.engine import classes_of
from kamerton.models.layout import Layout, outer_model
from kamerton.records import Encoded


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
    kept: Cost
    """Bytes that a forward pass keeps for the backward pass, or needs at once at its head."""
    copied: int
    """Bytes of weights that a training pass holds in another precision, however many tokens it has."""
    trainable: int
    """Numbers that train."""


def gauge(model: nn.Module, layout: Layout, form: Form, rows: Sequence[Encoded]) -> Gauge:
    """Run a few rows forward and backward, and count.

    Args:
        model: as it will be trained.
        layout: proven for it.
        form: gives the loss.
        rows: some, of usual length. What is quadratic in the length is counted at theirs.
    """
    model.train()
    sequences = [sequence for row in rows for sequence in row.sequences]
    tokens, reads = sum(len(one.tokens) for one in sequences), sum(len(one.reads) for one in sequences)
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        for part in _dense(tensor):
            saved[part.untyped_storage().data_ptr()] = part
        return tensor

    with torch.random.fork_rng(), FlopCounterMode(display=False) as counter:
        with saved_tensors_hooks(keep, _same):
            loss = form.losses(layout.logits(model, sequences).float(), rows).sum()
        loss.backward()
    operations = counter.get_total_flops()
    model.zero_grad(set_to_none=True)
    classes = classes_of(model)
    head = _head_flops(model, classes)
    states = [tensor for at, tensor in saved.items() if at not in weights]
    copied = sum(tensor.untyped_storage().nbytes() for tensor in states if _is_weight(tensor, model))
    wide = [tensor for tensor in states if tensor.dim() and tensor.shape[-1] == classes and tensor.shape[0] == reads]
    at_head = sum(tensor.untyped_storage().nbytes() for tensor in wide)
    total = sum(tensor.untyped_storage().nbytes() for tensor in states)
    return Gauge(
        Cost(max(0.0, operations - 2 * head * reads) / tokens, 2 * head),
        # beside what the head keeps, its logits and their gradient are there in fp32 at once
        Cost((total - copied - at_head) / tokens, at_head / max(1, reads) + 8 * classes),
        copied,
        sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
    )


def _dense(tensor: Tensor) -> list[Tensor]:
    """Give what a tensor is stored as: itself, or a sparse one's entries and where they stand."""
    return [tensor._indices(), tensor._values()] if tensor.layout == torch.sparse_coo else [tensor]


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _head_flops(model: nn.Module, classes: int) -> float:
    """Count a forward product with the output head, for one read."""
    hidden: Any = outer_model(model).config.get_text_config().hidden_size
    return 2.0 * hidden * classes


def _is_weight(tensor: Tensor, model: nn.Module) -> bool:
    """Say whether a kept tensor is a weight in another precision: it has the shape of one, and no float32 numbers."""
    if tensor.dtype == torch.float32 or tensor.dim() != 2:
        return False
    return any(math.prod(tensor.shape) == p.numel() and set(tensor.shape) == set(p.shape) for p in model.parameters())
