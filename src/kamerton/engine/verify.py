"""Modules take the faster ways they have, once they are proven to give the same logits and the same gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kamerton.core.records import Encoded
from kamerton.engine.layout import TOLERANCE, Layout
from kamerton.kernels.fused import Fused

SPREAD = 0.02
"""Of the values that stand for zeros in the proof: the second matrices of pairs begin as zeros, and would hide all."""


@dataclass(frozen=True)
class _Run:
    logits: Tensor
    gradient: Tensor
    """Of all that trains, in one vector: single weights may have a true gradient of zero."""


def prove_fused(model: nn.Module, layout: Layout, items: Sequence[Encoded]) -> str:
    """See that modules computing in one node do what they do in single operations; else put them all back to these.

    Args:
        model: as it will be trained.
        layout: how it will be run.
        items: a few real rows.

    Returns:
        What differs; nothing if all is well.
    """
    parts = [module for module in model.modules() if isinstance(module, Fused)]
    if not parts:
        return ""
    with _without_zeros(model):
        fused = _run(model, layout, items)
        _set_plain(parts, plain=True)
        plain = _run(model, layout, items)
    difference = max(_apart(fused.logits, plain.logits), _apart(fused.gradient, plain.gradient))
    if difference <= TOLERANCE:
        _set_plain(parts, plain=False)
        return ""
    return f"modules are computed in single operations: in one node each, results would differ by {difference:.1g}"


def _set_plain(parts: Sequence[Fused], *, plain: bool) -> None:
    for part in parts:
        part.plain = plain


def _run(model: nn.Module, layout: Layout, items: Sequence[Encoded]) -> _Run:
    """Compute logits and gradients in full precision and without dropout."""
    training = model.training
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    try:
        logits = layout.logits(model, items).float()
        gradients = torch.autograd.grad(logits.square().mean(), weights, allow_unused=True)
    finally:
        model.train(training)
    known = [gradient.flatten().float() for gradient in gradients if gradient is not None]
    return _Run(logits.detach(), torch.cat(known) if known else logits.new_zeros(1))


def _apart(one: Tensor, other: Tensor) -> float:
    """Give the distance of two results, relative to the second's size; infinite if they are not alike at all."""
    if one.shape != other.shape or not torch.isfinite(one).all():
        return float("inf")
    return float((one - other).norm() / (other.norm() + 1e-30))


@contextmanager
def _without_zeros(model: nn.Module) -> Iterator[None]:
    """While active, weights that train and are all zeros have other values."""
    zeros = [p for p in model.parameters() if p.requires_grad and not p.detach().any()]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in zeros:
            parameter.copy_(SPREAD * torch.randn(parameter.shape, generator=generator))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter in zeros:
                parameter.zero_()
