"""What annotation tools write: offsets counted in every way, spans that overlap, rows that people refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from kamerton import plugins
from kamerton.contracts import AuditContext
from kamerton.data.audit import run_audit
from kamerton.data.read import read_table
from kamerton.data.recognise import Made, Recognition, make_examples, recognise
from kamerton.errors import DataError
from kamerton.records import Example, Finding

NAMES = ("Marta Lind", "Ольга Ким", "José Núñez", "Li Na")
GOODS = ("tram", "kettle", "лампу", "garden", "мост 🌉", "sofa", "радио", "window", "bicycle", "chair")
OPENINGS = ("", "😀😀 ", "В понедельник ", "Café ☕: ", "👩‍👩‍👧 ")


def told(tmp_path: Path, rows: Sequence[object], name: str = "rows.jsonl") -> tuple[Recognition, Made, Sequence[str]]:
    """Write rows, recognise them and make examples; also return the notes of reading."""
    path = tmp_path / name
    if name.endswith(".json"):
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    table = read_table(path)
    found = recognise(table, None, {})
    made = make_examples(table, found, plugins.choose("tasks", found.task)(**found.settings))
    return found, made, table.notes


def finding(check: str, examples: Sequence[Example], answers: str = "tags") -> Finding:
    context = AuditContext(stratified=False, lengths=None, max_tokens=None, answers=answers)  # type: ignore[arg-type]
    return next(one for one in run_audit(examples, context) if one.check == check)


# ── offsets ───────────────────────────────────────────────────────────────────────────────────

Place = Callable[[str, int, int], tuple[int, int]]


def in_units(encoding: str, width: int) -> Place:
    def place(text: str, start: int, end: int) -> tuple[int, int]:
        first, last = (len(text[:at].encode(encoding)) // width for at in (start, end))
        return first, last

    return place


WAYS: dict[str, tuple[Place, dict[str, object]]] = {
    "letters": (lambda text, start, end: (start, end), {}),
    "utf-16": (in_units("utf-16-le", 2), {"offsets": "utf-16"}),
    "bytes": (in_units("utf-8", 1), {"offsets": "bytes"}),
    "inclusive": (lambda text, start, end: (start, end - 1), {"end_inside": True}),
    "one-based": (lambda text, start, end: (start + 1, end + 1), {"first_letter": 1}),
    "one-based, inclusive": (lambda text, start, end: (start + 1, end), {"first_letter": 1, "end_inside": True}),
    "a header before": (lambda text, start, end: (start + 17, end + 17), {"first_letter": 17}),
    "cut at the front": (lambda text, start, end: (start - 3, end - 3), {"first_letter": -3}),
}


def sentences(count: int = 40) -> list[tuple[str, int, int, int]]:
    """Give texts with the bounds of a name, and the start of the place Olden that they end in."""
    made = []
    for at in range(count):
        opening, name = "Он: " + OPENINGS[at % len(OPENINGS)], NAMES[at % len(NAMES)]
        text = f"{opening}{name} sold a {GOODS[at % len(GOODS)]} number {at} in Olden"
        made.append((text, len(opening), len(opening) + len(name), len(text) - len("Olden")))
    return made


SHIFTS_BY_WORDS = {name for name, (_, settings) in WAYS.items() if "first_letter" in settings}
"""Only the spans' own texts show these."""


@pytest.mark.parametrize(
    ("way", "own"),
    [
        (way, own)
        for way in WAYS
        for own in ("text", "word", "surface", "value", "")
        if own or way not in SHIFTS_BY_WORDS
    ],
)
def test_offsets_are_read_however_they_are_counted(tmp_path: Path, way: str, own: str) -> None:
    place, settings = WAYS[way]
    rows = []
    for text, start, end, olden in sentences():
        spans = [(start, end, "PER"), (olden, len(text), "LOC")]
        placed = [(*place(text, a, b), kind, {own: text[a:b]} if own else {}) for a, b, kind in spans]
        rows.append(
            {"text": text, "entities": [{"start": a, "end": b, "label": c, **more} for a, b, c, more in placed]}
        )
    found, made, _ = told(tmp_path, rows)
    assert found.task == "token-classification" and not made.rejected
    assert {name: value for name, value in found.settings.items() if name in settings} == settings
    assert ("converted" in found.reason) == bool(settings)
    for example, (text, start, end, _) in zip(made.examples, sentences(), strict=True):
        tagged = dict(
            zip(map(str, list(example.fields["tags"])), map(str, list(example.fields["tokens"])), strict=True)
        )  # type: ignore[call-overload]
        assert tagged["B-LOC"] == "Olden" and tagged["B-PER"] == text[start:end].split()[0]


