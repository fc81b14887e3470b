"""Answers behind virtual tokens: what prompt, prefix and p-tuning train stands before every prompt, and is run once.

PEFT puts such tokens before a batch whose prompts are padded on the left, so that each prompt stands farther from
them the shorter it is; to be exact, only prompts of one length may be written together. Here they are what they are:
a beginning that all sequences have in common, whose keys and values are computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import Cache

from kamerton import plugins
from kamerton.models.layout import Flat, Layout, is_two_sided, outer_model, prove_equal, prove_layout
from kamerton.models.shared import Shared, Trunk
from kamerton.models.write import Choose, Writer, write_all
from kamerton.records import Encoded

PLACE = 0
"""The token that holds the place of a virtual one: its own embedding is never used."""


@dataclass(frozen=True)
class Behind:
    """A way to write behind a model's virtual tokens: the base model alone, with what these are in its table."""

    shared: Shared
    """Proven for the base model."""
    count: int
    """How many virtual tokens there are."""

    def write_all(
        self, model: nn.Module, prompts: Sequence[Encoded], room: int, ends: Sequence[int], choose: Choose, tokens: int
    ) -> list[list[int]]:
        """Continue prompts as `kamerton.models.write.write_all` does."""
        placed = [self.placed(prompt) for prompt in prompts]
        return write_all(outer_model(model), self.shared, placed, room, ends, choose, tokens, self.trunk(model))

    def placed(self, prompt: Encoded) -> Encoded:
        """Put places for the virtual tokens before a prompt."""
        return replace(prompt, tokens=((PLACE,) * self.count + prompt.tokens), segments=(), reads=())

    def trunk(self, model: nn.Module) -> Trunk:
        """Compute each layer's keys and values of the virtual tokens, as they are now."""
        base = outer_model(model)
        prompt = cast(Any, model).get_prompt(batch_size=1)
        if isinstance(prompt, Cache):
            return _given(self.shared.run_trunk(base, (PLACE,) * self.count), prompt)
        with _embedding(base, prompt):
            return self.shared.run_trunk(base, (PLACE,) * self.count)


def prove_behind(model: nn.Module, layout: Layout, samples: Sequence[Encoded]) -> Behind | None:
    """Give the way to write behind a model's virtual tokens, if it has some and writes as the model itself.

    Args:
        model: any.
        layout: proven for it.
        samples: a few encoded rows, the shorter the cheaper.
    """
    base = outer_model(model)
    if base is model or is_two_sided(model) or base.get_output_embeddings() is None:
        return None
    adapted = cast(Any, model)
    if not isinstance(model, plugins.load("peft:PeftModel")) or not adapted.active_peft_config.is_prompt_learning:
        return None
    flat = prove_layout(base, lambda way: way.logits(base, samples))
    if not isinstance(flat, Flat):
        return None
    behind = Behind(Shared(flat), adapted.active_peft_config.num_virtual_tokens)
    rows = [replace(one, reads=(len(one.tokens) - 1,), targets=()) for one in samples]

    def written() -> Tensor:
        prompts = [behind.placed(replace(one, tokens=one.tokens[:-1])) for one in rows]
        writer = Writer.begin(base, behind.shared, behind.trunk(model), prompts, 1)
        writer.add(torch.tensor([one.tokens[-1] for one in rows]))
        return writer.logits

    return behind if prove_equal(model, written, lambda: layout.logits(model, rows)) else None


def _given(trunk: Trunk, cache: Cache) -> Trunk:
    """Take keys and values as prefix tuning trains them, in place of those that were computed."""
    for module, layer in zip(list(trunk.keys), cast(Any, cache).layers, strict=True):
        trunk.keys[module], trunk.values[module] = layer.keys, layer.values
    return trunk


@contextmanager
def _embedding(base: nn.Module, vectors: Tensor) -> Iterator[None]:
    """While active, a model's token table gives trained vectors, `[1, tokens, hidden]`, whatever it is asked."""
    table = cast(Any, base).get_input_embeddings()
    hook = table.register_forward_hook(lambda *_: vectors)
    try:
        yield
    finally:
        hook.remove()
