"""One class of a text, read by a classification head at one token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor

from kamerton.core.contracts import Engine, Tokenizer
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Taught
from kamerton.forms.reading import SequenceHead, embed_texts, window_means
from kamerton.forms.supervision import IGNORED, class_losses
from kamerton.text.cells import draw_evenly


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

    def target(self, example: Example) -> int:
        """Return the class's number."""
        return self._index.get(example.gold, IGNORED)

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Return the output position and the class."""
        known = [
            (read, target) for read, target in zip(item.output_positions, item.targets, strict=True) if target >= 0
        ]
        return Taught(tuple(read for read, _ in known), tuple(self.labels[target] for _, target in known))

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Compute the cross-entropy of each item's class: `[items]`, nats."""
        return class_losses(window_means(logits, items), [item.targets[0] for item in items])

    def shots(self, examples: ExampleSeq, count: int, seed: int) -> list[Example]:
        """Draw `count` examples of each class: their mean stands for it."""
        return draw_evenly(examples, count * len(self.labels), seed)

    def predict(self, engine: Engine, examples: ExampleSeq) -> list[Prediction]:
        """Return the most probable class."""
        encoded = self.encode(examples, engine.tokenizer, engine.max_tokens)
        predictions = []
        for example, item, logits in zip(examples, encoded, self.read(engine, encoded), strict=True):
            log_probabilities = logits - np.logaddexp.reduce(logits)
            best, target = int(log_probabilities.argmax()), item.targets[0]
            loss = None if target == IGNORED else -float(log_probabilities[target])
            score = float(np.exp(log_probabilities[best]))
            tokens, probabilities = None if loss is None else 1, tuple(np.exp(log_probabilities).tolist())
            chosen = Prediction(example.id, self.labels[best], score, loss, tokens, probabilities=probabilities)
            predictions.append(replace(chosen, cut=item.cut))
        return predictions

    def predict_untuned(self, engine: Engine, examples: ExampleSeq, shots: ExampleSeq) -> list[Prediction]:
        """Return the class whose name, or whose mean shown example, has the nearest embedding."""
        shown = {label: [shot for shot in shots if shot.gold == label] for label in self.labels}
        centers = np.stack(
            [
                self.embed(engine, known).mean(axis=0) if known else embed_texts(engine, [(label,)])[0]
                for label, known in shown.items()
            ]
        )
        centers /= np.linalg.norm(centers, axis=1, keepdims=True) + 1e-9
        nearest = (self.embed(engine, examples) @ centers.T).argmax(axis=1)
        return [Prediction(e.id, self.labels[i]) for e, i in zip(examples, nearest, strict=True)]


def named_classes(names: Sequence[str]) -> dict[str, object]:
    """Return classes as transformers' configurations carry them."""
    id2label = dict(enumerate(names))
    return {"num_labels": len(names), "id2label": id2label, "label2id": {v: k for k, v in id2label.items()}}