CHANGED: list[tuple[str, str, str]] = [
    ("a reader's signs", "👩‍👩‍👧 é Ann sold {n} trams", "graphemes"),
    ("line ends of two letters", "One\nTwo\nThree\nAnn sold {n} trams", "crlf"),
    ("line ends of one letter", "One\r\nTwo\r\nAnn sold {n} trams", "lf"),
    ("a text that was stripped", "   Ann sold {n} trams", "stripped"),
]


@pytest.mark.parametrize(("text", "unit"), [case[1:] for case in CHANGED], ids=[case[0] for case in CHANGED])
def test_a_text_that_was_changed_after_it_was_annotated_is_read_as_it_was(tmp_path: Path, text: str, unit: str) -> None:
    seen = {"graphemes": 4, "crlf": 17, "lf": 8, "stripped": 0}[unit]
    rows = [
        {"text": text.format(n=n), "entities": [{"start": seen, "end": seen + 3, "label": "PER", "text": "Ann"}]}
        for n in range(20)
    ]
    found, made, _ = told(tmp_path, rows)
    assert found.settings["offsets"] == unit and not made.rejected
    assert all(("Ann", "B-PER") in zip(e.fields["tokens"], e.fields["tags"], strict=True) for e in made.examples)  # type: ignore[call-overload]


def test_spans_that_no_way_of_counting_explains_are_left_out_and_named(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": f"Ann sold {n} trams in Olden", "entities": [{"start": 0, "end": 3, "label": "PER", "text": "Ann"}]}
        for n in range(20)
    ]
    rows[3]["entities"] = [{"start": 4, "end": 8, "label": "PER", "text": "Ann"}]
    rows[9]["entities"] = [{"start": 15, "end": 99, "label": "PER", "text": "Olden"}]
    found, made, _ = told(tmp_path, rows)
    assert found.settings == {} and [entry.place.line for entry in made.rejected] == [4, 10]
    assert made.rejected[0].reason == "the span from 4 to 8 is 'sold', not 'Ann' as it says"
    assert "does not lie in the text" in made.rejected[1].reason


def test_many_spans_outside_their_texts_are_told_row_by_row_and_never_read_as_plain_text(tmp_path: Path) -> None:
    rows = [{"text": "Ann sold it", "entities": [[0, 3 + 40 * (n % 4 == 0), "PER"]]} for n in range(40)]
    found, made, _ = told(tmp_path, rows)
    assert found.task == "token-classification" and len(made.rejected) == 10
    with pytest.raises(DataError, match="rows cannot be used"):
        told(tmp_path, [{"text": "Ann sold it", "entities": [[0, 43, "PER"]]}] * 40)


def test_another_name_of_the_same_thing_is_no_wrong_offset(tmp_path: Path) -> None:
    """Rasa's `value` is the name that a synonym stands for."""
    rows = [
        {
            "text": f"fly to {city} at {n}",
            "entities": [{"start": 7, "end": 7 + len(city), "value": name, "entity": "city"}],
        }
        for n in range(12)
        for city, name in (("NYC", "New York"), ("Berlin", "Berlin"))
    ]
    found, made, _ = told(tmp_path, rows)
    assert found.settings == {} and len(made.examples) == 24 and not made.rejected


def test_spans_within_words_are_told(tmp_path: Path) -> None:
    rows = [{"text": f"Ann sold {n} trams in Olden", "entities": [[0, 3 if n % 3 else 2, "PER"]]} for n in range(30)]
    found, made, _ = told(tmp_path, rows)
    seen = finding("torn-spans", made.examples)
    assert len(seen.rows) == 10 and "begin or end within a word: 'An'" in seen.title and not found.settings


# ── spans that overlap, spans with two labels ─────────────────────────────────────────────────


