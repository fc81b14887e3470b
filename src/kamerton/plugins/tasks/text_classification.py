"""Text classification: a text or two, and one of a few labels."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import ClassVar, Literal

from pydantic import Field

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Example, Place
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.labels import ClosingLabels, Labels
from kamerton.plugins.tasks._label_lists import by_position, holds_several
from kamerton.plugins.tasks._shared import FIRST_TEXT, RATINGS, SECOND_TEXT, UNSURE_TEXT, text_example, tried
from kamerton.runs.settings import Group
from kamerton.text.cells import filled, plain
from kamerton.text.label_values import find_placeholders, is_placeholder, whole_number
from kamerton.text.printed import opened

LONGEST_LABEL = 60
FRACTION, WHOLE = re.compile(r"[+-]?\d*[.,](?:(?![1-9])\d)*+[1-9]\d*"), re.compile(r"[+-]?\d+([.,]0*)?")
FEW_VALUES = 5
"""So many different numbers with decimals may be the names of versions."""
UNEVEN = 3
"""From this ratio of the largest class to the smallest on, accuracy flatters and macro F1 decides."""


class TextClassification(Group):
    """Choose one of a few labels for a text."""

    decoder: Literal["answers", "classifier"] = Field(
        "answers",
        description="How a decoder classifies: each label is scored as its answer, or a new classification head reads "
        "the text's last token, which costs one pass over the bare text whatever the labels.",
    )

    roles: ClassVar = (
        Role("text", FIRST_TEXT, msg("the text to classify, or the first of two"), weak=UNSURE_TEXT),
        Role("second", SECOND_TEXT, msg("the second text, where pairs are classified"), required=False),
        Role(
            "label",
            ("label", "labels", "class", "category", "target", "sentiment", "topic", "intent", "section", "sense",
             "emotion", "gold_label", "relation", "entailment", "is_duplicate", "duplicate", "answerable", "spam",
             "class_index", "метка", "класс", "категория", "тема", "тональность", "рубрика", "темы", "эмоция"),
            msg("its label"),
            weak=(*RATINGS, "answer", "annotation", "result", "toxic", "is_toxic", "hate", "is_spam", "v1",
                  "ticket_type", "ответ", "токсичный", "тип обращения", "тип жалобы"),
        ),
    )  # fmt: skip
    kinds: ClassVar = ("encoder", "decoder")
    answers: ClassVar = "class"

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept labels that are short, repeat themselves, and are not measurements."""
        labels = tried(lambda: [_alone(value) for value in columns["label"] if filled(value)])
        if not labels or any(isinstance(value, float) and not value.is_integer() for value in labels):
            return ""
        if _are_measured({plain(value).strip() for value in labels}):
            return ""
        if holds_several(labels) or any(isinstance(value, Mapping) for value in (*labels, *columns["text"])):
            return ""
        if by_position(labels):
            return ""  # of several labels, by position
        distinct = {whole_number(plain(value).strip()) for value in labels}
        distinct -= find_placeholders(distinct).none
        if not distinct or len(distinct) > max(2, len(labels) // 2) or max(map(len, distinct)) > LONGEST_LABEL:
            return ""
        return msg("{labels} different {labels:label|labels}", labels=len(distinct))

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example; empty values stay empty for the audit to find."""
        return text_example(id, place, values, "label", plain(_alone(values["label"])).strip())

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return a classification head for encoders; decoders score each label as the answer, or as set."""
        labels = tuple(sorted({example.gold for example in examples}))
        if kind == "encoder":
            return Labels(labels)
        question = f"Which of these labels fits the text above: {', '.join(labels)}?"
        dialogue = Dialogue(ask=lambda example: f"{example.text}\n\n{question}", choices=labels)
        return ClosingLabels(labels, dialogue) if self.decoder == "classifier" else dialogue

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return macro F1 first when classes are uneven, accuracy otherwise."""
        counts = Counter(example.gold for example in examples).values()
        names = ("accuracy", "macro-f1", "weighted-f1", "mcc")
        return ("macro-f1", "accuracy", *names[2:]) if max(counts) > UNEVEN * min(counts) else names

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few reviews in two languages."""
        return [
            {"text": "A warm and funny film.", "label": "good"},
            {"text": "I want those two hours back.", "label": "bad"},
            {"text": "Тёплый и смешной фильм.", "label": "good"},
            {"text": "Верните мне эти два часа.", "label": "bad"},
            {"text": "Was it good?", "second": "I laughed all evening.", "label": "good"},
        ]


def _alone(value: object) -> object:
    """Return the one item of a list of one, also of a printed one; anything else as it is."""
    value = opened(value, sure=True)
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _are_measured(words: Set[str]) -> bool:
    """Return whether the values that a text file holds are measurements: shares, or many numbers with decimals."""
    numbers = {word for word in words if not is_placeholder(word)}
    fractions = {word for word in numbers if FRACTION.fullmatch(word)}
    if not fractions or not all(map(WHOLE.fullmatch, numbers - fractions)):
        return False
    shares = all(0 <= float(word.replace(",", ".")) <= 1 for word in numbers)
    return shares or len(numbers) > FEW_VALUES
