"""One class of a text, read by a classification head at one token: an encoder's first, or a decoder's last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from torch import Tensor

from kamerton.core.contracts import Engine, Tokenizer
from kamerton.core.messages import Wording
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Turn
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.reading import SequenceHead, embed_texts, window_means
from kamerton.forms.supervision import IGNORED, class_losses
from kamerton.forms.usual import likeliest
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

    def to_messages(self, example: Example, shots: ExampleSeq) -> Sequence[Turn]:
        """Return the request of the untuned model."""
        return self.dialogue.to_messages(example, shots)

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
