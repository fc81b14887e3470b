"""What annotation tools write: offsets counted in every way, spans that overlap, rows that people refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from kamerton.core import registry
from kamerton.core.contracts import AuditContext
from kamerton.core.errors import DataError
from kamerton.core.records import Example, Finding, Place
from kamerton.data.audit import run_audit
from kamerton.data.read import read_table
from kamerton.data.recognize import Made, Recognition, make_examples, recognize

NAMES = ("Marta Lind", "Ольга Ким", "José Núñez", "Li Na")
GOODS = ("tram", "kettle", "лампу", "garden", "мост 🌉", "sofa", "радио", "window", "bicycle", "chair")
OPENINGS = ("", "😀😀 ", "В понедельник ", "Café ☕: ", "👩‍👩‍👧 ")


def told(tmp_path: Path, rows: Sequence[object], name: str = "rows.jsonl") -> tuple[Recognition, Made, Sequence[str]]:
    """Write rows, recognize them and make examples; also return the notes of reading."""
    path = tmp_path / name
    if name.endswith(".json"):
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    table = read_table(path)
    found = recognize(table, None, {})
    made = make_examples(table, found, registry.choose("tasks", found.task)(**found.settings))
    return found, made, tuple(map(str, table.notes))


def finding(check: str, examples: Sequence[Example], answers: str = "tags") -> Finding:
    context = AuditContext(stratified=False, lengths=None, max_tokens=None, answers=answers)  # type: ignore[arg-type]
    return next(one for one in run_audit(examples, context) if one.check == check)


# ── offsets ───────────────────────────────────────────────────────────────────────────────────

Way = Callable[[str, int, int], tuple[int, int]]


def in_units(encoding: str, width: int) -> Way:
    def place(text: str, start: int, end: int) -> tuple[int, int]:
        first, last = (len(text[:at].encode(encoding)) // width for at in (start, end))
        return first, last

    return place


WAYS: dict[str, tuple[Way, dict[str, object]]] = {
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
    assert ("converted" in str(found.reason)) == bool(settings)
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
    assert str(made.rejected[0].reason) == "the span from 4 to 8 is 'sold', not 'Ann' as it says"
    assert "is outside the text" in str(made.rejected[1].reason)


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
    assert len(seen.rows) == 10 and "begin or end within a word: 'An'" in str(seen.title) and not found.settings


# ── spans that overlap, spans with two labels ─────────────────────────────────────────────────


def test_spans_that_overlap_are_told_and_the_rest_of_a_shorter_one_is_no_span(tmp_path: Path) -> None:
    rows = [
        {"text": f"Anna Lind Berg sold {n} trams", "label": [[0, 9, "PER"], [5, 14, "FAMILY"], [0, 9, "PER"]]}
        for n in range(20)
    ]
    found, made, _ = told(tmp_path, rows)
    assert [json.loads(example.gold)[:4] for example in made.examples] == [["B-PER", "I-PER", "O", "O"]] * 20
    seen = finding("overlapping-spans", made.examples)
    assert seen.severity == "severe" and "'FAMILY' 20" in str(seen.title) and len(seen.rows) == 20
    for value, wanted in (("shorter", "B-FIRST"), ("longer", "B-PER")):
        task = registry.choose("tasks", found.task)(overlaps=value)
        row = {"tokens": "Anna Lind", "tags": [[0, 9, "PER"], [0, 4, "FIRST"]]}
        assert json.loads(task.example(0, str(made.examples[0].place), row).gold)[0] == wanted
    with pytest.raises(ValueError, match="overlap"):
        registry.choose("tasks", found.task)(overlaps="drop").example(0, made.examples[0].place, row)


def test_of_two_labels_of_one_span_the_first_is_taught_and_the_other_told(tmp_path: Path) -> None:
    spans = [{"start": 0, "end": 4, "text": "Anna", "labels": ["PER", "HERO"]}]
    _, made, _ = told(tmp_path, [{"text": f"Anna sold {n} trams", "label": spans} for n in range(20)])
    assert {tag for example in made.examples for tag in json.loads(example.gold)} == {"B-PER", "O"}
    assert "'HERO' 20" in str(finding("overlapping-spans", made.examples).title)


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
    word = str(refused[column]).lower() if isinstance(refused[column], bool) else refused[column]
    assert {str(entry.reason) for entry in made.rejected} == {f"marked as refused: '{column}' is {word}"}
    assert f"rows that are marked as refused in '{column}' are left out" in str(found.reason)
    assert "not used" not in str(found.reason)


def test_a_column_that_only_looks_like_a_mark_leaves_nothing_out(tmp_path: Path) -> None:
    rows = [
        {"text": f"a text {n}", "label": ("good", "bad")[n % 2], "status": ("open", "rejected")[n % 2]}
        for n in range(20)
    ]
    found, made, _ = told(tmp_path, rows)
    assert len(made.examples) == 20 and "not used: status" in str(found.reason)


def test_a_rejected_only_label_is_another_class(tmp_path: Path) -> None:
    answers = ("accept", "reject", "ignore")
    rows = [{"text": f"text {n}", "label": "INSULT", "answer": answers[n % 3]} for n in range(30)]
    _, made, notes = told(tmp_path, rows)
    assert {example.gold for example in made.examples} == {"INSULT", "not INSULT"} and len(made.rejected) == 10
    assert "rows that reject the only label are read as 'not INSULT'" in notes


# ── exports of tools ──────────────────────────────────────────────────────────────────────────

TEXT = "Анна Ким купила лампу №{n} в Омске"
TONES = ("good", "bad")


def spans_of(text: str) -> list[tuple[int, int, str]]:
    return [(0, 8, "PER"), (len(text) - 5, len(text), "LOC")]


def studio(n: int, results: Sequence[object], key: str = "annotations", **more: object) -> dict[str, object]:
    return {"id": n, "data": {"text": TEXT.format(n=n)}, key: [{"result": list(results), **more}]}


def regions(text: str, name: str = "label") -> list[object]:
    return [
        {"value": {"start": a, "end": b, "text": text[a:b], "labels": [kind]}, "type": "labels", "from_name": name}
        for a, b, kind in spans_of(text)
    ]


def choice(value: str, name: str = "tone") -> dict[str, object]:
    return {"value": {"choices": [value]}, "type": "choices", "from_name": name}


def tagged_rows(make: Callable[[str], object], column: str = "entities", text: str = "text") -> list[object]:
    return [{text: TEXT.format(n=n), column: make(TEXT.format(n=n))} for n in range(20)]


SPANNED: dict[str, list[object]] = {
    "Label Studio": [studio(n, regions(TEXT.format(n=n), "any_name")) for n in range(20)],
    "Label Studio, completions": [studio(n, regions(TEXT.format(n=n)), "completions") for n in range(20)],
    "Labelbox, the last letter": [
        {"data_row": {"id": f"{n}", "row_data": TEXT.format(n=n)}, "projects": {"p": {"labels": [{"annotations": {
            "objects": [{"name": kind, "value": kind.lower(), "location": {"start": a, "end": b - 1}}
                        for a, b, kind in spans_of(TEXT.format(n=n))], "classifications": []}}]}}}
        for n in range(20)
    ],
    "Dataturks, the last letter": tagged_rows(
        lambda text: [{"label": [kind], "points": [{"start": a, "end": b - 1, "text": text[a:b]}]}
                      for a, b, kind in spans_of(text)], "annotation", "content"),
    "Azure, a length": tagged_rows(
        lambda text: [{"category": kind, "offset": a, "length": b - a, "text": text[a:b]}
                      for a, b, kind in spans_of(text)]),
    "LUIS, the last letter": tagged_rows(
        lambda text: [{"entity": kind, "startPos": a, "endPos": b - 1} for a, b, kind in spans_of(text)]),
    "Comprehend": tagged_rows(
        lambda text: [{"BeginOffset": a, "EndOffset": b, "Type": kind} for a, b, kind in spans_of(text)], "Entities"),
    "Ground Truth": [
        {"source": TEXT.format(n=n), "job": {"annotations": {"entities": [
            {"label": kind, "startOffset": a, "endOffset": b} for a, b, kind in spans_of(TEXT.format(n=n))]}},
         "job-metadata": {"type": "groundtruth/text-span"}}
        for n in range(20)
    ],
    "brat's JSON": tagged_rows(
        lambda text: [[f"T{at}", kind, [[a, b]]] for at, (a, b, kind) in enumerate(spans_of(text))]),
    "GATE, by kinds": tagged_rows(
        lambda text: {kind: [{"indices": [a, b]}] for a, b, kind in spans_of(text)}),
    "spaCy's documents": tagged_rows(
        lambda text: [{"start": a, "end": b, "label": kind} for a, b, kind in spans_of(text)], "ents"),
    "LightTag": tagged_rows(
        lambda text: [{"start": a, "end": b, "tag": kind, "value": text[a:b], "tag_id": "x"}
                      for a, b, kind in spans_of(text)], "annotations", "content"),
    "Prodigy, text of the tokens": [
        {"text": f"🙂 {TEXT.format(n=n)}", "tokens": [{"text": w} for w in f"🙂 {TEXT.format(n=n)}".split()],
         "spans": [{"start": a + 3, "end": b + 3, "token_start": first, "token_end": last, "label": kind}
                   for (a, b, kind), first, last in zip(spans_of(TEXT.format(n=n)), (1, 7), (2, 7), strict=True)],
         "answer": "accept"}
        for n in range(20)
    ],
    "a span a row": [
        {"text": TEXT.format(n=n), "start": a, "end": b, "label": kind}
        for n in range(20) for a, b, kind in spans_of(TEXT.format(n=n))
    ],
}  # fmt: skip


@pytest.mark.parametrize("tool", SPANNED)
def test_spans_of_every_tool_mark_the_same_words(tmp_path: Path, tool: str) -> None:
    found, made, _ = told(tmp_path, SPANNED[tool])
    assert found.task == "token-classification" and len(made.examples) == 20 and not made.rejected
    for example in made.examples:
        tags = json.loads(example.gold)
        assert tags[-8:] == ["B-PER", "I-PER", "O", "O", "O", "O", "O", "B-LOC"]
        assert tags.count("B-PER") == tags.count("I-PER") == tags.count("B-LOC") == 1
        assert not example.fields.get("torn")


CHOSEN: dict[str, list[object]] = {
    "Label Studio": [studio(n, [choice(TONES[n % 2])]) for n in range(20)],
    "Label Studio, taxonomy": [
        studio(n, [{"value": {"taxonomy": [["tone", TONES[n % 2]]]}, "type": "taxonomy", "from_name": "x"}])
        for n in range(20)
    ],
    "Labelbox": [
        {"data_row": {"row_data": TEXT.format(n=n)}, "projects": {"p": {"labels": [{"annotations": {
            "objects": [], "classifications": [{"name": "q", "radio_answer": {"name": TONES[n % 2]}}]}}]}}}
        for n in range(20)
    ],
    "Ground Truth": [
        {"source": TEXT.format(n=n), "job": n % 2, "job-metadata": {"class-name": TONES[n % 2]}} for n in range(20)
    ],
    "Argilla 2": [
        {"fields": {"text": TEXT.format(n=n)}, "responses": {"q": [{"value": TONES[n % 2], "status": "submitted"}]}}
        for n in range(20)
    ],
    "Argilla 1": [
        {"fields": {"text": TEXT.format(n=n)}, "responses": [{"values": {"q": {"value": TONES[n % 2]}}}]}
        for n in range(20)
    ],
    "Argilla, a record": [
        {"text": TEXT.format(n=n), "prediction": None, "annotation": TONES[n % 2], "status": "Validated"}
        for n in range(20)
    ],
    "Prodigy": [
        {"text": TEXT.format(n=n), "options": [{"id": tone, "text": tone} for tone in TONES], "accept": [TONES[n % 2]],
         "answer": "accept"}
        for n in range(20)
    ],
    "doccano": [{"id": n, "data": TEXT.format(n=n), "label": [TONES[n % 2]]} for n in range(20)],
    "Toloka": [{"INPUT:text": TEXT.format(n=n), "OUTPUT:result": TONES[n % 2]} for n in range(20)],
}  # fmt: skip


@pytest.mark.parametrize("tool", CHOSEN)
def test_choices_of_every_tool_are_labels(tmp_path: Path, tool: str) -> None:
    found, made, _ = told(tmp_path, CHOSEN[tool])
    assert found.task == "text-classification" and not made.rejected
    assert [example.gold.rpartition(" / ")[2] for example in made.examples] == [TONES[n % 2] for n in range(20)]


def test_of_several_questions_the_one_that_is_meant_is_asked(tmp_path: Path) -> None:
    both = [studio(n, [*regions(TEXT.format(n=n)), choice(TONES[n % 2])]) for n in range(20)]
    with pytest.raises(DataError) as caught:
        told(tmp_path, both)
    said = str(caught.value)
    assert "--columns tokens=text,tags=label" in said and "--columns text=text,label=tone" in said
    two = [studio(n, [choice(TONES[n % 2]), choice("abc"[n % 3], "topic")]) for n in range(20)]
    with pytest.raises(DataError, match=r"text=text,label=tone.* or .*text=text,label=topic"):
        told(tmp_path, two)


def test_annotations_that_differ_are_counted_and_the_cancelled_are_left_out(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [studio(n, [choice(TONES[n % 2])]) for n in range(20)]
    votes = [{"result": [choice(tone)]} for tone in ("bad", "good", "good")]
    rows[4]["annotations"] = votes
    rows[6]["annotations"] = [{"result": [choice("bad")], "ground_truth": True}, *votes[1:]]
    rows[8]["annotations"] = [{"result": [], "was_cancelled": True}]
    _, made, notes = told(tmp_path, rows)
    golds = {example.id: example.gold for example in made.examples}
    assert golds[4] == "good" and golds[6] == "bad" and 8 not in golds and len(made.examples) == 19
    assert [str(entry.reason) for entry in made.rejected] == ["marked as refused: 'was_cancelled' is true"]
    assert any("tasks whose annotations differ: 1 (" in str(note) for note in notes)


def test_webanno_is_read_token_by_token_with_its_spans_and_layers(tmp_path: Path) -> None:
    path = tmp_path / "export.tsv"
    body = "".join(
        f"#Text=Ann Lee met {name} twice\n{n}-1\t0-3\tAnn\tPER[{n}]\tNNP\t\n{n}-2\t4-7\tLee\tPER[{n}]\tNNP\t\n"
        f"{n}-3\t8-11\tmet\t_\tVBD\t\n{n}-4\t12-15\t{name}\t{('_', 'LOC|PER')[n % 2]}\tNNP\t\n"
        f"{n}-5\t16-21\ttwice\t_\tRB\t\n\n"
        for n, name in enumerate(("Oslo", "Rome", "Bonn") * 4, 1)
    )
    layers = "#T_SP=webanno.custom.Entity|kind\n#T_SP=webanno.custom.POS|tag\n#T_RL=a.Link|x|b\n"
    head = f"#FORMAT=WebAnno TSV 3.3\n{layers}\n\n"
    path.write_text(head + body, encoding="utf-8")
    table = read_table(path)
    assert table.rows[0].values["kind"] == ["B-PER", "I-PER", "O", "B-LOC", "O"]
    assert table.rows[0].values["tokens"] == ["Ann", "Lee", "met", "Oslo", "twice"]
    assert "not read of the annotations: Link" in tuple(map(str, table.notes))
    assert "of several annotations of a token the first is read, 6 times" in tuple(map(str, table.notes))
    with pytest.raises(DataError, match=r"tags=kind.* or .*tags=tag"):
        recognize(table, None, {})


# ── answers of questions ──────────────────────────────────────────────────────────────────────


def test_an_answer_is_found_where_it_stands_and_where_that_is_not_clear_left_out(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for n in range(20):
        context = f"😀 In {1900 + n} Ann Lee sold {n} trams to Bob, and Bob paid."
        answers: dict[str, object] = {"text": ["Ann Lee"], "answer_start": [context.index("Ann")]}
        rows.append({"context": context, "question": "Who?", "answers": answers})
    rows[2]["answers"] = {"text": ["Ann Lee"], "answer_start": [3]}  # stands once
    rows[3]["answers"] = {"text": ["Bob"], "answer_start": [3]}  # stands twice
    context = str(rows[5]["context"])
    rows[5]["answers"] = {"text": ["Bob"], "answer_start": [context.rindex("Bob") + 1]}  # UTF-16
    found, made, _ = told(tmp_path, rows)
    assert found.task == "question-answering"
    assert [str(entry.reason) for entry in made.rejected] == ["the answer 'Bob' is not at 3, but at 2 other places"]
    starts = {example.id: example.fields["answer"][0]["answer_start"] for example in made.examples}  # type: ignore[index]
    assert starts[2] == str(rows[2]["context"]).index("Ann") and starts[5] == context.rindex("Bob")
    assert finding("moved-answers", made.examples, "span").rows == (2, 5)


def test_rows_that_nobody_approved_are_told() -> None:
    examples = [Example(n, Place("f", n + 1), f"text {n}", "a") for n in range(10)]
    columns = {"annotation_approver": [None if n % 5 else "ann" for n in range(10)]}
    context = AuditContext(stratified=True, lengths=None, max_tokens=None, columns=columns)
    [seen] = [one for one in run_audit(examples, context) if one.check == "unapproved-rows"]
    assert len(seen.rows) == 8 and seen.severity == "note"