def test_spans_that_overlap_are_told_and_the_rest_of_a_shorter_one_is_no_span(tmp_path: Path) -> None:
    rows = [
        {"text": f"Anna Lind Berg sold {n} trams", "label": [[0, 9, "PER"], [5, 14, "FAMILY"], [0, 9, "PER"]]}
        for n in range(20)
    ]
    found, made, _ = told(tmp_path, rows)
    assert [json.loads(example.gold)[:4] for example in made.examples] == [["B-PER", "I-PER", "O", "O"]] * 20
    seen = finding("overlapping-spans", made.examples)
    assert seen.severity == "severe" and "FAMILY 20" in seen.title and len(seen.rows) == 20
    for value, wanted in (("shorter", "B-FIRST"), ("longer", "B-PER")):
        task = plugins.choose("tasks", found.task)(overlaps=value)
        row = {"tokens": "Anna Lind", "tags": [[0, 9, "PER"], [0, 4, "FIRST"]]}
        assert json.loads(task.example(0, made.examples[0].place, row).gold)[0] == wanted
    with pytest.raises(ValueError, match="overlap"):
        plugins.choose("tasks", found.task)(overlaps="drop").example(0, made.examples[0].place, row)


def test_of_two_labels_of_one_span_the_first_is_taught_and_the_other_told(tmp_path: Path) -> None:
    spans = [{"start": 0, "end": 4, "text": "Anna", "labels": ["PER", "HERO"]}]
    _, made, _ = told(tmp_path, [{"text": f"Anna sold {n} trams", "label": spans} for n in range(20)])
    assert {tag for example in made.examples for tag in json.loads(example.gold)} == {"B-PER", "O"}
    assert "HERO 20" in finding("overlapping-spans", made.examples).title


# ── rows that people refused ──────────────────────────────────────────────────────────────────

MARKED: list[tuple[Mapping[str, object], Mapping[str, object]]] = [
    ({"answer": "accept"}, {"answer": "reject"}),
    ({"answer": "accept"}, {"answer": "ignore"}),
    ({"status": "Validated"}, {"status": "Discarded"}),
    ({"ASSIGNMENT:status": "APPROVED"}, {"ASSIGNMENT:status": "REJECTED"}),
    ({"was_cancelled": False}, {"was_cancelled": True}),
    ({"OUTPUT:skip": ""}, {"OUTPUT:skip": "true"}),
    ({"статус": "принято"}, {"статус": "отклонено"}),
    ({"is_confirmed": True}, {"is_confirmed": False}),
]


@pytest.mark.parametrize(("kept", "refused"), MARKED, ids=[str(refused) for _, refused in MARKED])
def test_rows_that_people_refused_are_left_out_and_counted(
    tmp_path: Path, kept: Mapping[str, object], refused: Mapping[str, object]
) -> None:
    rows = [
        {"text": f"a text of some words {n}", "label": ("good", "bad")[n % 2], **(refused if n % 5 == 0 else kept)}
        for n in range(40)
    ]
    found, made, _ = told(tmp_path, rows)
    [column] = refused
    assert len(made.examples) == 32 and len(made.rejected) == 8
    assert (
        made.rejected[0].reason == f"'{column}' is {json.dumps(refused[column]).strip(chr(34))}" or "статус" in column
    )
    assert f"rows that are marked as refused in '{column}' are left out" in found.reason
    assert "not used" not in found.reason


def test_a_column_that_only_looks_like_a_mark_leaves_nothing_out(tmp_path: Path) -> None:
    rows = [
        {"text": f"a text {n}", "label": ("good", "bad")[n % 2], "status": ("open", "rejected")[n % 2]}
        for n in range(20)
    ]
    found, made, _ = told(tmp_path, rows)
    assert len(made.examples) == 20 and "not used: status" in found.reason


def test_a_rejected_only_label_is_another_class(tmp_path: Path) -> None:
    answers = ("accept", "reject", "ignore")
    rows = [{"text": f"text {n}", "label": "INSULT", "answer": answers[n % 3]} for n in range(30)]
    _, made, notes = told(tmp_path, rows)
    assert {example.gold for example in made.examples} == {"INSULT", "not INSULT"} and len(made.rejected) == 10
    assert "rows that reject the only label are read as 'not INSULT'" in notes
