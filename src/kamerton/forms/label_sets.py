"""Any number of labels of a text, each a decision of its own, read by a classification head at one token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit, log_expit
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from kamerton.core.contracts import Advice, Engine, ModelHead
from kamerton.core.figures import Figure
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction
from kamerton.forms.labels import named_classes
from kamerton.forms.reading import SequenceHead, embed_texts, window_means
from kamerton.forms.supervision import IGNORED
from kamerton.text.tags import read_list, write_tags

EVEN = 0.5
BOUNDS = (0.05, 0.95)
"""Of a fitted threshold: beyond, a few rows decide."""
NEIGHBORS = 3
"""Shown examples whose labels an untuned model takes, where more than half of them agree."""


class Threshold(NamedTuple):
    """A threshold, the micro F1 that it gives, and that of `EVEN`."""

    threshold: float
    score: float
    even: float


@dataclass(frozen=True)
class LabelSets(SequenceHead):
    """A head with an output for each label; a label is given where its probability is above a threshold.

    A row's target is a bit mask: bit i is set if label i is right.
    """

    labels: tuple[str, ...]
    threshold: float | None = None
    """The bar; 0.5, which every program takes that loads the saved model alone, until it is fitted."""

    @property
    def config(self) -> dict[str, object]:
        """Number and names of the labels, and the kind of problem."""
        return {**named_classes(self.labels), "problem_type": "multi_label_classification"}

    @cached_property
    def _index(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    def target(self, example: Example) -> int:
        """Return the labels' bit mask; it is unknown if one of them is."""
        labels = read_list(example.gold)
        if not all(label in self._index for label in labels):
            return IGNORED
        return sum(1 << self._index[label] for label in set(labels))

    def answer_of(self, item: Encoded) -> Wording:
        """Return the labels."""
        right = [label for label, bit in zip(self.labels, self.bits([item])[0], strict=True) if bit]
        return ", ".join(right) or msg("no label")

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Compute each item's binary cross-entropy, summed over the labels: `[items]`, nats; 0 if they are unknown."""
        means = window_means(logits, items)
        wanted = torch.from_numpy(self.bits(items)).to(means)
        known = torch.tensor([float(self.supervised(item)) for item in items], device=logits.device)
        return known * binary_cross_entropy_with_logits(means, wanted, reduction="none").sum(dim=1)

    def bits(self, items: Sequence[Encoded]) -> np.ndarray:
        """Unpack the masks: `[items, labels]`, 1 where a label is right; all 0 where the labels are not known."""
        masks = [max(item.targets[0], 0) for item in items]
        return np.array([[mask >> i & 1 for i in range(len(self.labels))] for mask in masks], dtype=np.float64)

    def shots(self, examples: ExampleSeq, count: int, seed: int) -> list[Example]:
        """Draw `count` examples of each label, at most."""
        order = [examples[i] for i in np.random.default_rng(seed).permutation(len(examples))]
        drawn: dict[int, Example] = {}
        for label in self.labels:
            having = [example for example in order if label in read_list(example.gold)]
            drawn.update((example.id, example) for example in having[:count])
        return list(drawn.values())

    def predict(self, engine: Engine, examples: ExampleSeq) -> list[Prediction]:
        """Return the labels whose probability is above the threshold."""
        encoded = self.encode(examples, engine.tokenizer, engine.max_tokens)
        if not encoded:
            return []
        logits = self.read(engine, encoded).astype(np.float64)
        bar = self.threshold if self.threshold is not None else EVEN
        probabilities = expit(logits)
        given = probabilities > bar
        sure = np.where(given, log_expit(logits), log_expit(-logits)).sum(axis=1)
        losses = np.logaddexp(0, np.where(self.bits(encoded) > 0, -logits, logits)).sum(axis=1)
        predictions = []
        for at, (example, item) in enumerate(zip(examples, encoded, strict=True)):
            measured = (float(losses[at]), 1) if self.supervised(item) else (None, None)
            text, each = self._written(given[at]), tuple(probabilities[at].tolist())
            predictions.append(
                Prediction(example.id, text, float(np.exp(sure[at])), *measured, each=each, cut=item.cut)
            )
        return predictions

    def predict_untuned(self, engine: Engine, examples: ExampleSeq, shots: ExampleSeq) -> list[Prediction]:
        """Return the labels of most of the nearest shown examples; without any, the label whose name is nearest."""
        texts = self.embed(engine, examples)
        if not shots:
            names = embed_texts(engine, [(label,) for label in self.labels])
            nearest = (texts @ names.T).argmax(axis=1)
            return [Prediction(e.id, write_tags([self.labels[i]])) for e, i in zip(examples, nearest, strict=True)]
        near = np.argsort(-(texts @ self.embed(engine, shots).T), axis=1, kind="stable")[:, :NEIGHBORS]
        owned = np.array([[label in read_list(shot.gold) for label in self.labels] for shot in shots])
        given = owned[near].mean(axis=1) > 0.5
        return [Prediction(e.id, self._written(row)) for e, row in zip(examples, given, strict=True)]

    def _written(self, given: np.ndarray) -> str:
        return write_tags([label for label, chosen in zip(self.labels, given, strict=True) if chosen])


def fit_threshold(form: ModelHead, engine: Engine, examples: ExampleSeq) -> Mapping[str, Advice]:
    """Return the setting that gives a multi-label form the best F1 on validation rows (Lipton et al. 2014).

    Nothing for other forms, and for one that has a threshold.
    """
    if not isinstance(form, LabelSets) or form.threshold is not None:
        return {}
    encoded = form.encode(examples, engine.tokenizer, engine.max_tokens)
    known = [item for item in encoded if form.supervised(item)]
    if not known:
        return {}
    bar, best, even = best_threshold(expit(form.read(engine, known).astype(np.float64)), form.bits(known) > 0)
    reason = msg(
        "micro F1 on {rows} validation {rows:row|rows} is {best} there and {even} at {usual}",
        rows=len(known),
        best=Figure(best),
        even=Figure(even),
        usual=str(EVEN),
    )
    return {"threshold": Advice(bar, reason)}


def best_threshold(probabilities: np.ndarray, right: np.ndarray) -> Threshold:
    """Find the threshold of the best micro F1, in the middle between the probabilities beside it.

    Args:
        probabilities: `[rows, labels]`.
        right: the same, whether the label is right.

    Returns:
        `EVEN` where none is better.
    """
    order = np.argsort(-probabilities, axis=None, kind="stable")
    sorted_, hits = probabilities.ravel()[order], right.ravel()[order].cumsum()
    scores = 2 * hits / np.maximum(1, np.arange(1, len(order) + 1) + right.sum())
    ends = np.append(sorted_[1:] < sorted_[:-1], True)  # equal probabilities stand on one side
    at = int(np.where(ends, scores, -1.0).argmax())
    even = _micro_f1(probabilities > EVEN, right)
    middle = (sorted_[at] + (sorted_[at + 1] if at + 1 < len(sorted_) else 0.0)) / 2
    bar = round(float(np.clip(middle, *BOUNDS)), 4)
    best = _micro_f1(probabilities > bar, right)
    return Threshold(bar, best, even) if best > even else Threshold(EVEN, even, even)


def _micro_f1(given: np.ndarray, right: np.ndarray) -> float:
    return float(2 * (given & right).sum() / max(1, given.sum() + right.sum()))
