"""Prompt tokens: the trained vectors that prompt, prefix and p-tuning put before every sequence.

PEFT puts them before a padded batch. In generation it pads prompts on the left, so that a shorter prompt stands farther
from its prompt tokens; to be exact, only prompts of one length could be answered together. Here they are a prefix that
all sequences share: in training a part of the packed row, in decoding keys and values that are computed once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import Cache

from kamerton.core.messages import Message, msg
from kamerton.core.records import Encoded
from kamerton.engine.decode import Decoder, Decoding, answer_all
from kamerton.engine.layout import Layout, Packed
from kamerton.engine.prefill import Budget
from kamerton.engine.prefix_tree import KeyValues, join, separate
from kamerton.engine.shared_prefix import PackedTree, SharedPrefix, can_join, join_rows, run_tree
from kamerton.engine.verify import prove_equal, prove_layout
from kamerton.models.structure import adapted_model, has_prompt_tokens, is_encoder_decoder, outer_model

PLACEHOLDER = 0
"""The token at a prompt token's position: its own embedding is never used."""


@dataclass(frozen=True)
class PackedPrompts(Layout):
    """A packed row with trained vectors before each sequence; only once where the row is a tree.

    They train, so that no layer above them has cached states: `pick` and `lay` are never needed.
    """

    inner: Packed | PackedTree
    """Proven for the base model."""
    count: int
    """Number of prompt tokens."""

    @property
    def name(self) -> Message:
        """The layout below, and where the prompt tokens are."""
        return msg("{layout}; prompt tokens in the row", layout=self.inner.name)

    def run(self, model: nn.Module, items: Sequence[Encoded]) -> Any:
        """Run the base model on rows with placeholders, whose embeddings are the trained vectors."""
        placed = _placed(items, self.count)
        row_places = {place: at for own in self.inner.places(placed) for at, place in enumerate(own[: self.count])}
        vectors = adapted_model(model).get_prompt(batch_size=1)
        at, which = (torch.tensor([*part], device=vectors.device) for part in (row_places.keys(), row_places.values()))
        with _embedding(model, lambda looked_up: looked_up.index_copy(1, at, vectors.index_select(1, which))):
            return self.inner.run(outer_model(model), placed)

    def common(self, items: Sequence[Encoded]) -> int:
        """Return how many tokens beside the prompt tokens are computed once."""
        return max(0, self.inner.common(_placed(items, self.count)) - self.count)


@dataclass(frozen=True)
class TreeBehindPrefix(PackedTree):
    """A tree behind the keys and values that prefix tuning trains."""

    count: int
    """Number of prompt tokens."""
    layers: tuple[nn.Module, ...]
    """The base model's attention layers, from the lowest."""

    @property
    def name(self) -> Message:
        """The layout below, and where the prompt tokens are."""
        return msg("{layout}; prompt tokens before the row", layout=super().name)

    def run(self, model: nn.Module, items: Sequence[Encoded]) -> Any:
        """Run the base model on the tree, whose prefix is trained."""
        prefix = KeyValues(self.count)
        _set(prefix, self.layers, adapted_model(model).get_prompt(batch_size=1))
        placed = _placed(items, self.count)
        return run_tree(self.packed, outer_model(model), join(placed, prefix) or separate(placed, prefix))


@dataclass(frozen=True)
class PromptDecoder:
    """Decoding behind a model's prompt tokens: by the base model alone, with their keys and values as its prefix."""

    shared: SharedPrefix
    """Proven for the base model."""
    count: int
    """Number of prompt tokens."""

    def answer_all(
        self, model: nn.Module, items: Sequence[Encoded], prompts: Sequence[Encoded], decoding: Decoding, budget: Budget
    ) -> tuple[list[float], list[list[int]]]:
        """Score items and continue prompts as `kamerton.engine.decode.answer_all` does."""
        scored, asked = _placed(items, self.count), _placed(prompts, self.count)
        return answer_all(outer_model(model), self.shared, scored, asked, decoding, budget, self.prefix(model))

    def prefix(self, model: nn.Module) -> KeyValues:
        """Compute the keys and values of the prompt tokens as they are now."""
        base = outer_model(model)
        prompt = adapted_model(model).get_prompt(batch_size=1)
        if isinstance(prompt, Cache):
            prefix = self.shared.run_prefix(base, (PLACEHOLDER,) * self.count)
            _set(prefix, list(prefix.keys), prompt)
            return prefix
        with _embedding(base, lambda _: prompt):
            return self.shared.run_prefix(base, (PLACEHOLDER,) * self.count)


