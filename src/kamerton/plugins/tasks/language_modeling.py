"""Language modeling: plain text."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Example, Place
from kamerton.forms.running_text import MaskedText, RunningText
from kamerton.runs.settings import Group
from kamerton.text.cells import filled, plain

WORDY = 4
"""Words of a text on average, below which a column holds names or labels."""


class LanguageModeling(Group):
    """Predict text of a kind or a language: every next token, or masked ones."""

    hidden: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15, description="Share of the tokens that are masked for an encoder."
    )

    roles: ClassVar = (
        Role(
            "text",
            ("text", "content", "document", "body", "article", "page", "raw_text", "текст", "документ", "статья"),
            msg("the text"),
        ),
    )
    kinds: ClassVar = ("decoder", "encoder")
    answers: ClassVar = "likelihood"

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept texts of several words."""
        texts = [cell for cell in columns["text"] if filled(cell)]
        if not texts or not all(isinstance(text, str) for text in texts):
            return ""
        length = sum(len(str(text).split()) for text in texts) / len(texts)
        return msg("plain text of {words} {words:word|words} a row", words=round(length)) if length >= WORDY else ""

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example whose answer is the text itself."""
        text = plain(values["text"])
        return Example(id, place, text, text, {"text": text})

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return causal language modeling for decoders, masked for encoders."""
        return MaskedText(share=self.hidden) if kind == "encoder" else RunningText()

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return bits per byte first: they do not depend on the tokenizer."""
        return ("bits-per-byte", "perplexity")

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few texts in two languages."""
        return [
            {"text": "She opened the window and listened to the rain."},
            {"text": "Our neighbour repairs clocks, radios and old bicycles."},
            {"text": "Она открыла окно и слушала дождь."},
            {"text": "Наш сосед чинит часы, радио и старые велосипеды."},
        ]
