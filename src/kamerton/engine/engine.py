"""A model ready to be asked: everything outside training goes through these four verbs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from kamerton.core.contracts import ModelFacts
from kamerton.core.records import Encoded
from kamerton.engine.decode import Decoding, answer_all, can_write, greedily, sampling
from kamerton.engine.frozen import keep_frozen_work
from kamerton.engine.hf_generate import continue_all
from kamerton.engine.layout import EncoderDecoder, Layout, prove_layout
from kamerton.engine.passes import token_batches
from kamerton.engine.prefill import Budget, token_bytes
from kamerton.engine.prefix_sharing import Pass, Shared, begin_alike, prove_shared
from kamerton.engine.prefix_tree import Joined, join_rows
from kamerton.engine.prompt_tokens import Behind, prove_virtual
from kamerton.engine.sources import EncodedOnce, encodes_once
from kamerton.forms.supervision import target_losses
from kamerton.kernels.product import use_fast_products
from kamerton.models.structure import is_encoder_decoder, outer_model

LOGITS_PER_PASS = 32_000_000
"""Most logits in one forward pass: 128 MB in fp32, and three times that in training."""

KEPT_BYTES = 1 << 30
"""Most memory for the keys and values of prompts and their answers: more side by side take less time each."""
ENDING = 24
"""Last tokens of each sample that rows which begin alike are made of: their proof makes many of a few."""


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
    shared: Shared | None = None
    """For reading what begins alike, if it is proven for the model."""
    temperature: float = 0.0
    """0 writes the most probable token; above, tokens are drawn."""
    seed: int = 0
    behind: Behind | None = None
    """For writing behind virtual tokens, if the model has any and it is proven for it."""
    adapter: str = ""
    """Which of several adapters over one base answers; the only one if empty."""

    def _ready(self) -> None:
        """Put the model in order for answering, whoever used it before."""
        self.model.eval()
        model = cast(Any, self.model)
        if self.adapter and model.active_adapter != self.adapter:
            model.set_adapter(self.adapter)

    @torch.no_grad()
    def read(self, items: Sequence[Encoded]) -> list[np.ndarray]:
        """Return the logits at each item's reads: arrays `[outputs, classes]`, float32."""
        results: list[np.ndarray] = [np.empty(0)] * len(items)
        for batch in self._passes(items):
            logits = batch.logits.float().cpu().split([len(items[i].output_positions) for i in batch.indices])
            for i, part in zip(batch.indices, logits, strict=True):
                results[i] = part.numpy()
        return results

    @torch.no_grad()
    def losses(self, items: Sequence[Encoded]) -> np.ndarray:
        """Return each item's negative log-likelihood of its targets, summed over its reads: `[items]`, nats."""
        results = np.zeros(len(items))
        for batch in self._passes(items):
            chosen = [items[i] for i in batch.indices]
            results[batch.indices] = target_losses(batch.logits.float(), chosen).cpu().numpy()
        return results

    @torch.no_grad()
    def generate(self, prompts: Sequence[Encoded]) -> list[str]:
        """Continue each prompt until the end token or `max_new_tokens`; return the new text as it is.

        Greedily, or drawn where `temperature` is above 0.
        """
        return self.answer((), prompts)[1]

    @torch.no_grad()
    def answer(self, items: Sequence[Encoded], prompts: Sequence[Encoded]) -> tuple[np.ndarray, list[str]]:
        """Return the losses of `items` and the continuations of `prompts`; what both begin with is read once."""
        self._ready()
        if self.behind:
            losses, written = self.behind.answer_all(self.model, items, prompts, self._decoding, self._budget)
        elif self.shared and self._writes:
            losses, written = answer_all(self.model, self.shared, items, prompts, self._decoding, self._budget)
        elif self._encoded_once:
            with self._drawing():
                losses, written = self._encoded_once.answer_all(items, prompts)
        else:
            losses, written = self.losses(items).tolist(), self._continued(prompts)
        return np.array(losses), [self.tokenizer.decode(row, skip_special_tokens=True) for row in written]

    def _continued(self, prompts: Sequence[Encoded]) -> list[list[int]]:
        """Continue prompts by the model's own `generate`."""
        with self._drawing():
            return continue_all(self.model, self.tokenizer, prompts, self._generation, self.tokens_per_pass // 2)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """While active, torch draws by the engine's seed."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            yield

    @cached_property
    def _encoded_once(self) -> EncodedOnce | None:
        """Encode each source once, if the model is an encoder-decoder and its outputs stay the same; tested once."""
        pad, reads = int(self.tokenizer.pad_token_id), LOGITS_PER_PASS // classes_of(self.model)
        if not isinstance(self.layout, EncoderDecoder) or not encodes_once(self.model, self.layout, pad):
            return None
        return EncodedOnce(self.model, self.layout, pad, self._generation, self.tokens_per_pass // 2, reads)

    @property
    def _decoding(self) -> Decoding:
        """Return how answers are written."""
        ends = () if self.tokenizer.eos_token_id is None else (int(self.tokenizer.eos_token_id),)
        choose = sampling(self.temperature, self.seed) if self.temperature else greedily
        return Decoding(self.max_new_tokens, ends, choose)

    @cached_property
    def _budget(self) -> Budget:
        """Return how much may be in memory at once."""
        model, shared = (outer_model(self.model), self.behind.shared) if self.behind else (self.model, self.shared)
        each = token_bytes(model, cast(Shared, shared))
        return Budget(self.tokens_per_pass, LOGITS_PER_PASS // classes_of(self.model), KEPT_BYTES // each)

    @cached_property
    def _writes(self) -> bool:
        """Whether answers can be written token by token here; tried once, since what was tuned changes no layout."""
        return self.shared is not None and can_write(self.model, self.shared)

    @property
    def _generation(self) -> GenerationConfig:
        """Say the same to the model's own `generate`."""
        drawn = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        return GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
            use_cache=True,
            **drawn,
        )

    @torch.no_grad()
    def embed(self, items: Sequence[Encoded]) -> np.ndarray:
        """Return the mean of the last hidden states of each item, unit length: `[items, hidden]`."""
        whole = [replace(item, output_positions=tuple(range(len(item.tokens)))) for item in items]
        results = np.zeros((len(items), self.facts.hidden), dtype=np.float32)
        for batch in self._batches([replace(item, output_positions=(0,)) for item in items]):
            chosen = [whole[i] for i in batch]
            hidden = self.layout.hidden(self.model, chosen).float().cpu()
            for i, part in zip(batch, hidden.split([len(item.tokens) for item in chosen]), strict=True):
                results[i] = part.mean(dim=0).numpy()
        return results / (np.linalg.norm(results, axis=1, keepdims=True) + 1e-12)

    def _passes(self, items: Sequence[Encoded]) -> Iterator[Pass]:
        """Run items through the model, as many at once as the budgets of tokens and of logits allow."""
        self._ready()
        known = [i for i, item in enumerate(items) if item.output_positions]
        chosen = [items[i] for i in known]
        if self.shared and self.layout in (self.shared.flat, Joined(self.shared.flat)) and begin_alike(chosen):
            parts = self.shared.passes(
                self.model, chosen, self.tokens_per_pass, LOGITS_PER_PASS // classes_of(self.model)
            )
        else:
            parts = (Pass(batch, self._logits([chosen[i] for i in batch])) for batch in self._batches(chosen))
        yield from (Pass([known[i] for i in part.indices], part.logits) for part in parts)

    def _logits(self, items: Sequence[Encoded]) -> torch.Tensor:
        return self.layout.logits(self.model, items)

    def _batches(self, items: Sequence[Encoded]) -> Iterator[list[int]]:
        """Group items of like length, as many as the budgets of tokens and of logits allow."""
        self._ready()
        reads = max((len(item.output_positions) for item in items), default=1)
        at_once = max(1, LOGITS_PER_PASS // (classes_of(self.model) * max(1, reads)))
        return token_batches([len(item.tokens) for item in items], self.tokens_per_pass, at_once)


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
    cache: Path | None = None,
    temperature: float = 0.0,
    seed: int = 0,
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
        cache: a folder in which that is left, and found again.
        temperature: of drawn answers; 0 writes the most probable ones.
        seed: of drawn answers.
    """
    use_fast_products(model)
    outer = outer_model(model)
    shared = behind = None
    if outer.base_model is outer and not is_encoder_decoder(model):
        layout = prove_layout(model, lambda way: way.hidden(model, samples))
    else:
        sequences = [sequence for row in rows for sequence in row.sequences]
        batches = token_batches([len(row.tokens) for row in sequences], tokens_per_pass, len(sequences))
        passes = [[sequences[i] for i in batch] for batch in batches]
        layout = prove_layout(model, lambda way: way.logits(model, samples))
        endings = [replace(item, tokens=item.tokens[-ENDING:]) for item in samples]
        layout, behind = prove_virtual(model, layout, samples, endings, rows)
        shared = prove_shared(model, layout, endings)
        layout = join_rows(layout, model, endings, rows)
        layout = keep_frozen_work(layout, model, samples, passes, cache)
    return TorchEngine(
        model, tokenizer, facts, layout, max_tokens, max_new_tokens, tokens_per_pass, shared, temperature, seed, behind
    )


def classes_of(model: nn.Module) -> int:
    """Say how many logits the model's head gives for one read."""
    config = outer_model(model).config
    generates = outer_model(model).get_output_embeddings() is not None
    return int(config.get_text_config().vocab_size if generates else config.num_labels)