def prove_prompt_tokens(
    model: nn.Module,
    layout: Layout,
    samples: Sequence[Encoded],
    endings: Sequence[Encoded],
    rows: Sequence[Encoded] = (),
) -> tuple[Layout, PromptDecoder | None]:
    """Return the best layout for prompt tokens, and their decoder, if both give the model's own logits.

    The layout that is proven for the model is returned if there is no better one. The new one is proven on `samples`,
    the decoder on short `endings`.
    """
    base = outer_model(model)
    if not has_prompt_tokens(model) or is_encoder_decoder(model) or base.get_output_embeddings() is None:
        return layout, None
    packed = prove_layout(base, lambda way: way.logits(base, samples))
    if not isinstance(packed, Packed):
        return layout, None
    decoder = PromptDecoder(SharedPrefix(packed), adapted_model(model).active_peft_config.num_virtual_tokens)
    wanted, candidates = partial(layout.logits, model, samples), _candidates(decoder, model, endings, rows)
    best = next((way for way in candidates if prove_equal(model, partial(way.logits, model, samples), wanted)), layout)
    asked = [replace(one, output_positions=(len(one.tokens) - 1,), targets=()) for one in endings]
    decodes = prove_equal(model, partial(_last_decoded, decoder, model, asked), partial(layout.logits, model, asked))
    return best, decoder if decodes else None


def _candidates(
    decoder: PromptDecoder, model: nn.Module, endings: Sequence[Encoded], rows: Sequence[Encoded]
) -> Iterator[Layout]:
    """Yield the layouts that may fit a model with prompt tokens, the best first."""
    base, packed, count = outer_model(model), decoder.shared.packed, decoder.count
    if isinstance(adapted_model(model).get_prompt(batch_size=1), Cache):
        if can_join(base):
            yield TreeBehindPrefix(packed, count, tuple(decoder.prefix(model).keys))
        return
    tree = join_rows(packed, base, _placed(endings, count), _placed(rows, count))
    if isinstance(tree, PackedTree):
        yield PackedPrompts(tree, count)
    yield PackedPrompts(packed, count)


def _last_decoded(decoder: PromptDecoder, model: nn.Module, rows: Sequence[Encoded]) -> Tensor:
    prompts = _placed([replace(one, tokens=one.tokens[:-1], output_positions=()) for one in rows], decoder.count)
    started = Decoder.start(outer_model(model), decoder.shared, decoder.prefix(model), prompts)
    started.add([one.tokens[-1] for one in rows])
    return started.logits


def _placed(items: Sequence[Encoded], count: int) -> list[Encoded]:
    """Put placeholders for the prompt tokens before each sequence."""
    ahead = (PLACEHOLDER,) * count
    return [
        replace(
            item,
            tokens=ahead + item.tokens,
            segments=(),
            output_positions=tuple(position + count for position in item.output_positions),
        )
        for item in items
    ]


def _set(prefix: KeyValues, modules: Sequence[nn.Module], cache: Cache) -> None:
    """Set a prefix to the keys and values that prefix tuning trains, by attention layer."""
    for module, layer in zip(modules, cast(Any, cache).layers, strict=True):
        prefix.keys[module], prefix.values[module] = layer.keys, layer.values


def _embedding(model: nn.Module, exchange: Callable[[Tensor], Tensor]) -> RemovableHandle:
    """While active, the output of a model's token table, `[1, tokens, hidden]`, is exchanged."""
    table: nn.Module = cast(Any, outer_model(model)).get_input_embeddings()
    return table.register_forward_hook(lambda _module, _args, looked_up: exchange(looked_up))
