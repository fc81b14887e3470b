"""Virtual tokens: what prompt, prefix and p-tuning train stands before every sequence.

PEFT puts such tokens before a padded batch. Where it writes, prompts are padded on the left, so that each stands
farther from them the shorter it is; to be exact, only prompts of one length may be written together. Here they are
what they are: in training, the first tokens of each sequence in a flat row; in writing, a beginning that all sequences
have in common, whose keys and values are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
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
class InRow:
    """A flat row in which trained vectors stand before each sequence."""

    flat: Flat
    """Proven for the base model."""
    count: int
    """How many virtual tokens there are."""

    @property
    def name(self) -> str:
        """Name the layout with its reason."""
        return f"{self.flat.name}; virtual tokens stand in it"

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the head's output at every read: `[reads, classes]`."""
        with self._vectors(model, items) as placed:
            return self.flat.logits(outer_model(model), placed)

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the last hidden state at every read: `[reads, hidden]`."""
        with self._vectors(model, items) as placed:
            return self.flat.hidden(outer_model(model), placed)

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Pick the reads as the flat row does."""
        return self.flat.pick(states, [_placed(item, self.count) for item in items])

    def lay(self, states: Sequence[Tensor], items: Sequence[Encoded]) -> Tensor:
        """Lay states as the flat row does."""
        return self.flat.lay(states, items)

    def common(self, items: Sequence[Encoded]) -> int:
        """Nothing is computed once."""
        return 0

    @contextmanager
    def _vectors(self, model: nn.Module, items: Sequence[Encoded]) -> Iterator[list[Encoded]]:
        """While active, the base model's token table gives the vectors at their places; the items have places then."""
        placed = [_placed(item, self.count) for item in items]
        starts = torch.tensor([*accumulate((len(item.tokens) for item in placed[:-1]), initial=0)])
        vectors = _adapted(model).get_prompt(batch_size=1)
        at = (starts[:, None] + torch.arange(self.count)).flatten().to(vectors.device)
        with _embedding(model, lambda looked_up: looked_up.index_copy(1, at, vectors.repeat(1, len(items), 1))):
            yield placed


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
        placed = [_placed(replace(prompt, reads=()), self.count) for prompt in prompts]
        return write_all(outer_model(model), self.shared, placed, room, ends, choose, tokens, self.trunk(model))

    def trunk(self, model: nn.Module) -> Trunk:
        """Compute each layer's keys and values of the virtual tokens, as they are now."""
        base = outer_model(model)
        prompt = _adapted(model).get_prompt(batch_size=1)
        if isinstance(prompt, Cache):
            return _given(self.shared.run_trunk(base, (PLACE,) * self.count), prompt)
        with _embedding(base, lambda _: prompt):
            return self.shared.run_trunk(base, (PLACE,) * self.count)


def prove_virtual(
    model: nn.Module, layout: Layout, samples: Sequence[Encoded], endings: Sequence[Encoded]
) -> tuple[Layout, Behind | None]:
    """Give the best layout for virtual tokens, and the way to write behind them, if both give the model's own logits.

    Args:
        model: any.
        layout: proven for it; it is given back if there is no better one.
        samples: a few encoded rows to prove the layout on.
        endings: short ones, to prove the writing on.
    """
    base = outer_model(model)
    if base is model or is_two_sided(model) or base.get_output_embeddings() is None:
        return layout, None
    adapted = _adapted(model)
    if adapted is None or not adapted.active_peft_config.is_prompt_learning:
        return layout, None
    flat = prove_layout(base, lambda way: way.logits(base, samples))
    if not isinstance(flat, Flat):
        return layout, None
    count = adapted.active_peft_config.num_virtual_tokens
    in_row, behind = InRow(flat, count), Behind(Shared(flat), count)
    alike = prove_equal(model, lambda: in_row.logits(model, samples), lambda: layout.logits(model, samples))
    rows = [replace(one, reads=(len(one.tokens) - 1,), targets=()) for one in endings]
    writes = prove_equal(model, lambda: _last_written(behind, model, rows), lambda: layout.logits(model, rows))
    return in_row if alike else layout, behind if writes else None


def _adapted(model: nn.Module) -> Any:
    """Find PEFT's model inside whatever wraps it; None if there is none."""
    kind = plugins.load("peft:PeftModel")  # where a model is not transformers' own, PEFT is imported already
    return next((module for module in model.modules() if isinstance(module, kind)), None)


def _last_written(behind: Behind, model: nn.Module, rows: Sequence[Encoded]) -> Tensor:
    """Write each row's last token behind the others, and give the logits there."""
    prompts = [_placed(replace(one, tokens=one.tokens[:-1], reads=()), behind.count) for one in rows]
    writer = Writer.begin(outer_model(model), behind.shared, behind.trunk(model), prompts, 1)
    writer.add(torch.tensor([one.tokens[-1] for one in rows]))
    return writer.logits


def _placed(item: Encoded, count: int) -> Encoded:
    """Put places for the virtual tokens before a sequence."""
    reads = tuple(read + count for read in item.reads)
    return replace(item, tokens=(PLACE,) * count + item.tokens, segments=(), reads=reads)


def _given(trunk: Trunk, cache: Cache) -> Trunk:
    """Take keys and values as prefix tuning trains them, in place of those that were computed."""
    for module, layer in zip(list(trunk.keys), cast(Any, cache).layers, strict=True):
        trunk.keys[module], trunk.values[module] = layer.keys, layer.values
    return trunk


@contextmanager
def _embedding(model: nn.Module, give: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While active, a model's token table gives something else, `[1, tokens, hidden]`, than what it has looked up."""
    table = cast(Any, outer_model(model)).get_input_embeddings()
    hook = table.register_forward_hook(lambda _module, _args, looked_up: give(looked_up))
    try:
        yield
    finally:
        hook.remove()
