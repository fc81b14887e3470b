"""Labels within objects are read; what may be labels beside a text is never passed over in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kamerton.core.errors import DataError
from kamerton.pipeline.prepare import ParsedData, parse_data
from kamerton.runs.recipe import resolve

WORDS = ("хорошо", "плохо")
ROWS = range(24)
TEXT = "The parcel number {} came to the wrong street again."


def parsed(folder: Path, rows: list[Any], **settings: object) -> ParsedData:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return parse_data(resolve(None, {"data.path": str(path), **settings}))


def rows_of(beside: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"text": TEXT.format(at), **beside(at)} for at in ROWS]


def label(at: int) -> str:
    return WORDS[at % 2]


ONE: dict[str, Callable[[int], Any]] = {
    "spaCy's cats": lambda at: {"text": TEXT.format(at), "cats": {word: float(word == label(at)) for word in WORDS}},
    "spaCy's pairs": lambda at: [TEXT.format(at), {"cats": {word: int(word == label(at)) for word in WORDS}}],
    "chances": lambda at: {"text": TEXT.format(at), "labels": {word: (0.1, 0.9)[word == label(at)] for word in WORDS}},
    "an object": lambda at: {"text": TEXT.format(at), "label": {"id": at % 2, "name": label(at)}},
    "an object in Russian": lambda at: {"текст": TEXT.format(at), "метка": {"метка": label(at)}},
    "a list of one": lambda at: {"text": TEXT.format(at), "label": [{"tag": label(at), "score": 0.9}]},
    "three people": lambda at: {
        "text": TEXT.format(at),
        "annotations": [
            {"annotator": who, "label": one} for who, one in zip("abc", (label(at), label(at), "?"), strict=True)
        ],
    },
    "Ground Truth": lambda at: {
        "source": TEXT.format(at),
        "tone": at % 2,
        "tone-metadata": {"class-name": label(at), "confidence": 0.9, "type": "groundtruth/text-classification"},
    },
    "Argilla": lambda at: {
        "id": str(at),
        "fields": {"text": TEXT.format(at)},
        "responses": {"tone": [{"value": label(at), "status": "submitted"}, {"value": "?", "status": "discarded"}]},
        "suggestions": {"tone": {"value": "?", "agent": "a model"}},
    },
    "Prodigy's choice": lambda at: {
        "text": TEXT.format(at),
        "options": [{"id": word, "text": word} for word in WORDS],
        "accept": [label(at)],
        "answer": "accept",
    },
}  # fmt: skip


@pytest.mark.parametrize("shape", ONE)
def test_one_label_of_every_make_is_a_class(tmp_path, shape):
    found = parsed(tmp_path, [ONE[shape](at) for at in ROWS])
    assert found.recipe.data.task == "text-classification"
    assert [(one.text, one.gold) for one in found.examples] == [(TEXT.format(at), label(at)) for at in ROWS]


SEVERAL: dict[str, Callable[[int], dict[str, Any]]] = {
    "cats": lambda at: {"cats": {"late": True, "lost": at % 2 == 0, "wet": at % 3 == 0}},
    "objects": lambda at: {
        "labels": [{"name": word} for word, every in (("late", 1), ("lost", 2), ("wet", 3)) if at % every == 0]
    },
}  # fmt: skip


@pytest.mark.parametrize("shape", SEVERAL)
def test_several_labels_of_every_make_are_a_set(tmp_path, shape):
    found = parsed(tmp_path, rows_of(SEVERAL[shape]))
    assert found.recipe.data.task == "multi-label"
    assert [json.loads(one.gold) for one in found.examples[:3]] == [["late", "lost", "wet"], ["late"], ["late", "lost"]]


def test_people_who_disagree_are_told(tmp_path):
    rows = [ONE["three people"](at) for at in ROWS]
    rows[4]["annotations"] = [{"annotator": "a", "label": "хорошо"}, {"annotator": "b", "label": "плохо"}]
    [entry] = parsed(tmp_path, rows).table.rejected
    assert (entry.id, str(entry.reason)) == (4, "the people who labeled it disagree: хорошо 1, плохо 1")


BESIDE: dict[str, Callable[[int], Any]] = {
    "ratings": lambda at: {"taste": at % 5, "price": at % 3},
    "оценки": lambda at: {"вкус": at % 5, "цена": at % 3},
    "is_urgent": lambda at: at % 2 == 0,
    "flag": lambda at: at % 2,
    "срочно": lambda at: ("да", "нет")[at % 2],
    "tree": lambda at: {"word": "parcel", "children": []},
    "marks": lambda at: [[0, 3, "X"]],
    "meta": lambda at: {"label": at % 2, "source": "web"},
    "refs": lambda at: ["one", "two"],
}


@pytest.mark.parametrize("column", BESIDE)
def test_a_text_beside_what_may_be_labels_is_a_question(tmp_path, column):
    rows = rows_of(lambda at: {column: BESIDE[column](at)})
    with pytest.raises(DataError) as told:
        parsed(tmp_path, rows)
    assert column in str(told.value)
    assert "--task language-modeling" in str(told.value)
    assert parsed(tmp_path, rows, **{"data.task": "language-modeling"}).recipe.data.task == "language-modeling"


def test_a_text_beside_where_it_is_from_is_plain_text(tmp_path):
    origin = {
        "url": "https://example.org/{}", "timestamp": "2019-04-2{}", "source": "web", "lang": "en",
        "meta": {"pile_set_name": "Books"}, "language_score": 0.5, "embedding": [0.25] * 32, "dump": "CC-1",
    }  # fmt: skip
    rows = rows_of(lambda at: json.loads(json.dumps(origin).replace("{}", str(at % 3))))
    assert parsed(tmp_path, rows).recipe.data.task == "language-modeling"
