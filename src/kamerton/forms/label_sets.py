"""Any number of labels of a text, each a decision of its own, read by a classification head at one token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from kamerton.contracts import Engine
from kamerton.forms.labels import named_classes
from kamerton.forms.reading import Reading, embed_texts, window_means
from kamerton.forms.supervision import IGNORED
from kamerton.records import Encoded, Example, Prediction, Taught
from kamerton.tags import read_list, write_tags

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase as Tokenizer

NEIGHBOURS = 3
"""Shown examples whose labels an untuned model takes, where more than half of them agree."""


@dataclass(frozen=True)
class LabelSets(Reading):
    """A head with an output a label, read at the first token; a label is given where its probability is above 0.5.

    A row's target is a bit mask: bit i is set if label i is right. 0.5 is what every program takes that loads the
    saved model.
    """

    labels: tuple[str, ...]

    @property
    def config(self) -> dict[str, object]:
        """Number and names of the labels, and the kind of problem, as transformers' configurations carry them."""
        return {**named_classes(self.labels), "problem_type": "multi_label_classification"}

    @cached_property
    def _index(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    def target(self, example: Example) -> int:
        """Give the labels' bit mask; it is not known if one of them is not."""
        labels = read_list(example.gold)
        if not all(label in self._index for label in labels):
            return IGNORED
        return sum(1 << self._index[label] for label in set(labels))

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Mark the token that the labels are read at."""
        if not self.supervised(item):
            return Taught((), ())
        right = [label for label, bit in zip(self.labels, self._bits([item])[0], strict=True) if bit]
        return Taught(item.reads, (", ".join(right) or "no label",))

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Give each item's binary cross-entropy, summed over the labels: `[items]`, nats; 0 if they are not known."""
        means = window_means(logits, items)
        wanted = torch.from_numpy(self._bits(items)).to(means)
        known = torch.tensor([float(self.supervised(item)) for item in items], device=logits.device)
        return known * binary_cross_entropy_with_logits(means, wanted, reduction="none").sum(dim=1)

    def _bits(self, items: Sequence[Encoded]) -> np.ndarray:
        """Spread the masks out: `[items, labels]`, 1 where a label is right; of what is not known, all 0."""
        masks = [max(item.targets[0], 0) for item in items]
        return np.array([[mask >> i & 1 for i in range(len(self.labels))] for mask in masks], dtype=np.float64)

    def shots(self, examples: Sequence[Example], count: int, seed: int) -> list[Example]:
        """Draw `count` examples of each label, at most."""
        order = [examples[i] for i in np.random.default_rng(seed).permutation(len(examples))]
        drawn: dict[int, Example] = {}
        for label in self.labels:
            having = [example for example in order if label in read_list(example.gold)]
            drawn.update((example.id, example) for example in having[:count])
        return list(drawn.values())

    def predict(self, engine: Engine, examples: Sequence[Example]) -> list[Prediction]:
        """Give the labels that are more probable than not."""
        encoded = self.encode(examples, engine.tokenizer, engine.max_tokens)
        if not encoded:
            return []
        logits = self.read(engine, encoded).astype(np.float64)
        given = logits > 0
        sure = -np.logaddexp(0, -np.abs(logits)).sum(axis=1)
        losses = np.logaddexp(0, np.where(self._bits(encoded) > 0, -logits, logits)).sum(axis=1)
        return [
            Prediction(
                example.id,
                self._written(row),
                float(np.exp(score)),
                float(loss) if self.supervised(item) else None,
                1 if self.supervised(item) else None,
            )
            for example, item, row, score, loss in zip(examples, encoded, given, sure, losses, strict=True)
        ]

    def predict_untuned(
        self, engine: Engine, examples: Sequence[Example], shots: Sequence[Example]
    ) -> list[Prediction]:
        """Give what most of the nearest shown examples have; without any, the label whose name is nearest."""
        texts = self.embed(engine, examples)
        if not shots:
            names = embed_texts(engine, [(label,) for label in self.labels])
            nearest = (texts @ names.T).argmax(axis=1)
            return [Prediction(e.id, write_tags([self.labels[i]])) for e, i in zip(examples, nearest, strict=True)]
        near = np.argsort(-(texts @ self.embed(engine, shots).T), axis=1, kind="stable")[:, :NEIGHBOURS]
        owned = np.array([[label in read_list(shot.gold) for label in self.labels] for shot in shots])
        given = owned[near].mean(axis=1) > 0.5
        return [Prediction(e.id, self._written(row)) for e, row in zip(examples, given, strict=True)]

    def _written(self, given: np.ndarray) -> str:
        return write_tags([label for label, there in zip(self.labels, given, strict=True) if there])
