"""HF generate: the model's own `generate`, for models that our decoding does not support."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from kamerton.core.records import Encoded
from kamerton.engine.layout import pad_rows, padded_inputs
from kamerton.engine.passes import token_batches
from kamerton.engine.verify import TOLERANCE
from kamerton.kernels.prepacked import prepacked
from kamerton.models.structure import device_of, is_encoder_decoder, outer_model

TRIED = 256
"""Most tokens of a prompt on which padding is tried: whole prompts, which may be long, would be run twice more."""
AT_ONCE = 32
"""Most answers at once: the longest of a batch slows the others down."""


def continue_all(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Encoded],
    config: GenerationConfig,
    room: int,
) -> list[list[int]]:
    """Return each prompt's new tokens by the model's own `generate`; `room` is the most tokens at once."""
    answers: list[list[int]] = [[] for _ in prompts]
    pad = int(tokenizer.pad_token_id)
    for batch in prompt_batches(model, prompts, pad, int(config.max_new_tokens), room):
        with prepacked(model, len(batch)):
            rows = generate(model, _inputs(model, [prompts[i] for i in batch], pad), config)
        before = 0 if is_encoder_decoder(model) else max(len(prompts[i].tokens) for i in batch)
        for i, row in zip(batch, rows[:, before:].tolist(), strict=True):
            answers[i] = row
    return answers


def prompt_batches(model: nn.Module, prompts: Sequence[Encoded], pad: int, new: int, room: int) -> Iterator[list[int]]:
    """Group prompts to continue together; only those of one length, if padding changes the model's output."""
    lengths = [len(prompt.tokens) for prompt in prompts]
    together: dict[int, list[int]] = defaultdict(list)
    mixed = len(set(lengths)) > 1 and padding_is_harmless(model, prompts, pad)
    for i, length in enumerate(lengths):
        together[0 if mixed else length].append(i)
    for group in together.values():
        needs = [lengths[i] + new for i in group]
        yield from ([group[i] for i in batch] for batch in token_batches(needs, max(1, room), AT_ONCE))


def padding_is_harmless(model: nn.Module, prompts: Sequence[Encoded], pad: int) -> bool:
    """Return whether padding leaves a model's output unchanged, tried on parts of two prompts.

    Prompt tokens stand before the padding, farther from a padded prompt than from an unpadded one.
    """
    ordered = sorted(prompts, key=lambda prompt: len(prompt.tokens))
    long = ordered[-1].tokens[-TRIED:]
    pair = [Encoded(tokens, (), ()) for tokens in (ordered[0].tokens[-max(1, len(long) // 2) :], long)]
    together = first_logits(model, _inputs(model, pair, pad), pad)
    alone = torch.cat([first_logits(model, _inputs(model, [one], pad), pad) for one in pair])
    return bool((together - alone).abs().max() <= TOLERANCE * alone.abs().max())


def first_logits(model: nn.Module, inputs: Mapping[str, Any], pad: int) -> torch.Tensor:
    """Return the logits of the first two tokens that a model generates: `[prompts, 2, vocabulary]`."""
    config = GenerationConfig(
        max_new_tokens=2, min_new_tokens=2, do_sample=False, pad_token_id=pad, output_logits=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    return torch.stack(generate(model, inputs, config).logits, dim=1)


def generate(model: nn.Module, inputs: Mapping[str, Any], config: GenerationConfig) -> Any:
    """Run a model's own `generate` on tokens, or on encoded sources."""
    if is_encoder_decoder(model):
        config.decoder_start_token_id = outer_model(model).config.decoder_start_token_id
    wrapper = cast(Any, model)
    with warnings.catch_warnings():
        # PEFT counts the positions after its prompt tokens itself, and warns that others are ignored
        warnings.filterwarnings("ignore", "Position ids are not supported")
        return wrapper.generate(**inputs, generation_config=config)


def _inputs(model: nn.Module, prompts: Sequence[Encoded], pad: int) -> dict[str, torch.Tensor]:
    """Pad prompts; a decoder's on the left, so that all continue at the same position."""
    if is_encoder_decoder(model):
        return padded_inputs(model, prompts)
    ids, mask = pad_rows([prompt.tokens for prompt in prompts], pad, device_of(model), side="left")
    return {"input_ids": ids, "attention_mask": mask}
