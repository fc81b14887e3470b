"""One class of a text or several labels, read by a head at one token: an encoder's first, or a decoder's last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import torch
from scipy.special import expit, log_expit
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from kamerton.core.contracts import Advice, Engine, ModelHead, Tokenizer
from kamerton.core.figures import Figure
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Turn
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.reading import SequenceHead, embed_texts, window_means
from kamerton.forms.supervision import IGNORED, class_losses
from kamerton.forms.usual import likeliest
from kamerton.text.cells import draw_evenly
from kamerton.text.tags import read_list, write_tags

EVEN = 0.5
BOUNDS = (0.05, 0.95)
"""Of a fitted threshold: beyond, a few rows decide."""
NEIGHBORS = 3
"""Shown examples whose labels an untuned model takes, where more than half of them agree."""


@dataclass(frozen=True)
class Labels(SequenceHead):
    """A classification head on an encoder, read at the first token."""

    labels: tuple[str, ...]

    @property
    def config(self) -> dict[str, object]:
        """Number and names of the classes."""
        return named_classes(self.labels)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    def with_outputs(self, labels: Sequence[str]) -> Self:
        """Return the form of a head with these classes."""
        return replace(self, labels=tuple(labels))

    def target(self, example: Example) -> int:
        """Return the class's number."""
        return self._index.get(example.gold, IGNORED)

    def answer_of(self, item: Encoded) -> Wording:
        """Return the class."""
        return self.labels[item.targets[0]]

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Compute the cross-entropy of each item's class: `[items]`, nats."""
        return class_losses(window_means(logits, items), [item.targets[0] for item in items])

    def shots(self, examples: ExampleSeq, count: int, seed: int) -> list[Example]:
        """Draw `count` examples of each class: their mean stands for it."""
        return draw_evenly(examples, count * len(self.labels), seed)

    def predict(self, engine: Engine, examples: ExampleSeq) -> list[Prediction]:
        """Return the most probable class."""
        encoded = self.encode(examples, engine.tokenizer, engine.max_tokens)
        return [
            likeliest(example, self.labels, logits, cut=item.cut)
            for example, item, logits in zip(examples, encoded, self.read(engine, encoded), strict=True)
        ]

    def predict_untuned(self, engine: Engine, examples: ExampleSeq, shots: ExampleSeq) -> list[Prediction]:
        """Return the class whose name, or whose mean shown example, has the nearest embedding."""
        shown = {label: [shot for shot in shots if shot.gold == label] for label in self.labels}
        names = [
            self.embed(engine, known) if known else embed_texts(engine, [(label,)]) for label, known in shown.items()
        ]
        nearest = nearest_group(self.embed(engine, examples), names)
        return [Prediction(e.id, self.labels[i]) for e, i in zip(examples, nearest, strict=True)]


@dataclass(frozen=True)
class ClosingLabels(Labels):
    """A classification head on a decoder, which reads the bare text; the untuned model is prompted instead."""

    dialogue: Dialogue
    """How the untuned model is asked for a label."""
    untuned_class: ClassVar = "AutoModelForCausalLM"

    def read_at(self, piece: Encoded) -> int:
        """Return the last token, which transformers' heads on decoders read."""
        return len(piece.tokens) - 1

    def encode(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize the bare texts; an empty one is the end token, or padding where there is no end token."""
        items = super().encode(examples, tokenizer, max_tokens)
        end = (int(tokenizer.pad_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id),)
        return [item if item.tokens else replace(item, tokens=end, output_positions=(0,)) for item in items]

    def with_instruction(self, text: str) -> Self | None:
        """Return the form that puts an instruction before the untuned model's requests."""
        dialogue = self.dialogue.with_instruction(text)
        return None if dialogue is None else replace(self, dialogue=dialogue)

    def requests(self, example: Example, shots: ExampleSeq) -> Sequence[Sequence[Turn]]:
        """Return the request of the untuned model."""
        return self.dialogue.requests(example, shots)

    def parse(self, text: str) -> str:
        """Return the label that a reply names."""
        return self.dialogue.parse(text)

    def shots(self, examples: ExampleSeq, count: int, seed: int) -> list[Example]:
        """Draw examples to show as earlier turns."""
        return self.dialogue.shots(examples, count, seed)

    def predict_untuned(self, engine: Engine, examples: ExampleSeq, shots: ExampleSeq) -> list[Prediction]:
        """Choose the likeliest label after `shots` solved examples."""
        return self.dialogue.predict_untuned(engine, examples, shots)

    def predict_shown(self, engine: Engine, examples: ExampleSeq, shown: Sequence[ExampleSeq]) -> list[Prediction]:
        """Choose the likeliest label of each example after solved ones of its own."""
        return self.dialogue.predict_shown(engine, examples, shown)


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

    def with_outputs(self, labels: Sequence[str]) -> Self:
        """Return the form of a head with these labels."""
        return replace(self, labels=tuple(labels))

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
            loss, tokens = (float(losses[at]), 1) if self.supervised(item) else (None, None)
            text, each = self._written(given[at]), tuple(probabilities[at].tolist())
            score = float(np.exp(sure[at]))
            predictions.append(Prediction(example.id, text, score, loss, tokens, each=each, cut=item.cut))
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


def nearest_group(vectors: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Return the group, each `[members, hidden]`, with the nearest mean to each of the vectors: `[vectors]`."""
    centers = np.stack([members.mean(axis=0) for members in groups])
    centers /= np.linalg.norm(centers, axis=1, keepdims=True) + 1e-9
    nearest: np.ndarray = (vectors @ centers.T).argmax(axis=1)
    return nearest


def named_classes(names: Sequence[str]) -> dict[str, object]:
    """Return classes as transformers' configurations carry them."""
    id2label = dict(enumerate(names))
    return {"num_labels": len(names), "id2label": id2label, "label2id": {v: k for k, v in id2label.items()}}


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
    rule = "micro F1 on {rows} validation {rows:row|rows} is {best} there and {even} at {usual}"
    reason = msg(rule, rows=len(known), best=Figure(best), even=Figure(even), usual=str(EVEN))
    return {"threshold": Advice(bar, reason)}


def best_threshold(probabilities: np.ndarray, right: np.ndarray) -> tuple[float, float, float]:
    """Find the threshold of the best micro F1, in the middle between the probabilities beside it.

    Args:
        probabilities: `[rows, labels]`.
        right: the same, whether the label is right.

    Returns:
        The threshold, `EVEN` where none is better; the micro F1 that it gives, and that of `EVEN`.
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
    return (bar, best, even) if best > even else (EVEN, even, even)


def _micro_f1(given: np.ndarray, right: np.ndarray) -> float:
    return float(2 * (given & right).sum() / max(1, given.sum() + right.sum()))
