"""Multi-label classification: a text or two, and any number of labels, none included."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.errors import Unusable
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.records import Example, Place
from kamerton.forms.labels import LabelSets
from kamerton.plugins.tasks._label_lists import as_list, by_position, holds_several, labels_in, positions, recombined
from kamerton.plugins.tasks._shared import FIRST_TEXT, SECOND_TEXT, UNSURE_TEXT, text_example, tried
from kamerton.runs.settings import Group, Names
from kamerton.text.cells import filled, plain
from kamerton.text.printed import opened_text
from kamerton.text.tags import read_list, write_tags

LONGEST_LABEL = 60
LISTED = 8
"""Labels named in a message."""


class MultiLabel(Group):
    """Choose all labels that fit a text: topics, genres, emotions."""

    separator: str = Field(
        "", description="The separator of labels in one cell; if empty, `;` or `|`, else a comma. Lists need none."
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="The probability above which a label is given; fitted on validation rows if open."
    )

    positions: Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="How many labels a list of 0 and 1 is about, each by its position; found from the lists. If open, "
        "lists hold the labels themselves.",
    )
    names: Names | None = Field(
        None, description="Names of the labels by position, in order; LABEL_0, LABEL_1 and so on if open."
    )

    roles: ClassVar = (
        Role("text", FIRST_TEXT, msg("the text to classify, or the first of two"), weak=UNSURE_TEXT),
        Role("second", SECOND_TEXT, msg("the second text, where pairs are classified"), required=False),
        Role(
            "labels",
            ("labels", "label", "classes", "categories", "category", "topics", "topic", "genres", "genre", "emotions",
             "emotion", "themes", "intents", "target", "targets", "метки", "классы", "категории", "темы", "жанры",
             "эмоции", "рубрики"),
            msg("its labels: a list, or a text with `;` between them"),
            weak=("tags", "keywords", "terms", "теги"),
            settings=lambda rows: [found] if (found := by_position([row.get("labels") for row in rows])) else [],
        ),
    )  # fmt: skip
    kinds: ClassVar = ("encoder",)
    answers: ClassVar = "classes"

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept lists of short labels that repeat themselves from row to row, but not within one."""
        cells = [cell for cell in columns["labels"] if filled(cell)]
        if self.positions:
            return self._by_position(columns["text"], cells)
        texts = {cell for cell in cells if isinstance(cell, str)}
        joined_columns = bool(cells) and all(isinstance(cell, tuple) for cell in cells)
        if not joined_columns and not holds_several(cells) and not recombined(texts, ","):
            return ""
        if _are_lists(columns["text"]):
            return ""
        if any(len(found) > len({str(one) for one in found}) for cell in cells if (found := tried(as_list, cell))):
            return ""  # words may have the same tag, a text has a label once
        rows = tried(lambda: [labels_in(cell) for cell in cells]) or []
        labels = [label for row in rows for label in row]
        distinct = set(labels)
        most = max(map(len, rows), default=0)
        if not distinct or (most < 2 and not joined_columns) or len(distinct) > max(2, len(labels) // 2):
            return ""
        if max(map(len, distinct)) > LONGEST_LABEL:
            return ""
        return msg("rows of 'labels' hold up to {most} of {count} labels", most=most, count=len(distinct))

    def _by_position(self, texts: Sequence[object], cells: Sequence[object]) -> Wording:
        lists = [found for cell in cells if (found := positions(cell)) and len(found) == self.positions]
        if not lists or _are_lists(texts):
            return ""
        names = self._names()
        never = [name for at, name in enumerate(names) if not any(found[at] for found in lists)]
        listed = ", ".join(names[:LISTED]) + (" …" if len(names) > LISTED else "")
        rule = "'labels' says yes or no to {count} labels by position: {labels}"
        parts = [msg(rule, count=len(names), labels=listed)]
        if not self.names:
            parts.append(msg("`--set task.names=...` names them in their order"))
        if never:
            parts.append(msg("never true in the first rows: {labels}", labels=", ".join(never)))
        return Joined(tuple(parts))

    def _names(self) -> tuple[str, ...]:
        return self.names or tuple(f"LABEL_{at}" for at in range(self.positions or 0))

    def _right(self, cell: object) -> list[str]:
        if not self.positions:
            return labels_in(cell, self.separator)
        found, names = positions(cell), self._names()
        if found is None or len(found) != len(names):
            rule = "the labels are not a list of {count} times 0 or 1: {cell}"
            raise Unusable(msg(rule, count=len(names), cell=plain(cell)[:60]))
        return sorted(name for name, true in zip(names, found, strict=True) if true)

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example; an empty list is no label, an empty cell stays empty for the audit to find."""
        cell = values.get("labels")
        return text_example(id, place, values, "labels", write_tags(self._right(cell)) if filled(cell) else "")

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return a head with an output for each label."""
        labels = {label for example in examples for label in read_list(example.gold)}
        return LabelSets(tuple(sorted(labels)), self.threshold)

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return micro F1 first."""
        return ("micro-label-f1", "macro-label-f1", "sample-f1", "accuracy")

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few films in two languages, and a question."""
        return [
            {"text": "Two clowns fall in love.", "labels": ["comedy", "romance"]},
            {"text": "Два клоуна идут на войну.", "labels": "war; comedy"},
            {"text": "He marches for years and comes home.", "labels": "war"},
            {"text": "A stone lies in a field.", "labels": "[]"},
            {"text": "Чем это кончится?", "second": "Они поженятся.", "labels": "romance|comedy"},
        ]


def _are_lists(texts: Sequence[object]) -> bool:
    return any(isinstance(opened_text(text), list | tuple) for text in texts)
