"""Labels as people keep them: several columns of yes and no, lists by position, placeholders, spellings, tags."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from kamerton.core.errors import DataError
from kamerton.core.records import Finding
from kamerton.pipeline.prepare import ParsedData, audit, parse_data
from kamerton.runs.recipe import resolve
from kamerton.text.label_values import find_placeholders, main_spellings
from kamerton.text.tags import in_iob2, names_of_numbers, outside_of
from stories import DONE

ROWS = range(48)


def write(folder: Path, rows: Sequence[Mapping[str, Any]], name: str = "rows.csv") -> Path:
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path: Path, **settings: object) -> ParsedData:
    return parse_data(resolve(None, {"data.path": str(path), **{n.replace("__", "."): v for n, v in settings.items()}}))


def labelled(folder: Path, labels: Sequence[str], **settings: object) -> ParsedData:
    rows = [{"text": f"a sentence number {at}", "label": labels[at % len(labels)]} for at in ROWS]
    return read(write(folder, rows), **settings)


def golds(found: ParsedData) -> set[str]:
    return {example.gold for example in found.examples}


def finding(found: ParsedData, check: str) -> Finding | None:
    return next((one for one in audit(found) if one.check == check), None)


# ── several columns of yes and no ─────────────────────────────────────────────────────────────

FLAGS = {
    "0 and 1": ("1", "0"),
    "1.0 and 0.0": ("1.0", "0.0"),
    "TRUE and FALSE": ("TRUE", "FALSE"),
    "yes and no": ("yes", "no"),
    "да и нет": ("да", "нет"),
    "t and f": ("t", "f"),
    "x and nothing": ("x", ""),
}


def flagged(names: Sequence[str], yes: str, no: str) -> list[dict[str, str]]:
    return [
        {"text": f"a sentence number {at}", **{name: yes if at >> bit & 1 else no for bit, name in enumerate(names)}}
        for at in ROWS
    ]


@pytest.mark.parametrize("words", FLAGS)
@pytest.mark.parametrize("names", [("is_spam", "is_urgent"), ("spam", "urgent", "vip"), ("спам", "срочно")])
def test_several_columns_of_yes_and_no_are_labels(tmp_path: Path, words: str, names: Sequence[str]) -> None:
    found = read(write(tmp_path, flagged(names, *FLAGS[words])))
    assert found.recipe.data.task == "multi-label"
    assert [json.loads(example.gold) for example in found.examples[:4]] == [
        [],
        [names[0]],
        [names[1]],
        sorted(names[:2]),
    ]
    assert f"columns that are a label each: {', '.join(names)}" in str(found.reason)


def test_a_column_named_label_is_the_label_and_the_flags_beside_it_are_told(tmp_path: Path) -> None:
    found = read(write(tmp_path, flagged(("label", "is_urgent"), "1", "0")))
    assert (found.recipe.data.task, golds(found)) == ("text-classification", {"0", "1"})
    assert "not used: is_urgent" in str(found.reason)


def test_one_of_several_columns_of_yes_and_no_is_never_taken_by_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, flagged(("toxic", "insult"), "1", "0"))
    with pytest.raises(DataError, match="2 columns say yes or no") as error:
        read(path, data__task="text-classification")
    assert "`--columns label=insult`" in str(error.value) and "labels=toxic|insult" in str(error.value)
    assert golds(read(path, data__columns={"label": "insult"})) == {"0", "1"}


def test_columns_that_always_say_no_are_told(tmp_path: Path) -> None:
    rows = [{**row, "threat": "0", "hate": "0"} for row in flagged(("toxic",), "1", "0")]
    found = read(write(tmp_path, rows))
    assert found.recipe.data.columns == {"text": "text", "labels": "toxic|threat|hate"}
    assert "never true in the first rows: threat, hate" in str(found.reason)
    absent = finding(found, "absent-labels")
    assert absent is not None and str(absent.title) == "2 labels that no row has: 'threat', 'hate'"


@pytest.mark.parametrize("first", ["toxicity", "anger"])
def test_shares_of_people_are_asked_about(tmp_path: Path, first: str) -> None:
    rows = [{"text": f"a sentence number {at}", first: at % 10 / 10, "insult": at % 7 / 10} for at in ROWS]
    with pytest.raises(DataError, match="2 columns hold shares from 0 to 1") as error:
        read(write(tmp_path, rows))
    assert f"--task regression --columns text=text,number={first}" in str(error.value)


# ── lists of 0 and 1 ──────────────────────────────────────────────────────────────────────────

POSITIONS: dict[str, Callable[[Sequence[int]], str]] = {
    "Python": lambda bits: str(list(bits)),
    "numpy": lambda bits: f"[{' '.join(map(str, bits))}]",
    "numpy floats": lambda bits: f"[{' '.join(f'{bit}.' for bit in bits)}]",
    "torch": lambda bits: f"tensor({list(bits)})",
    "truths": lambda bits: str([bool(bit) for bit in bits]),
    "spaces": lambda bits: " ".join(map(str, bits)),
    "commas": lambda bits: ",".join(map(str, bits)),
}


@pytest.mark.parametrize("way", POSITIONS)
@pytest.mark.parametrize("column", ["labels", "target", "метки"])
def test_lists_of_0_and_1_are_labels_by_position(tmp_path: Path, way: str, column: str) -> None:
    bits = [[at & 1, at >> 1 & 1, at >> 2 & 1, 0] for at in ROWS]
    rows = [{"text": f"a text{' again' * (at % 3)} {at}", column: POSITIONS[way](bits[at])} for at in ROWS]
    found = read(write(tmp_path, rows))
    assert found.recipe.data.task == "multi-label"
    assert [example.gold for example in found.examples[:2]] == ["[]", '["LABEL_0"]']
    assert "4 labels by position" in str(found.reason) and "never true in the first rows: LABEL_3" in str(found.reason)
    named = read(write(tmp_path, rows), task__names="a,b,c,d")
    assert named.examples[3].gold == '["a", "b"]'


def test_numbers_of_labels_are_not_taken_for_positions(tmp_path: Path) -> None:
    rows = [{"text": f"a sentence number {at}", "labels": str([[0], [1], [0, 1]][at % 3])} for at in ROWS]
    assert golds(read(write(tmp_path, rows))) == {'["0"]', '["1"]', '["0", "1"]'}
    rows = [{"text": f"a sentence number {at}", "labels": str([at % 10 / 10, 0.5])} for at in ROWS]
    with pytest.raises(DataError, match="a list of labels holds a share"):
        read(write(tmp_path, rows))


# ── values of labels ──────────────────────────────────────────────────────────────────────────

DROPPED = [
    (("0.0", "1.0", "nan", "None", "NULL", "NaN"), {"0.0", "1.0"}),
    (("entailment", "neutral", "-"), {"entailment", "neutral"}),
    (("хорошо", "плохо", "—", "#Н/Д", "#ЗНАЧ!"), {"хорошо", "плохо"}),
    (("good", "bad", "#REF!", "#NAME?", "########"), {"good", "bad"}),
    (("yes", "no", "null", "<NA>"), {"yes", "no"}),
    (("True", "False", "None"), {"True", "False"}),
]
MEANT = [("+", "-"), ("да", "нет"), ("A+", "A-", "B"), ("-1", "1"), ("C", "C++"), ("01", "1", "001"), ("red", "other")]
DOUBTED = [
    (("pos", "neg", "None"), "severe"),
    (("pos", "neg", "N/A"), "severe"),
    (("spam", "ham", "?"), "severe"),
    (("хорошо", "плохо", "нет данных"), "severe"),
    (("0", "1", "2", "-1"), "severe"),
    (("1", "2", "-"), "severe"),
    (("favor", "against", "none"), "warning"),
    (("Favor", "Against", "None"), "warning"),
    (("хорошо", "плохо", "нет"), "warning"),
    (("0", "1", "-1"), "note"),
]


@pytest.mark.parametrize(("labels", "classes"), DROPPED)
def test_placeholders_are_no_classes_and_their_rows_are_told(
    tmp_path: Path, labels: Sequence[str], classes: set[str]
) -> None:
    found = labelled(tmp_path, labels)
    assert golds(found) == classes
    assert len(found.examples) + len(found.left_out) == len(ROWS)
    assert {str(entry.reason) for entry in found.left_out} == {
        f"its label '{label}' is a placeholder: the row has no label" for label in {*labels} - classes
    }
    assert f"{len(classes)} different labels" in str(found.reason)
    assert golds(labelled(tmp_path, labels, data__placeholders="keep")) == {*labels}


@pytest.mark.parametrize("labels", MEANT)
def test_labels_that_only_look_like_placeholders_or_spellings_stay(tmp_path: Path, labels: Sequence[str]) -> None:
    found = labelled(tmp_path, labels)
    assert golds(found) == {*labels}
    assert finding(found, "placeholder-labels") is finding(found, "label-spellings") is None


@pytest.mark.parametrize(("labels", "severity"), DOUBTED)
def test_what_may_be_a_placeholder_is_kept_and_told(tmp_path: Path, labels: Sequence[str], severity: str) -> None:
    found = labelled(tmp_path, labels)
    assert golds(found) == {*labels}
    doubted = finding(found, "placeholder-labels")
    assert doubted is not None and (doubted.severity, len(doubted.rows)) == (severity, len(ROWS) // len(labels))
    assert f"'{labels[-1]}'" in str(doubted.title)


def test_a_placeholder_depends_on_the_labels_beside_it() -> None:
    assert find_placeholders({"1", "2", "none"}).none == {"none"}
    assert not find_placeholders({"sport", "art", "none"}).none
    assert find_placeholders(set()).none == set()


SPELLINGS = [
    ({"TRUE": 3, "True": 5, "true": 4, "False": 9}, {"TRUE": "True", "true": "True"}),
    ({"1": 9, "1.0": 3, "1,0": 2, "0": 4}, {"1.0": "1", "1,0": "1"}),
    ({"good": 9, "good\u200b": 1, "Good ": 2, "go\u00adod": 1},
     dict.fromkeys(("good\u200b", "Good ", "go\u00adod"), "good")),
    ({"ёлка": 2, "елка": 3, "Ёлка": 1}, {"ёлка": "елка", "Ёлка": "елка"}),
    ({"very good": 4, "very-good": 1, "very_good": 1, "very\u00a0good": 1, "very\u2011good": 1},
     dict.fromkeys(("very-good", "very_good", "very\u00a0good", "very\u2011good"), "very good")),
    ({"хорошо": 5, "xopoшo": 1, "A": 4, "А": 2}, {"xopoшo": "хорошо", "А": "A"}),
    ({'"good"': 1, "good.": 1, "good": 2}, {'"good"': "good", "good.": "good"}),
    ({"1": 4, "0": 4, "yes": 1, "FALSE": 1}, {"yes": "1", "FALSE": "0"}),
    ({"01": 1, "1": 1, "-1": 1, "C": 1, "C++": 1, "C#": 1, "yes": 1, "no": 1, "A+": 1, "A-": 1, "1-2": 1, "12": 1}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("counts", "main"), SPELLINGS)
def test_spellings_of_one_label_are_mapped_to_the_commonest(counts: dict[str, int], main: dict[str, str]) -> None:
    assert main_spellings(counts) == main


def test_spellings_are_severe_and_name_the_rows(tmp_path: Path) -> None:
    found = finding(
        labelled(tmp_path, ("Positive", "negative", "positive", "negative ", "positive")), "label-spellings"
    )
    assert found is not None and found.severity == "severe" and "--fix" in str(found.remedy)
    assert "'positive' 19 = 'Positive' 10" in str(found.title) and len(found.rows) == 10


def test_labels_that_training_never_saw_are_severe_before_training(tmp_path: Path) -> None:
    sides = (("train", ("neg", "pos")), ("test", ("Neg", "Pos", "mixed")))
    for name, labels in sides:
        rows = [{"text": f"{name} sentence {at}", "label": labels[at % len(labels)]} for at in ROWS]
        write(tmp_path, rows, f"{name}.csv")
    unseen = finding(read(tmp_path), "unseen-labels")
    assert unseen is not None and unseen.severity == "severe"
    assert "48 of 48 tested rows have labels" in str(unseen.title) and "'Neg' 16" in str(unseen.title)
    assert "'Neg' = 'neg', 'Pos' = 'pos'" in str(unseen.remedy)


def test_evaluate_tells_labels_that_the_run_never_saw(place: Any, tmp_path: Path) -> None:
    run = place.run("full")
    label = run.read_split().train[0].gold
    rows = [{"text": f"a new review {at}", "label": one} for at, one in enumerate((label, label.upper(), "awful", "-"))]
    path = write(tmp_path, rows)
    ended = place.call("evaluate", "full", path)
    assert ended.status == DONE
    assert (
        f"2 labels were never trained on, so every such row counts as wrong: '{label.upper()}' 1 (= '{label}'?)"
        in ended.err
    )
    assert "'awful' 1" in ended.err and "1 row is left out" in ended.err
    assert json.loads(place.call("evaluate", "full", path, "--json").out)["unknown_labels"] == {
        label.upper(): 1,
        "awful": 1,
    }


# ── tags ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("outside", ["0", "o", "OUT", "_", "-", "OTHER", "", "О", "X1"])
def test_the_tag_outside_of_spans_is_found(tmp_path: Path, outside: str) -> None:
    rows = [
        {"tokens": ["Ann", "Ray", "is", "in", f"town{at}"], "tags": ["B-PER", "I-PER", *[outside] * 3]} for at in ROWS
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = read(path)
    assert golds(found) == {'["B-PER", "I-PER", "O", "O", "O"]'}
    assert f"the tag '{outside}' is read as O" in str(found.reason)


def test_numbers_without_names_are_read_by_how_they_follow_each_other(tmp_path: Path) -> None:
    rows = [{"tokens": ["Ann", "Ray", "in", f"town{at}", "now"], "ner_tags": [1, 2, 0, 3, 0]} for at in ROWS]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = read(path)
    assert golds(found) == {'["B-1", "I-1", "O", "B-3", "O"]'}
    assert "numbers without names, read as O, B-1, I-1, B-3" in str(found.reason)
    assert golds(read(path, task__names="O,B-PER,I-PER,B-LOC")) == {'["B-PER", "I-PER", "O", "B-LOC", "O"]'}


def test_tags_of_other_schemes() -> None:
    assert outside_of(Counter({"NOUN": 5, "VERB": 4, "X": 2})) is None
    assert outside_of(Counter({"other": 9, "PER": 2})) == "other"
    assert outside_of(Counter({"O": 9, "0": 1, "B-PER": 2})) == "0"
    assert names_of_numbers([["0", "1", "1", "0", "0"]]) is None  # the same number goes on: a bare kind
    assert names_of_numbers([["5", "0", "5", "5"]]) is None
    assert in_iob2(["O", "B_PER", "I_PER"]) == in_iob2(["O", "b-PER", "i-PER"]) == ["O", "B-PER", "I-PER"]
    assert in_iob2(["B:PER", "M:PER", "E:PER", "W:LOC"]) == ["B-PER", "I-PER", "I-PER", "B-LOC"]
    assert in_iob2(["O", "B", "I", "O"]) == ["O", "B-entity", "I-entity", "O"]


# ── what the user says is taken ───────────────────────────────────────────────────────────────


def test_what_the_user_says_is_taken(tmp_path: Path) -> None:
    words = cycle(("boats", "trains", "lamps"))
    rows = [{"document": f"One. Two. Three. Number {at}.", "summary": next(words), "stars": at % 5} for at in ROWS]
    path = write(tmp_path, rows)
    assert str(read(path, data__task="summarization").reason).startswith("as you said")
    stars = read(path, data__columns={"text": "document", "number": "stars"})
    assert stars.recipe.data.task == "regression"
    assert read(path, data__columns={"text": "document", "summary": "summary"}).recipe.data.task == "summarization"
    long = [{"text": f"a text {at}", "label": f"{'a long label ' * 9}{at}"} for at in ROWS]
    assert str(read(write(tmp_path, long), data__task="text-classification").reason) == "as you said"


def test_what_no_row_can_be_read_as_is_refused_with_the_first_row(tmp_path: Path) -> None:
    path = write(tmp_path, [{"text": f"a text {at}", "label": "warm"} for at in ROWS])
    with pytest.raises(
        DataError, match=r"no row can be read as regression .*rows.csv:2: 'warm' is not a number"
    ) as error:
        read(path, data__task="regression")
    assert "--task regression --columns" not in str(error.value)
    same = read(write(tmp_path, [{"text": f"a text {at}", "score": 3} for at in ROWS]), data__task="regression")
    found = finding(same, "absent-labels")
    assert found is not None and found.severity == "severe" and "the same number, 3" in str(found.title)
