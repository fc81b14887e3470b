"""A model ready to be asked: everything outside training goes through these four verbs."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from kamerton.contracts import ModelFacts
from kamerton.forms.supervision import target_losses
from kamerton.models.frozen import keep_frozen_work
from kamerton.models.layout import TOLERANCE, Layout, device_of, is_two_sided, outer_model, padded_inputs, prove_layout
from kamerton.records import Encoded

LOGITS_PER_PASS = 32_000_000
"""Most logits in one forward pass: 128 MB in fp32, and three times that in training."""
GENERATED_AT_ONCE = 32
"""Most answers written side by side: the longest of a batch makes the others wait."""


@dataclass(frozen=True)
class TorchEngine:
    """A torch model with its tokenizer and the layout that was proven for it."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    facts: ModelFacts
    layout: Layout
    max_tokens: int
    max_new_tokens: int
    tokens_per_pass: int

    @torch.no_grad()
    def read(self, items: Sequence[Encoded]) -> list[np.ndarray]:
        """Return the logits at each item's reads: arrays `[reads, classes]`, float32."""
        results: list[np.ndarray] = [np.empty(0)] * len(items)
        for batch in self._batches(items):
            logits = self.layout.logits(self.model, [items[i] for i in batch]).float().cpu()
            for i, part in zip(batch, logits.split([len(items[i].reads) for i in batch]), strict=True):
                results[i] = part.numpy()
        return results

    @torch.no_grad()
    def losses(self, items: Sequence[Encoded]) -> np.ndarray:
        """Return each item's negative log-likelihood of its targets, summed over its reads: `[items]`, nats."""
        results = np.zeros(len(items))
        for batch in self._batches(items):
            chosen = [items[i] for i in batch]
            if not any(item.reads for item in chosen):
                continue
            results[batch] = target_losses(self.layout.logits(self.model, chosen).float(), chosen).cpu().numpy()
        return results

    @torch.no_grad()
    def generate(self, prompts: Sequence[Encoded]) -> list[str]:
        """Continue each prompt greedily until the end token or `max_new_tokens`; return the new text."""
        texts = [""] * len(prompts)
        for batch in self._side_by_side(prompts):
            for i, text in zip(batch, self._continue([prompts[i] for i in batch]), strict=True):
                texts[i] = text
        return texts

    def _side_by_side(self, prompts: Sequence[Encoded]) -> Iterator[list[int]]:
        """Group prompts to write at once; only those of one length, if padding changes what the model writes."""
        self.model.eval()
        lengths = [len(prompt.tokens) for prompt in prompts]
        together: dict[int, list[int]] = defaultdict(list)
        mixed = len(set(lengths)) > 1 and padding_is_harmless(self.model, prompts, self.tokenizer.pad_token_id)
        for i, length in enumerate(lengths):
            together[0 if mixed else length].append(i)
        room = max(1, self.tokens_per_pass // 2)
        for group in together.values():
            needs = [lengths[i] + self.max_new_tokens for i in group]
            yield from ([group[i] for i in batch] for batch in token_batches(needs, room, GENERATED_AT_ONCE))

    @torch.no_grad()
    def embed(self, items: Sequence[Encoded]) -> np.ndarray:
        """Return the mean of the last hidden states of each item, unit length: `[items, hidden]`."""
        whole = [replace(item, reads=tuple(range(len(item.tokens)))) for item in items]
        results = np.zeros((len(items), self.facts.hidden), dtype=np.float32)
        for batch in self._batches([replace(item, reads=(0,)) for item in items]):
            chosen = [whole[i] for i in batch]
            hidden = self.layout.hidden(self.model, chosen).float().cpu()
            for i, part in zip(batch, hidden.split([len(item.tokens) for item in chosen]), strict=True):
                results[i] = part.mean(dim=0).numpy()
        return results / (np.linalg.norm(results, axis=1, keepdims=True) + 1e-12)

    def _batches(self, items: Sequence[Encoded]) -> Iterator[list[int]]:
        """Group items of like length, as many as the budgets of tokens and of logits allow."""
        self.model.eval()
        reads = max((len(item.reads) for item in items), default=1)
        at_once = max(1, LOGITS_PER_PASS // (classes_of(self.model) * max(1, reads)))
        return token_batches([len(item.tokens) for item in items], self.tokens_per_pass, at_once)

    def _continue(self, prompts: Sequence[Encoded]) -> list[str]:
        pad = self.tokenizer.pad_token_id
        config = GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=pad,
            use_cache=True,
        )
        written = _generate(self.model, prompts, pad, config)
        before = 0 if is_two_sided(self.model) else max(len(prompt.tokens) for prompt in prompts)
        texts = self.tokenizer.batch_decode(written[:, before:], skip_special_tokens=True)
        return [text.strip() for text in texts]


def make_engine(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    facts: ModelFacts,
    samples: Sequence[Encoded],
    *,
    max_tokens: int,
    max_new_tokens: int,
    tokens_per_pass: int,
    rows: Sequence[Encoded] = (),
) -> TorchEngine:
    """Make an engine with the best layout that gives the model's own results on `samples`.

    Args:
        model: with a head (its logits are compared) or bare (its hidden states are).
        tokenizer: of the model.
        facts: of the base model.
        samples: a few encoded rows, the shorter the cheaper.
        max_tokens: longest sequence to use.
        max_new_tokens: longest answer to generate.
        tokens_per_pass: most tokens in one forward pass.
        rows: those to train on: what of their computation is frozen is done at once.
    """
    outer = outer_model(model)
    if outer.base_model is outer and not is_two_sided(model):
        layout = prove_layout(model, lambda way: way.hidden(model, samples))
    else:
        sequences = [sequence for row in rows for sequence in row.sequences]
        batches = token_batches([len(row.tokens) for row in sequences], tokens_per_pass, len(sequences))
        passes = ([sequences[i] for i in batch] for batch in batches)
        layout = prove_layout(model, lambda way: way.logits(model, samples))
        layout = keep_frozen_work(layout, model, samples, passes)
    return TorchEngine(model, tokenizer, facts, layout, max_tokens, max_new_tokens, tokens_per_pass)


def padding_is_harmless(model: nn.Module, prompts: Sequence[Encoded], pad: int) -> bool:
    """Say whether a model goes on from a prompt as it does without padding, tried on the shortest and the longest.

    With virtual tokens before them, padded prompts stand further from those than unpadded ones.
    """
    ordered = sorted(prompts, key=lambda prompt: len(prompt.tokens))
    pair = [ordered[0], ordered[-1]]
    config = GenerationConfig(
        max_new_tokens=2, min_new_tokens=2, do_sample=False, pad_token_id=pad, output_logits=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    together = torch.stack(_generate(model, pair, pad, config).logits, dim=1)
    alone = torch.cat([torch.stack(_generate(model, [one], pad, config).logits, dim=1) for one in pair])
    return bool((together - alone).abs().max() <= TOLERANCE * alone.abs().max())


def _generate(model: nn.Module, prompts: Sequence[Encoded], pad: int, config: GenerationConfig) -> Any:
    """Run a model's own `generate` on prompts."""
    if is_two_sided(model):
        inputs = padded_inputs(model, prompts)
        config.decoder_start_token_id = outer_model(model).config.decoder_start_token_id
    else:
        inputs = _padded_left(model, prompts, pad)
    wrapper = cast(Any, model)
    with warnings.catch_warnings():
        # PEFT counts the positions after its virtual tokens itself, and warns that nobody else does
        warnings.filterwarnings("ignore", "Position ids are not supported")
        return wrapper.generate(**inputs, generation_config=config)


def _padded_left(model: nn.Module, prompts: Sequence[Encoded], pad: int) -> dict[str, torch.Tensor]:
    """Pad prompts on the left, so that all go on at the same place: `[prompts, longest]`."""
    longest = max(len(prompt.tokens) for prompt in prompts)
    gaps = [longest - len(prompt.tokens) for prompt in prompts]
    ids = torch.tensor([[pad] * gap + list(p.tokens) for gap, p in zip(gaps, prompts, strict=True)])
    mask = torch.tensor([[0] * gap + [1] * len(p.tokens) for gap, p in zip(gaps, prompts, strict=True)])
    device = device_of(model)
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def classes_of(model: nn.Module) -> int:
    """Say how many logits the model's head gives for one read."""
    config = outer_model(model).config
    generates = outer_model(model).get_output_embeddings() is not None
    return int(config.get_text_config().vocab_size if generates else config.num_labels)


def token_batches(lengths: Sequence[int], tokens: int, items: int) -> Iterator[list[int]]:
    """Group indices by length, longest first, each group within `tokens` (padded) and `items`.

    The longest go first so that a lack of memory shows at once.

    >>> list(token_batches([3, 9, 4, 1], tokens=9, items=2))
    [[1], [2, 0], [3]]
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) == items or lengths[batch[0]] * (len(batch) + 1) > tokens):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
