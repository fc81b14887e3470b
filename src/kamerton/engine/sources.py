"""Encoder-decoder models: a source is encoded once, whether its answer is measured or one is written, or both."""

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
from kamerton.engine.hf_generate import first_logits, generate, side_by_side
from kamerton.engine.layout import EncoderDecoder, padded_inputs, prove_equal
from kamerton.engine.passes import split_passes
from kamerton.forms.supervision import target_losses
from kamerton.kernels.prepacked import packed
from kamerton.models.structure import outer_model


@dataclass(frozen=True)
class Sources:
    """Sources as the encoder gave them, padded to the longest."""

    states: Tensor
    """`[sources, longest, hidden]`."""
    mask: Tensor
    """`[sources, longest]`."""

    @classmethod
    def of(cls, model: nn.Module, items: Sequence[Encoded]) -> Sources:
        """Run the encoder on items' tokens."""
        inputs = padded_inputs(model, items)
        states = outer_model(model).get_encoder()(**inputs).last_hidden_state
        return cls(states, inputs["attention_mask"])

    def inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return some of them as what a model takes in place of tokens, as far as the longest of them goes."""
        chosen = torch.tensor(rows, device=self.mask.device)
        mask = self.mask[chosen]
        longest = int(mask.sum(dim=1).max())
        states = BaseModelOutput(last_hidden_state=self.states[chosen, :longest])
        return {"encoder_outputs": states, "attention_mask": mask[:, :longest]}


@dataclass(frozen=True)
class EncodedOnce:
    """An encoder-decoder whose sources are encoded once, each with its items and its prompts."""

    model: nn.Module
    layout: EncoderDecoder
    pad: int
    config: GenerationConfig
    room: int
    """Most tokens of sources and answers at once."""
    outputs: int
    """Most positions in one pass whose logits are computed."""

    def answer_all(self, items: Sequence[Encoded], prompts: Sequence[Encoded]) -> tuple[list[float], list[list[int]]]:
        """Return the losses of items, and the new tokens of prompts."""
        measured, asked = _by_source(items), _by_source(prompts)
        sources = [Encoded(tokens, (), ()) for tokens in {**measured, **asked}]
        losses, written = [0.0] * len(items), [list[int]() for _ in prompts]
        for batch in side_by_side(self.model, sources, self.pad, int(self.config.max_new_tokens), self.room):
            own = [sources[i].tokens for i in batch]
            encoded = Sources.of(self.model, [sources[i] for i in batch])
            for index, loss in self._measure(items, _rows(own, measured), encoded):
                losses[index] = loss
            for index, row in self._write(_rows(own, asked), encoded):
                written[index] = row
        return losses, written

    def _measure(
        self, items: Sequence[Encoded], rows: Mapping[int, int], encoded: Sources
    ) -> Iterator[tuple[int, float]]:
        """Yield each item's loss; `rows` are the items' places among the sources."""
        known = [index for index in rows if items[index].output_positions]
        counts = [len(items[index].output_positions) for index in known]
        for batch in split_passes(counts, counts, max(1, sum(counts)), self.outputs):
            indices = [known[i] for i in batch]
            chosen = [items[index] for index in indices]
            inputs = encoded.inputs([rows[index] for index in indices])
            logits = self.layout.logits(self.model, chosen, inputs)
            yield from zip(indices, target_losses(logits.float(), chosen).tolist(), strict=True)

    def _write(self, rows: Mapping[int, int], encoded: Sources) -> Iterator[tuple[int, list[int]]]:
        """Yield each prompt's new tokens, as many prompts at once as there are sources."""
        at_once = len(encoded.mask)
        indices = list(rows)
        for start in range(0, len(indices), at_once):
            some = indices[start : start + at_once]
            with packed(self.model, len(some)):
                out = generate(self.model, encoded.inputs([rows[index] for index in some]), self.config)
            yield from zip(some, out.tolist(), strict=True)


def encodes_once(model: nn.Module, layout: EncoderDecoder, pad: int) -> bool:
    """Return whether a model gives the same logits for encoded sources as for their tokens, measuring and writing."""
    some = [Encoded(tuple(range(1, length)), (0, 1), (1, 2)) for length in (4, 9, 7)]

    def logits(inputs: dict[str, Any]) -> Tensor:
        return torch.cat([layout.logits(model, some, inputs), first_logits(model, inputs, pad).flatten(0, 1)])

    rows = range(len(some))
    return prove_equal(
        model, lambda: logits(Sources.of(model, some).inputs(rows)), lambda: logits(padded_inputs(model, some))
    )


def _by_source(items: Sequence[Encoded]) -> dict[tuple[int, ...], list[int]]:
    """Find the items of each source."""
    found = defaultdict[tuple[int, ...], list[int]](list)
    for index, item in enumerate(items):
        found[item.tokens].append(index)
    return found


def _rows(sources: Sequence[tuple[int, ...]], found: Mapping[tuple[int, ...], Sequence[int]]) -> dict[int, int]:
    """Return for each item of some sources at which place its source stands."""
    return {index: row for row, tokens in enumerate(sources) for index in found.get(tokens, ())}
