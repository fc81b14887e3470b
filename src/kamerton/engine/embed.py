"""Frozen embeddings of examples, each computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from kamerton.core.contracts import ModelFacts
from kamerton.core.records import Encoded, Example
from kamerton.engine.engine import TorchEngine, make_engine
from kamerton.models.load import load_model, load_tokenizer
from kamerton.models.precision import choose_precision

LONGEST = 128
"""Tokens of a text that are embedded: enough to know its topic."""
TOKENS_PER_PASS = 8192


class Embedder:
    """Embeds examples' texts with an untuned base model, which is loaded at the first call.

    Args:
        facts: of the model.
        precision: of its matrix products; the fast one on this machine if not given.
    """

    def __init__(self, facts: ModelFacts, precision: str | None = None) -> None:
        self.facts = facts
        self.precision = precision
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, examples: Sequence[Example]) -> np.ndarray:
        """Return the mean of the last hidden states of each text, unit length: `[examples, hidden]` float32."""
        new = {example.key: example.text for example in examples if example.key not in self._known}
        if new:
            vectors = self._engine.embed([self._encode(text) for text in new.values()])
            self._known.update(zip(new, vectors, strict=True))
        return np.stack([self._known[example.key] for example in examples])

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's own."""
        return load_tokenizer(self.facts)

    @cached_property
    def _engine(self) -> TorchEngine:
        model = load_model(self.facts.folder, "AutoModel", {}, seed=0).model
        rows = [self._encode(text) for text in ("one", "one and two, and then three more")]
        samples = [replace(row, output_positions=tuple(range(len(row.tokens)))) for row in rows]
        engine = make_engine(
            model,
            self.tokenizer,
            self.facts,
            samples,
            max_tokens=self._longest,
            max_new_tokens=1,
            tokens_per_pass=TOKENS_PER_PASS,
        )
        if (self.precision or choose_precision().value) == "bf16":
            model.to(torch.bfloat16)  # once the layout is proven: topics do not depend on the last digits
        return engine

    @property
    def _longest(self) -> int:
        return min(LONGEST, self.facts.context)

    def _encode(self, text: str) -> Encoded:
        tokens = self.tokenizer(text, truncation=True, max_length=self._longest)["input_ids"]
        return Encoded(tuple(tokens), (), ())
