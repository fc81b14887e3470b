"""Virtual tokens: what prompt, prefix and p-tuning train stands before every sequence.

PEFT puts such tokens before a padded batch. Where it writes, prompts are padded on the left, so that each stands
farther from them the shorter it is; to be exact, only prompts of one length may be written together. Here they are
what they are: a beginning that all sequences have in common. In training they stand in the flat row, in writing their
keys and values are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import Cache

from kamerton.core import registry
from kamerton.core.records import Encoded
from kamerton.engine.decode import Decoding, Writer, answer_all
from kamerton.engine.layout import Flat, Layout, prove_equal, prove_layout
from kamerton.engine.prefill import Budget
from kamerton.engine.prefix_sharing import Shared, Trunk
from kamerton.engine.prefix_tree import Joined, Tree, can_join, join, join_rows, separate
from kamerton.kernels.attention import attend
from kamerton.kernels.buckets import Row
from kamerton.models.structure import is_encoder_decoder, outer_model

PLACE = 0
"""The token that holds the place of a virtual one: its own embedding is never used."""


@dataclass(frozen=True)
class InRow:
    """A flat row in which trained vectors stand before each sequence; once for all of them, where it is joined."""

    inner: Flat | Joined
    """Proven for the base model."""
    count: int
    """How many virtual tokens there are."""

    @property
    def name(self) -> str:
        """Name the layout with its reason."""
        return f"{self.inner.name}; virtual tokens stand in it"

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the head's output at every read: `[outputs, classes]`."""
        with self._vectors(model, items) as placed:
            return self.inner.logits(outer_model(model), placed)

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the last hidden state at every read: `[outputs, hidden]`."""
        with self._vectors(model, items) as placed:
            return self.inner.hidden(outer_model(model), placed)

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Pick the reads as the row does."""
        return self.inner.pick(states, [_placed(item, self.count) for item in items])

    def lay(self, states: Sequence[Tensor], items: Sequence[Encoded]) -> Tensor:
        """Lay states as the row does."""
        return self.inner.lay(states, [_placed(item, self.count) for item in items])

    def common(self, items: Sequence[Encoded]) -> int:
        """Say how many tokens beside the virtual ones are computed once."""
        return max(0, self.inner.common([_placed(item, self.count) for item in items]) - self.count)

    @contextmanager
    def _vectors(self, model: nn.Module, items: Sequence[Encoded]) -> Iterator[list[Encoded]]:
        """While active, the base model's token table gives the vectors at their places; the items have places then."""
        placed = [_placed(item, self.count) for item in items]
        stand = {place: at for places in self.inner.places(placed) for at, place in enumerate(places[: self.count])}
        vectors = _adapted(model).get_prompt(batch_size=1)
        at, which = (torch.tensor([*part], device=vectors.device) for part in (stand.keys(), stand.values()))
        with _embedding(model, lambda looked_up: looked_up.index_copy(1, at, vectors.index_select(1, which))):
            yield placed


@dataclass(frozen=True)
class _Prefixed:
    """The context of a tree of rows behind keys and values that are trained for every layer."""

    tree: Tree
    prefix: Mapping[nn.Module, tuple[Tensor, Tensor]]
    """Of each attention layer, `[1, key heads, count, width]`."""
    count: int

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attend as the tree does, whose roots continue the prefix; that asks for nothing itself."""
        ahead = (query.new_zeros(1, query.shape[1], self.count, query.shape[3]), *self.prefix[module])
        query, key, value = (torch.cat(pair, dim=2) for pair in zip(ahead, (query, key, value), strict=True))
        return attend(query, key, value, self._row, scale, causal=True)[self.count :]

    @cached_property
    def _row(self) -> Row:
        row = self.tree.row
        return Row((self.count, *row.lengths), (-1, *(parent + 1 for parent in row.parents)))


@dataclass(frozen=True)
class BehindPrefix(Joined):
    """A joined row behind what prefix tuning trains."""

    count: int
    """How many virtual tokens there are."""
    layers: tuple[nn.Module, ...]
    """The base model's attention layers, from the lowest."""

    @property
    def name(self) -> str:
        """Name the layout with its reason."""
        return f"{super().name}; virtual tokens stand before it"

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the head's output at every read: `[outputs, classes]`."""
        return self.flat.logits(outer_model(model), *self._behind(model, items))

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the last hidden state at every read: `[outputs, hidden]`."""
        return self.flat.hidden(outer_model(model), *self._behind(model, items))

    def _behind(self, model: nn.Module, items: Sequence[Encoded]) -> tuple[list[Encoded], _Prefixed, list[int]]:
        """Give the row for the flat layout, what it attends to, and where its tokens stand."""
        prefix = _adapted(model).get_prompt(batch_size=1)
        given = {layer: (own.keys, own.values) for layer, own in zip(self.layers, prefix.layers, strict=True)}
        tree = join(items) or separate(items)
        return [tree.encoded()], _Prefixed(tree, given, self.count), [self.count + at for at in tree.positions()]


@dataclass(frozen=True)
class Behind:
    """A way to write behind a model's virtual tokens: the base model alone, with what these are in its table."""

    shared: Shared
    """Proven for the base model."""
    count: int
    """How many virtual tokens there are."""

    def answer_all(
        self,
        model: nn.Module,
        items: Sequence[Encoded],
        prompts: Sequence[Encoded],
        decoding: Decoding,
        budget: Budget,
    ) -> tuple[list[float], list[list[int]]]:
        """Measure items and continue prompts as `kamerton.engine.decode.answer_all` does."""
        measured, asked = ([_placed(one, self.count) for one in some] for some in (items, prompts))
        return answer_all(outer_model(model), self.shared, measured, asked, decoding, budget, trunk=self.trunk(model))

    def trunk(self, model: nn.Module) -> Trunk:
        """Compute each layer's keys and values of the virtual tokens, as they are now."""
        base = outer_model(model)
        prompt = _adapted(model).get_prompt(batch_size=1)
        if isinstance(prompt, Cache):
            return _given(self.shared.run_trunk(base, (PLACE,) * self.count), prompt)
        with _embedding(base, lambda _: prompt):
            return self.shared.run_trunk(base, (PLACE,) * self.count)


