"""Token classification: a tag for each word; names of people and places, parts of an address, parts of speech."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.errors import Unusable
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.records import Example, Place
from kamerton.forms.offsets import Counting, Marked, Unit, are_spans, counting_of, is_torn, listed, matches, read_span
from kamerton.forms.tagging import tagging
from kamerton.plugins.tasks._shared import tried
from kamerton.runs.settings import Group, Names
from kamerton.text.cells import filled, plain
from kamerton.text.printed import opened
from kamerton.text.tags import (
    OUTSIDE,
    Span,
    apart,
    in_iob2,
    names_of_numbers,
    outside_of,
    read_list,
    tagged,
    write_tags,
)
from kamerton.text.words import bounds

SEVERAL = 2
LOOKED_AT = 100
"""Rows that are tried."""
USUAL = Counting()
NUMBERED = re.compile(r"([BI]-)?\d+")
"""A tag that is a number, or is named by one."""
LISTED = 9
"""Tags named in a message."""


def _meant(rows: Sequence[Mapping[str, object]]) -> Sequence[Mapping[str, object]]:
    """Find how offsets of spans are counted, and which tag stands for `O`, as settings; none where that is usual."""
    found = counting_of([pair for row in rows if (pair := tried(_text_and_spans, row))])
    settings: dict[str, object] = {}
    if found != USUAL:
        settings |= {"offsets": found.unit, "first_letter": found.first, "end_inside": found.end_inside}
    given = [tags for row in rows if (tags := tried(_tags_of_words, row.get("tags"))) is not None]
    if (outside := outside_of(Counter(tag for tags in given for tag in tags))) is not None:
        settings["outside"] = outside
    if names := names_of_numbers(given):
        settings = {"names": names}
    return (settings,) if settings else ()


def _tags_of_words(cell: object) -> list[str] | None:
    tags = _unpacked(cell)
    given = tags.split() if isinstance(tags, str) else _listed(tags)
    spans = any(isinstance(tag, Mapping | list | tuple) for tag in given)
    return None if spans else [plain(tag) for tag in given]


class TokenClassification(Group):
    """Tag each word of a text."""

    outside: str | None = Field(
        None, description="The tag of words outside every span, where it is not `O`; found from the tags if open."
    )
    names: Names | None = Field(None, description="Names of tags that are numbers, from 0 on: `O,B-person,I-person`.")
    offsets: Unit = Field("letters", description="The unit of span offsets; detected from the spans where possible.")
    first_letter: int = Field(0, description="The offset of the first letter.")
    end_inside: bool = Field(False, description="Whether ends of spans are inclusive.")
    overlaps: Literal["longer", "shorter", "drop"] = Field(
        "longer", description="Which of two overlapping spans is trained on, or whether their row is left out."
    )

    roles: ClassVar = (
        Role(
            "tokens",
            ("tokens", "words", "text", "sentence", "sentences", "content", "address", "слова", "токены", "текст"),
            msg("the words, or the text"),
            weak=("data",),
        ),
        Role(
            "tags",
            ("tags", "ner_tags", "ner", "pos", "pos_tags", "upos", "chunk_tags", "labels", "label", "entities", "spans",
             "tag", "annotations", "annotation", "ents", "tagging", "метки", "теги", "сущности", "разметка"),
            msg("a tag for each word, or spans of the text with their kinds"),
            settings=_meant,
            letters_of="tokens",
        ),
    )  # fmt: skip
    kinds: ClassVar = ("encoder",)
    answers: ClassVar = "tags"

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept rows with as many tags as words, or with spans that lie in the text."""
        rows = [pair for pair in zip(columns["tokens"], columns["tags"], strict=True) if any(map(filled, pair))]
        if not rows or not any(tried(_listed, tags) or _repeats(tags) for _, tags in rows):
            return ""
        rows = rows[:LOOKED_AT]
        made = [tried(self.example, 0, Place("", 0), {"tokens": words, "tags": tags}) for words, tags in rows]
        usable = [example for example in made if example]
        spans = [tags for _, tags in rows if tried(lambda cell: are_spans(_unpacked(cell)), tags)]
        bad = len(made) - len(usable)  # spans are known by their form, even where many of them do not lie in the text
        if bad and (len(spans) < len(made) or 2 * bad > len(made)):
            return ""
        kinds = {tag for example in usable for tag in read_list(example.gold)}
        if len(kinds) < 2:
            return ""
        parts = [
            msg("each row has a tag for each word, {count} different ones with O", count=len({*kinds, OUTSIDE})),
            *self.counting.notes,
        ]
        if self.outside is not None and OUTSIDE in kinds:
            parts.append(msg("the tag '{tag}' is read as O: outside every span", tag=self.outside))
        if all(NUMBERED.fullmatch(kind) for kind in kinds - {OUTSIDE}):
            names = ", ".join((self.names or sorted(kinds))[:LISTED])
            parts.append(msg("the tags are numbers without names, read as {names}", names=names))
            parts.append(msg("`--set task.names=...` names them from 0 on"))
        return Joined(tuple(parts))

    @property
    def counting(self) -> Counting:
        """How the offsets of spans are counted."""
        return Counting(self.offsets, self.first_letter, self.end_inside)

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example of words and tags, one for each, or of a text and spans within it."""
        words, tags = _unpacked(values["tokens"], sure=True), _unpacked(values.get("tags"))
        text = plain(words) if isinstance(words, str) else " ".join(plain(word) for word in _listed(words))
        if not text.strip():
            raise Unusable(msg("there are no words"))
        if not filled(tags):
            return Example(id, place, text, "", {"tokens": words})
        if isinstance(words, str) and are_spans(tags):
            return self._of_spans(id, place, text, [read_span(one) for one in _listed(tags)])
        split = text.split() if isinstance(words, str) else [plain(word) for word in _listed(words)]
        given = tags.split() if isinstance(tags, str) else [plain(tag) for tag in _listed(tags)]
        if len(split) != len(given):
            rule = "there are {words} {words:word|words} but {tags} {tags:tag|tags}"
            raise Unusable(msg(rule, words=len(split), tags=len(given)))
        given = in_iob2([self._named(tag) for tag in given])
        return Example(id, place, text, write_tags(given), {"tokens": split, "tags": given})

    def _named(self, tag: str) -> str:
        """Return a tag's name if it is a number of one, and `O` for what stands for it."""
        if self.names and tag.isdecimal() and int(tag) < len(self.names):
            return self.names[int(tag)]
        return OUTSIDE if tag == self.outside else tag

    def _of_spans(self, id: int, place: Place, text: str, marked: Sequence[Marked]) -> Example:
        words, torn = bounds(text), list[str]()
        spans = list[Span]()
        for span in marked:
            start, end = self.counting.place(text, span)
            given = {"start": str(span.start), "end": str(span.end)}
            if not matches(text, start, end, span):
                rule = "the span from {start} to {end} is '{cut}', not '{text}' as it says"
                raise Unusable(msg(rule, **given, cut=text[start:end], text=span.text))
            touched = [at for at, word in enumerate(words) if word.start < end and start < word.end]
            if not touched:
                raise Unusable(msg("the span from {start} to {end} holds no word", **given))
            torn += [text[start:end]] if is_torn(text, start) or is_torn(text, end) else []
            spans += [Span(touched[0], touched[-1] + 1, kind) for kind in span.kinds]
        kept, left_out = apart(spans, shorter_first=self.overlaps == "shorter")
        if left_out and self.overlaps == "drop":
            raise Unusable(msg("spans overlap: {kind} with another one", kind=left_out[0].kind))
        tags = tagged(len(words), kept)
        split = [text[word.start : word.end] for word in words]
        noted = {"left_out": [span.kind for span in left_out], "torn": torn}
        fields = {"tokens": split, "tags": tags, **{name: seen for name, seen in noted.items() if seen}}
        return Example(id, place, text, write_tags(tags), fields)

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return a head that is read at each word."""
        return tagging(examples)

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return the F1 of whole spans first."""
        return ("span-f1", "macro-span-f1", "token-accuracy")

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few sentences in two languages: words with tags, and texts with spans."""
        return [
            {"tokens": ["Anna", "lives", "in", "Oslo", "."], "tags": ["B-person", "O", "O", "B-place", "O"]},
            {"tokens": "Мария Кюри родилась в Варшаве", "tags": "B-person I-person O O B-place"},
            {"tokens": "Call Bob Ray now!", "tags": [{"start": 5, "end": 12, "label": "person"}]},
            {"tokens": "Едем в Омск.", "tags": [[7, 11, "place"]]},
        ]


def _unpacked(value: object, *, sure: bool = False) -> object:
    """Return what a cell of a text file prints, or the entities of an annotation."""
    value = opened(value, sure=sure)
    return listed(value["entities"] if isinstance(value, Mapping) and "entities" in value else value)


def _listed(value: object) -> list[object]:
    value = _unpacked(value)
    return list(value) if isinstance(value, list | tuple) else []


def _repeats(tags: object) -> bool:
    """Return whether a text is of tags: three or more words, some of them equal."""
    words = tags.split() if isinstance(tags, str) else []
    return len(set(words)) < len(words) > SEVERAL


def _text_and_spans(row: Mapping[str, object]) -> tuple[str, list[Marked]] | None:
    text, tags = _unpacked(row.get("tokens"), sure=True), _unpacked(row.get("tags"))
    return (text, [read_span(one) for one in _listed(tags)]) if isinstance(text, str) and are_spans(tags) else None
