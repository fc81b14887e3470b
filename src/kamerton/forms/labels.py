"""One class of a text, read by a classification head at one token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from kamerton.contracts import Engine
from kamerton.forms.supervision import IGNORED, supervised, target_losses
from kamerton.forms.values import draw_evenly
from kamerton.records import Encoded, Example, Prediction, Taught

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase as Tokenizer


@dataclass(frozen=True)
class Labels:
    """A classification head on an encoder, read at the first token."""

    labels: tuple[str, ...]
    model_class: ClassVar = "AutoModelForSequenceClassification"
    untuned_class: ClassVar = "AutoModel"

    @property
    def config(self) -> dict[str, object]:
        """Number and names of the classes, as transformers' configurations carry them."""
        id2label = dict(enumerate(self.labels))
        return {
            "num_labels": len(self.labels),
            "id2label": id2label,
            "label2id": {v: k for k, v in id2label.items()},
        }

    def watched(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Answer every validation row: it costs no more than its loss."""
        return examples

    def answer_tokens(self, tokenizer: Tokenizer) -> int:
        """Generate nothing."""
        return 0

    def encode(self, examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize the texts, cut from the right, and read the first token."""
        index = {label: i for i, label in enumerate(self.labels)}
        tokens, cut = _tokenize([example.text for example in examples], tokenizer, max_tokens)
        return [
            Encoded(tuple(ids), (0,), (index.get(example.gold, IGNORED),), lost)
            for example, ids, lost in zip(examples, tokens, cut, strict=True)
        ]

    def prompts(self, examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Send what is trained on: the class is no part of the tokens."""
        return self.encode(examples, tokenizer, max_tokens)

    def flaw(self, item: Encoded, prompt: Encoded, tokenizer: Tokenizer) -> str:
        """Find none: the class is no part of the tokens."""
        return ""

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Mark the token that the class is read at."""
        known = [(read, target) for read, target in zip(item.reads, item.targets, strict=True) if target >= 0]
        return Taught(tuple(read for read, _ in known), tuple(self.labels[target] for _, target in known))

    def supervised(self, item: Encoded) -> int:
        """Count the class, if it is known."""
        return supervised(item)

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Give the cross-entropy of each item's class: `[items]`, nats."""
        return target_losses(logits, items)

    def grounded(self, engine: Engine, items: Sequence[Encoded]) -> list[Encoded]:
        """Need nothing of the untuned model."""
        return list(items)

    def shots(self, examples: Sequence[Example], count: int, seed: int) -> list[Example]:
        """Draw `count` examples of each class: their mean stands for it."""
        return draw_evenly(examples, count * len(self.labels), seed)

    def predict(self, engine: Engine, examples: Sequence[Example]) -> list[Prediction]:
        """Take the most probable class."""
        encoded = self.encode(examples, engine.tokenizer, engine.max_tokens)
        predictions = []
        for example, item, logits in zip(examples, encoded, engine.read(encoded), strict=True):
            log_probabilities = logits[0] - np.logaddexp.reduce(logits[0])
            best, target = int(log_probabilities.argmax()), item.targets[0]
            loss = None if target == IGNORED else -float(log_probabilities[target])
            score = float(np.exp(log_probabilities[best]))
            predictions.append(Prediction(example.id, self.labels[best], score, loss, 1 if loss is not None else None))
        return predictions

    def predict_untuned(
        self, engine: Engine, examples: Sequence[Example], shots: Sequence[Example]
    ) -> list[Prediction]:
        """Take the class whose name, or whose mean shown example, is nearest in the embedding."""
        known = {label: [shot.text for shot in shots if shot.gold == label] or [label] for label in self.labels}
        centres = np.stack([self._embed(engine, texts).mean(axis=0) for texts in known.values()])
        centres /= np.linalg.norm(centres, axis=1, keepdims=True) + 1e-9
        nearest = (self._embed(engine, [example.text for example in examples]) @ centres.T).argmax(axis=1)
        return [Prediction(e.id, self.labels[i]) for e, i in zip(examples, nearest, strict=True)]

    def _embed(self, engine: Engine, texts: Sequence[str]) -> np.ndarray:
        tokens, _ = _tokenize(texts, engine.tokenizer, engine.max_tokens)
        return engine.embed([Encoded(tuple(ids), (), ()) for ids in tokens])


def _tokenize(texts: Sequence[str], tokenizer: Tokenizer, max_tokens: int) -> tuple[list[list[int]], list[int]]:
    """Tokenize with the special tokens, and say how many tokens each text lost to `max_tokens`."""
    full = tokenizer(list(texts), add_special_tokens=True, truncation=False, verbose=False)["input_ids"]
    long = [i for i, ids in enumerate(full) if len(ids) > max_tokens]
    cut = [max(0, len(ids) - max_tokens) for ids in full]
    for i in long:
        full[i] = tokenizer(texts[i], add_special_tokens=True, truncation=True, max_length=max_tokens)["input_ids"]
    return full, cut