def prove_virtual(
    model: nn.Module,
    layout: Layout,
    samples: Sequence[Encoded],
    endings: Sequence[Encoded],
    rows: Sequence[Encoded] = (),
) -> tuple[Layout, Behind | None]:
    """Give the best layout for virtual tokens, and the way to write behind them, if both give the model's own logits.

    Args:
        model: any.
        layout: proven for it; it is given back if there is no better one.
        samples: a few encoded rows to prove the layout on.
        endings: short ones, to prove the writing on.
        rows: those to train on.
    """
    base = outer_model(model)
    if base is model or is_encoder_decoder(model) or base.get_output_embeddings() is None:
        return layout, None
    adapted = _adapted(model)
    if adapted is None or not adapted.active_peft_config.is_prompt_learning:
        return layout, None
    flat = prove_layout(base, lambda way: way.logits(base, samples))
    if not isinstance(flat, Flat):
        return layout, None
    behind = Behind(Shared(flat), adapted.active_peft_config.num_virtual_tokens)
    wanted, ways = partial(layout.logits, model, samples), _ways(behind, model, endings, rows)
    best = next((way for way in ways if prove_equal(model, partial(way.logits, model, samples), wanted)), layout)
    asked = [replace(one, output_positions=(len(one.tokens) - 1,), targets=()) for one in endings]
    writes = prove_equal(model, lambda: _last_written(behind, model, asked), lambda: layout.logits(model, asked))
    return best, behind if writes else None


def _ways(
    behind: Behind, model: nn.Module, endings: Sequence[Encoded], rows: Sequence[Encoded]
) -> Iterator[InRow | BehindPrefix]:
    """Give the layouts that may do for a model with virtual tokens, the best first."""
    base, flat, count = outer_model(model), behind.shared.flat, behind.count
    if isinstance(_adapted(model).get_prompt(batch_size=1), Cache):
        if can_join(base):
            yield BehindPrefix(flat, count, tuple(behind.trunk(model).keys))
        return
    joined = join_rows(flat, base, *([_placed(one, count) for one in some] for some in (endings, rows)))
    if isinstance(joined, Joined):
        yield InRow(joined, count)
    yield InRow(flat, count)


def _adapted(model: nn.Module) -> Any:
    """Find PEFT's model inside whatever wraps it; None if there is none."""
    kind = registry.load("peft:PeftModel")  # where a model is not transformers' own, PEFT is imported already
    return next((module for module in model.modules() if isinstance(module, kind)), None)


def _last_written(behind: Behind, model: nn.Module, rows: Sequence[Encoded]) -> Tensor:
    """Write each row's last token behind the others, and give the logits there."""
    prompts = [_placed(replace(one, tokens=one.tokens[:-1], output_positions=()), behind.count) for one in rows]
    writer = Writer.begin(outer_model(model), behind.shared, behind.trunk(model), prompts, 1)
    writer.add(torch.tensor([one.tokens[-1] for one in rows]))
    return writer.logits


def _placed(item: Encoded, count: int) -> Encoded:
    """Put places for the virtual tokens before a sequence."""
    reads = tuple(read + count for read in item.output_positions)
    return replace(item, tokens=(PLACE,) * count + item.tokens, segments=(), output_positions=reads)


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
