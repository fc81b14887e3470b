"""The model's own `generate`, for models whose answers we cannot write token by token ourselves."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from kamerton.core.records import Encoded
from kamerton.engine.layout import TOLERANCE, padded_inputs
from kamerton.engine.passes import token_batches
from kamerton.kernels.prepacked import packed
from kamerton.models.structure import device_of, is_encoder_decoder, outer_model

TRIED = 256
"""Most tokens of a prompt on which padding is tried: whole ones, which may have thousands, would be read twice more."""
AT_ONCE = 32
"""Most answers written side by side: the longest of a batch makes the others wait."""


def continue_all(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Encoded],
    config: GenerationConfig,
    room: int,
) -> list[list[int]]:
    """Continue prompts by the model's own `generate`.

    Args:
        model: a decoder, or an encoder-decoder.
        tokenizer: of the model.
        prompts: what to go on from.
        config: how long, and how tokens are chosen.
        room: most tokens of prompts and answers at once.

    Returns:
        The new tokens of each prompt.
    """
    written: list[list[int]] = [[] for _ in prompts]
    pad = int(tokenizer.pad_token_id)
    for batch in side_by_side(model, prompts, pad, int(config.max_new_tokens), room):
        with packed(model, len(batch)):
            rows = generate(model, _inputs(model, [prompts[i] for i in batch], pad), config)
        before = 0 if is_encoder_decoder(model) else max(len(prompts[i].tokens) for i in batch)
        for i, row in zip(batch, rows[:, before:].tolist(), strict=True):
            written[i] = row
    return written


def side_by_side(model: nn.Module, prompts: Sequence[Encoded], pad: int, new: int, room: int) -> Iterator[list[int]]:
    """Group prompts to write at once; only those of one length, if padding changes what the model writes."""
    lengths = [len(prompt.tokens) for prompt in prompts]
    together: dict[int, list[int]] = defaultdict(list)
    mixed = len(set(lengths)) > 1 and padding_is_harmless(model, prompts, pad)
    for i, length in enumerate(lengths):
        together[0 if mixed else length].append(i)
    for group in together.values():
        needs = [lengths[i] + new for i in group]
        yield from ([group[i] for i in batch] for batch in token_batches(needs, max(1, room), AT_ONCE))


def padding_is_harmless(model: nn.Module, prompts: Sequence[Encoded], pad: int) -> bool:
    """Return whether a model goes on from a prompt as it does without padding, tried on parts of two prompts.

    With virtual tokens before them, padded prompts stand further from those than unpadded ones.
    """
    ordered = sorted(prompts, key=lambda prompt: len(prompt.tokens))
    long = ordered[-1].tokens[-TRIED:]
    pair = [Encoded(tokens, (), ()) for tokens in (ordered[0].tokens[-max(1, len(long) // 2) :], long)]
    together = first_logits(model, _inputs(model, pair, pad), pad)
    alone = torch.cat([first_logits(model, _inputs(model, [one], pad), pad) for one in pair])
    return bool((together - alone).abs().max() <= TOLERANCE * alone.abs().max())


def first_logits(model: nn.Module, inputs: Mapping[str, Any], pad: int) -> torch.Tensor:
    """Return the logits of the first two tokens that a model writes: `[prompts, 2, vocabulary]`."""
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
        # PEFT counts the positions after its virtual tokens itself, and warns that nobody else does
        warnings.filterwarnings("ignore", "Position ids are not supported")
        return wrapper.generate(**inputs, generation_config=config)


def _inputs(model: nn.Module, prompts: Sequence[Encoded], pad: int) -> dict[str, torch.Tensor]:
    """Pad prompts as the model reads them."""
    return padded_inputs(model, prompts) if is_encoder_decoder(model) else _padded_left(model, prompts, pad)


def _padded_left(model: nn.Module, prompts: Sequence[Encoded], pad: int) -> dict[str, torch.Tensor]:
    """Pad prompts on the left, so that all go on at the same place: `[prompts, longest]`."""
    longest = max(len(prompt.tokens) for prompt in prompts)
    gaps = [longest - len(prompt.tokens) for prompt in prompts]
    ids = torch.tensor([[pad] * gap + list(p.tokens) for gap, p in zip(gaps, prompts, strict=True)])
    mask = torch.tensor([[0] * gap + [1] * len(p.tokens) for gap, p in zip(gaps, prompts, strict=True)])
    device = device_of(model)
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
