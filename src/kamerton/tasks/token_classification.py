"""Token classification: a tag for each word; names of people and places, parts of an address, parts of speech."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

from kamerton.contracts import Form, ModelKind, Role
from kamerton.forms.tagging import tagging
from kamerton.forms.values import filled, plain
from kamerton.records import Example, Place
from kamerton.settings import Group
from kamerton.tags import Span, in_iob2, read_list, tagged, write_tags
from kamerton.words import bounds

SEVERAL = 2
KINDS = ("label", "type", "tag", "entity", "entity_group", "class", "category", "labels")
STARTS, ENDS = ("start", "start_offset"), ("end", "end_offset")
"""Names that a span's kind, first letter and letter behind the last go by: also doccano's and Label Studio's."""


class TokenClassification(Group):
    """Tag each word of a text."""

    roles: ClassVar = (
        Role(
            "tokens",
            ("tokens", "words", "text", "sentence", "sentences", "content", "address", "слова", "токены", "текст"),
            "the words, or the text",
            weak=("data",),
        ),
        Role(
            "tags",
            ("tags", "ner_tags", "ner", "pos", "pos_tags", "upos", "chunk_tags", "labels", "label", "entities", "spans",
             "tag", "annotations", "метки", "теги", "сущности"),
            "a tag for each word, or spans of the text with their kinds",
        ),
    )  # fmt: skip
    kinds: ClassVar = ("encoder",)
    answers: ClassVar = "tags"
    stratified: ClassVar = False

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> str:
        """Accept rows with as many tags as words, or with spans that lie in the text."""
        rows = [pair for pair in zip(columns["tokens"], columns["tags"], strict=True) if any(map(filled, pair))]
        if not rows or not any(_listed(tags) or _repeats(tags) for _, tags in rows):
            return ""
        try:
            made = [self.example(0, Place("", 0), {"tokens": words, "tags": tags}) for words, tags in rows[:100]]
        except ValueError:
            return ""
        kinds = {tag for example in made for tag in read_list(example.gold)}
        return f"each row has a tag for each word, {len(kinds)} different ones" if len(kinds) > 1 else ""

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Make an example of words and tags, or of a text and spans.

        Raises:
            ValueError: there are no words, not as many tags as words, or a span that does not lie in the text.
        """
        words, tags = _unpacked(values["tokens"]), _unpacked(values.get("tags"))
        text = plain(words) if isinstance(words, str) else " ".join(plain(word) for word in _listed(words))
        if not text.strip():
            raise ValueError("there are no words")
        if not filled(tags):
            return Example(id, place, text, "", {"tokens": words})
        if isinstance(words, str) and _are_spans(tags):
            return self._of_spans(id, place, text, _listed(tags))
        split = text.split() if isinstance(words, str) else [plain(word) for word in _listed(words)]
        given = tags.split() if isinstance(tags, str) else [plain(tag) for tag in _listed(tags)]
        if len(split) != len(given):
            raise ValueError(f"there are {len(split)} words but {len(given)} tags")
        given = in_iob2(given)
        return Example(id, place, text, write_tags(given), {"tokens": split, "tags": given})

    def _of_spans(self, id: int, place: Place, text: str, found: Sequence[object]) -> Example:
        """Tag the words that spans of letters touch."""
        words = bounds(text)
        spans = []
        for start, end, kind in map(_span, found):
            touched = [at for at, word in enumerate(words) if word.start < end and start < word.end]
            if not 0 <= start < end <= len(text) or not touched:
                raise ValueError(f"the span from {start} to {end} does not lie in the text of {len(text)} letters")
            spans.append(Span(touched[0], touched[-1] + 1, kind))
        tags = tagged(len(words), spans)
        split = [text[word.start : word.end] for word in words]
        return Example(id, place, text, write_tags(tags), {"tokens": split, "tags": tags})

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Give the encoder a head that is read at each word."""
        return tagging(examples)

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Let whole spans decide."""
        return ("span-f1", "macro-span-f1", "token-accuracy")

    def example_rows(self) -> list[dict[str, object]]:
        """Give a few sentences in two languages: words with tags, and texts with spans."""
        return [
            {"tokens": ["Anna", "lives", "in", "Oslo", "."], "tags": ["B-person", "O", "O", "B-place", "O"]},
            {"tokens": "Мария Кюри родилась в Варшаве", "tags": "B-person I-person O O B-place"},
            {"tokens": "Call Bob Ray now!", "tags": [{"start": 5, "end": 12, "label": "person"}]},
            {"tokens": "Едем в Омск.", "tags": [[7, 11, "place"]]},
        ]


def _unpacked(value: object) -> object:
    """Give what a cell of a text file holds: a list that was written as JSON, or the entities of an annotation."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return value["entities"] if isinstance(value, Mapping) and "entities" in value else value


def _listed(value: object) -> list[object]:
    """Give a cell's list; of anything else nothing."""
    value = _unpacked(value)
    return list(value) if isinstance(value, list | tuple) else []


def _repeats(tags: object) -> bool:
    """Say whether a text is of tags: three or more words, some of them equal."""
    words = tags.split() if isinstance(tags, str) else []
    return len(set(words)) < len(words) > SEVERAL


def _are_spans(tags: object) -> bool:
    """Say whether a cell holds spans; an empty list holds none."""
    listed = _listed(tags)
    return isinstance(tags, list | tuple) and all(isinstance(one, Mapping | list | tuple) for one in listed)


def _span(value: object) -> tuple[int, int, str]:
    """Read a span: `{"start": 0, "end": 4, "label": "place"}` or `[0, 4, "place"]`.

    Raises:
        ValueError: it has no start, end and kind.
    """
    parts: Sequence[object] = ()
    if isinstance(value, Mapping):
        *place, said = [next((value[n] for n in names if n in value), None) for names in (STARTS, ENDS, KINDS)]
        parts = (*place, said[0] if isinstance(said, list) and len(said) == 1 else said)
    elif isinstance(value, list | tuple):
        parts = value
    if len(parts) != 3 or not all(isinstance(place, int) for place in parts[:2]) or not filled(parts[2]):
        raise ValueError(f"{value!r} is no span: it needs start, end and label")
    start, end, kind = parts
    return int(str(start)), int(str(end)), plain(kind)
