"""One class of a text, read by a classification head on a decoder: at the last token, which attends to all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from kamerton.core.contracts import Engine, Tokenizer
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Turn
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.labels import Labels
from kamerton.forms.texts import Piece


@dataclass(frozen=True)
class ClosingLabels(Labels):
    """A classification head on a decoder, which reads the bare text; the untuned model is prompted instead."""

    dialogue: Dialogue
    """How the untuned model is asked for a label."""
    untuned_class: ClassVar = "AutoModelForCausalLM"

    def read_at(self, piece: Piece) -> int:
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
