"""Encoder-decoders: a source is encoded once, whether its answer is scored or generated, or both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from kamerton.core.records import Encoded
from kamerton.engine.hf_generate import first_logits, generate, prompt_batches
from kamerton.engine.layout import EncoderDecoder, padded_inputs
from kamerton.engine.passes import split_passes
from kamerton.engine.prompt_tokens import has_prompt_tokens
from kamerton.engine.verify import prove_equal
from kamerton.forms.supervision import target_losses
from kamerton.kernels.prepacked import prepacked
from kamerton.models.structure import outer_model


@dataclass(frozen=True)
class EncodedSources:
    """The encoder's output, padded to the longest source."""

    states: Tensor
    """`[sources, longest, hidden]`."""
    mask: Tensor
    """`[sources, longest]`."""

    @classmethod
    def of(cls, model: nn.Module, items: Sequence[Encoded]) -> EncodedSources:
        """Run the encoder on items' tokens."""
        inputs = padded_inputs(model, items)
        states = outer_model(model).get_encoder()(**inputs).last_hidden_state
        return cls(states, inputs["attention_mask"])

    def inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return some of them as a model's inputs in place of tokens, cut to the longest of them."""
        chosen = torch.tensor(rows, device=self.mask.device)
        mask = self.mask[chosen]
        longest = int(mask.sum(dim=1).max())
        states = BaseModelOutput(last_hidden_state=self.states[chosen, :longest])
        return {"encoder_outputs": states, "attention_mask": mask[:, :longest]}


@dataclass(frozen=True)
class EncodedOnce:
    """An encoder-decoder whose sources are encoded once, each for its items and its prompts."""

    model: nn.Module
    layout: EncoderDecoder
    pad: int
    config: GenerationConfig
    room: int
    """Most tokens of sources and answers at once."""
    outputs: int
    """Most output positions in one pass."""

    def answer_all(self, items: Sequence[Encoded], prompts: Sequence[Encoded]) -> tuple[list[float], list[list[int]]]:
        """Return the losses of items, and the new tokens of prompts."""
        scored, asked = _by_source(items), _by_source(prompts)
        sources = [Encoded(tokens, (), ()) for tokens in {**scored, **asked}]
        losses, answers = [0.0] * len(items), [list[int]() for _ in prompts]
        for batch in prompt_batches(self.model, sources, self.pad, int(self.config.max_new_tokens), self.room):
            own = [sources[i].tokens for i in batch]
            encoded = EncodedSources.of(self.model, [sources[i] for i in batch])
            for index, loss in self._score(items, _rows(own, scored), encoded):
                losses[index] = loss
            for index, row in self._generate(_rows(own, asked), encoded):
                answers[index] = row
        return losses, answers

    def _score(
        self, items: Sequence[Encoded], rows: Mapping[int, int], encoded: EncodedSources
    ) -> Iterator[tuple[int, float]]:
        """Yield each item's loss; `rows` are the items' indices among the sources."""
        known = [index for index in rows if items[index].output_positions]
        counts = [len(items[index].output_positions) for index in known]
        for batch in split_passes(counts, counts, max(1, sum(counts)), self.outputs):
            indices = [known[i] for i in batch]
            chosen = [items[index] for index in indices]
            inputs = encoded.inputs([rows[index] for index in indices])
            logits = self.layout.logits(self.model, chosen, inputs)
            yield from zip(indices, target_losses(logits.float(), chosen).tolist(), strict=True)

    def _generate(self, rows: Mapping[int, int], encoded: EncodedSources) -> Iterator[tuple[int, list[int]]]:
        """Yield each prompt's new tokens, as many prompts at once as there are sources."""
        at_once = len(encoded.mask)
        indices = list(rows)
        for start in range(0, len(indices), at_once):
            some = indices[start : start + at_once]
            with prepacked(self.model, len(some)):
                out = generate(self.model, encoded.inputs([rows[index] for index in some]), self.config)
            yield from zip(some, out.tolist(), strict=True)


def can_encode_once(model: nn.Module, layout: EncoderDecoder, pad: int) -> bool:
    """Return whether encoded sources have the logits of their tokens, in scoring and in generation.

    PEFT counts the rows of a model with prompt tokens by their input ids, so it needs them beside any encoder output.
    """
    if has_prompt_tokens(model):
        return False
    some = [Encoded(tuple(range(1, length)), (0, 1), (1, 2)) for length in (4, 9, 7)]

    def logits(inputs: dict[str, Any]) -> Tensor:
        return torch.cat([layout.logits(model, some, inputs), first_logits(model, inputs, pad).flatten(0, 1)])

    rows = range(len(some))
    return prove_equal(
        model, lambda: logits(EncodedSources.of(model, some).inputs(rows)), lambda: logits(padded_inputs(model, some))
    )


def _by_source(items: Sequence[Encoded]) -> dict[tuple[int, ...], list[int]]:
    found = defaultdict[tuple[int, ...], list[int]](list)
    for index, item in enumerate(items):
        found[item.tokens].append(index)
    return found


def _rows(sources: Sequence[tuple[int, ...]], found: Mapping[tuple[int, ...], Sequence[int]]) -> dict[int, int]:
    """Return, for each item of some sources, the index of its source."""
    return {index: row for row, tokens in enumerate(sources) for index in found.get(tokens, ())}
