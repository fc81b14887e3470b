"""Gradient checkpointing (Chen et al. 2016): layers are computed a second time instead of keeping what they did."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kamerton.core.errors import Fault, ModelError
from kamerton.core.records import Encoded
from kamerton.engine.last_layer import narrowed_again
from kamerton.engine.layout import Layout, attending
from kamerton.models.structure import outer_model

REMEDY = "set train.gradient_checkpointing=false; fewer train.tokens_per_pass save memory too"


def recompute_layers(model: nn.Module, layout: Layout, items: Sequence[Encoded]) -> None:
    """Let a model's layers keep only their inputs for the backward pass, which computes them anew.

    Args:
        model: as it will be trained.
        layout: how it will be run.
        items: a few real rows for the proof that nothing else changes.

    Raises:
        ModelError: the model cannot, or would compute something else: prefixes live in a cache, which
            transformers leaves out when layers are computed again.
    """
    outer = outer_model(model)
    wanted = _logits(model, layout, items)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # its new name is not in every release that will do
            outer.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": _same_attention(outer)})
        outer.disable_input_require_grads()  # only the reentrant kind needs it; here it would be work for nothing
        same = torch.equal(_logits(model, layout, items), wanted)
    except (ValueError, RuntimeError) as error:
        raise ModelError(Fault(f"layers cannot be computed again: {error}", outer.name_or_path, REMEDY)) from error
    if not same:
        rule = "layers cannot be computed again: this model then computes something else"
        raise ModelError(Fault(rule, outer.name_or_path, REMEDY))


def _same_attention(
    model: PreTrainedModel,
) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
    """Give the two contexts of a layer: a second pass attends as the first did, though the layout has since ended."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _second_pass(attending(model, model.config._attn_implementation), narrowed_again())

    return contexts


@contextmanager
def _second_pass(
    attention: AbstractContextManager[None], narrowed: Callable[[], AbstractContextManager[None]]
) -> Iterator[None]:
    with attention, narrowed():
        yield


def _logits(model: nn.Module, layout: Layout, items: Sequence[Encoded]) -> Tensor:
    """Compute logits as in training, without moving the random state on."""
    training = model.training
    model.train()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return layout.logits(model, items).detach()
    finally:
        model.train(training)
