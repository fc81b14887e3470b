"""HF generate: the model's own `generate`, for models that our decoding does not support.

An encoder-decoder encodes each source once, whether its answer is scored or generated, or both.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from kamerton.core.records import Encoded
from kamerton.engine.layout import EncoderDecoder, pad_rows, padded_inputs
from kamerton.engine.passes import split_passes, token_batches
from kamerton.engine.verify import TOLERANCE, prove_equal, some_tokens
from kamerton.forms.supervision import target_losses
from kamerton.kernels.prepacked import prepacked
from kamerton.kernels.trial import attempt
from kamerton.models.structure import device_of, has_prompt_tokens, is_encoder_decoder, outer_model

TRIED = 256
"""Most tokens of a prompt on which padding is tried: whole prompts, which may be long, would be run twice more."""
AT_ONCE = 32
"""Most answers at once: the longest of a batch slows the others down."""


def continue_all(model: nn.Module, prompts: Sequence[Encoded], config: GenerationConfig, room: int) -> list[list[int]]:
    """Return each prompt's new tokens by the model's own `generate`; `room` is the most tokens at once."""
    answers = [list[int]() for _ in prompts]
    for batch in prompt_batches(model, prompts, config, room):
        with prepacked(model, len(batch)):
            rows = generate(model, _inputs(model, [prompts[i] for i in batch], int(config.pad_token_id)), config)
        before = 0 if is_encoder_decoder(model) else max(len(prompts[i].tokens) for i in batch)
        for i, row in zip(batch, rows[:, before:].tolist(), strict=True):
            answers[i] = row
    return answers


def prompt_batches(
    model: nn.Module, prompts: Sequence[Encoded], config: GenerationConfig, room: int
) -> Iterator[list[int]]:
    """Group prompts to continue together; only those of one length, if padding changes the model's output."""
    lengths = [len(prompt.tokens) for prompt in prompts]
    together: dict[int, list[int]] = defaultdict(list)
    mixed = len(set(lengths)) > 1 and padding_is_harmless(
        model, prompts, int(config.pad_token_id), bool(config.use_cache)
    )
    for i, length in enumerate(lengths):
        together[0 if mixed else length].append(i)
    for group in together.values():
        needs = [lengths[i] + int(config.max_new_tokens) for i in group]
        yield from ([group[i] for i in batch] for batch in token_batches(needs, max(1, room), AT_ONCE))


def padding_is_harmless(model: nn.Module, prompts: Sequence[Encoded], pad: int, cached: bool = True) -> bool:
    """Return whether padding leaves a model's output unchanged, tried on parts of two prompts.

    Prompt tokens stand before the padding, farther from a padded prompt than from an unpadded one.
    """
    ordered = sorted(prompts, key=lambda prompt: len(prompt.tokens))
    long = ordered[-1].tokens[-TRIED:]
    pair = [Encoded(tokens, (), ()) for tokens in (ordered[0].tokens[-max(1, len(long) // 2) :], long)]
    together = first_logits(model, _inputs(model, pair, pad), pad, cached)
    alone = torch.cat([first_logits(model, _inputs(model, [one], pad), pad, cached) for one in pair])
    return bool((together - alone).abs().max() <= TOLERANCE * alone.abs().max())


def first_logits(model: nn.Module, inputs: Mapping[str, Any], pad: int, cached: bool = True) -> Tensor:
    """Return the logits of the first two tokens that a model generates: `[prompts, 2, vocabulary]`."""
    two = {"max_new_tokens": 2, "min_new_tokens": 2, "do_sample": False, "pad_token_id": pad, "use_cache": cached}
    config = GenerationConfig(output_logits=True, return_dict_in_generate=True, **two)
    return torch.stack(generate(model, inputs, config).logits, dim=1)


def generate(model: nn.Module, inputs: Mapping[str, Any], config: GenerationConfig) -> Any:
    """Run a model's own `generate` on tokens, or on encoded sources."""
    if is_encoder_decoder(model):
        config.decoder_start_token_id = outer_model(model).config.decoder_start_token_id
    with warnings.catch_warnings():
        # PEFT counts the positions after its prompt tokens itself, and warns that others are ignored
        warnings.filterwarnings("ignore", "Position ids are not supported")
        return cast(Any, model).generate(**inputs, generation_config=config)


def can_cache(model: nn.Module, pad: int) -> bool:
    """Return whether a decoder can cache what it has read.

    transformers counts no cache of linear attention alone, and has too small a one for some layers that run in cycles.
    """
    row = _inputs(model, [Encoded((1, 2, 3), (), ())], pad)
    return attempt(lambda: first_logits(model, row, pad), (ValueError, IndexError)) is not None


def _inputs(model: nn.Module, prompts: Sequence[Encoded], pad: int) -> dict[str, Tensor]:
    """Pad prompts; a decoder's on the left, so that all continue at the same position."""
    if is_encoder_decoder(model):
        return padded_inputs(model, prompts)
    ids, mask = pad_rows([prompt.tokens for prompt in prompts], pad, device_of(model), side="left")
    return {"input_ids": ids, "attention_mask": mask}


@dataclass(frozen=True)
class EncodedSources:
    """The encoder's output, padded to the longest source: `[sources, longest, hidden]`; the mask without `hidden`."""

    states: Tensor
    mask: Tensor

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
        for batch in prompt_batches(self.model, sources, self.config, self.room):
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
            logits = self.layout.logits(self.model, chosen, encoded.inputs([rows[index] for index in indices]))
            yield from zip(indices, target_losses(logits.float(), chosen).tolist(), strict=True)

    def _generate(self, rows: Mapping[int, int], encoded: EncodedSources) -> Iterator[tuple[int, list[int]]]:
        """Yield each prompt's new tokens, as many prompts at once as there are sources."""
        indices, at_once = list(rows), len(encoded.mask)
        for start in range(0, len(indices), at_once):
            some = indices[start : start + at_once]
            with prepacked(self.model, len(some)):
                out = generate(self.model, encoded.inputs([rows[index] for index in some]), self.config)
            yield from zip(some, out.tolist(), strict=True)


def can_encode_once(model: nn.Module, layout: EncoderDecoder, pad: int, samples: Sequence[Encoded]) -> bool:
    """Return whether encoded sources have the logits of their tokens, in scoring and in generation.

    PEFT counts the rows of a model with prompt tokens by their input ids, so it needs them beside any encoder output.
    """
    if has_prompt_tokens(model):
        return False
    tokens = some_tokens(samples, 8)
    some = [Encoded(tokens[:length], (0, 1), tokens[:2]) for length in (3, 8, 6)]

    def logits(inputs: dict[str, Any]) -> Tensor:
        return torch.cat([layout.logits(model, some, inputs), first_logits(model, inputs, pad).flatten(0, 1)])

    def encoded() -> Tensor:
        return logits(EncodedSources.of(model, some).inputs(range(len(some))))

    return prove_equal(model, encoded, lambda: logits(padded_inputs(model, some)))


def _by_source(items: Sequence[Encoded]) -> dict[tuple[int, ...], list[int]]:
    found = defaultdict[tuple[int, ...], list[int]](list)
    for index, item in enumerate(items):
        found[item.tokens].append(index)
    return found


def _rows(sources: Sequence[tuple[int, ...]], found: Mapping[tuple[int, ...], Sequence[int]]) -> dict[int, int]:
    """Return, for each item of some sources, the index of its source."""
    return {index: row for row, tokens in enumerate(sources) for index in found.get(tokens, ())}
