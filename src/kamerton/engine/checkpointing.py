"""Gradient checkpointing (Chen et al. 2016): the backward pass recomputes layers instead of keeping activations."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import msg
from kamerton.core.records import Encoded
from kamerton.engine.device_attention import fused_kernels
from kamerton.engine.halves import attending
from kamerton.engine.last_layer import reselecting
from kamerton.engine.layout import Layout, in_mode
from kamerton.engine.packed import passed, passing
from kamerton.kernels.device import own_random_states
from kamerton.kernels.trial import is_out_of_memory
from kamerton.models.structure import device_of, outer_model

REMEDY = msg("set train.gradient_checkpointing=false; smaller train.tokens_per_pass saves memory too")


def recompute_layers(model: nn.Module, layout: Layout, items: Sequence[Encoded]) -> None:
    """Make a model's layers keep only their inputs for the backward pass; prove on rows that nothing else changes.

    Raises:
        ModelError: the model does not support it, or would compute something else: prefixes are in a cache, which
            transformers drops when layers are recomputed.
    """
    outer, wanted = outer_model(model), _logits(model, layout, items)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # its new name is not in every supported release
            outer.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": partial(_same_attention, outer)})
        outer.disable_input_require_grads()  # only the reentrant kind needs it
        same = torch.equal(_logits(model, layout, items), wanted)
    except (ValueError, RuntimeError) as error:  # transformers refuses; torch finds that recomputed states differ
        if is_out_of_memory(error):
            raise
        rule = msg("gradient checkpointing does not work with this model: {error}", error=str(error))
        raise ModelError(Fault(rule, outer.name_or_path, REMEDY)) from error
    if not same:
        rule = msg("gradient checkpointing changes what this model computes")
        raise ModelError(Fault(rule, outer.name_or_path, REMEDY))


def _same_attention(model: PreTrainedModel) -> tuple[AbstractContextManager[None], ...]:
    """Return the contexts of a layer's two passes: the second attends as the first did, after the layout has ended."""
    implementation, selecting, inputs = model.config._attn_implementation, reselecting.get(), passed.get()

    @contextmanager
    def second_pass() -> Iterator[None]:
        with attending(model, implementation), passing(inputs), selecting(), fused_kernels(model):
            yield

    return nullcontext(), second_pass()


def _logits(model: nn.Module, layout: Layout, items: Sequence[Encoded]) -> Tensor:
    """Compute logits as in training, without advancing the random state."""
    with in_mode(model, training=True), own_random_states(device_of(model)):
        torch.manual_seed(0)
        return layout.logits(model, items).detach()
