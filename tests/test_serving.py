"""Using a finished run: from any directory, on rows that cannot be used, on texts that are too long."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from kamerton.core.errors import DataError, RecipeError
from kamerton.feedback.judging import read_choices
from kamerton.runs.recipe import resolve
from kamerton.runs.run import Run
from stories import DONE, MISTAKE, QUICK, Place


def write(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def tokens_of(run: Run, text: str) -> int:
    """Count a text's tokens by transformers itself."""
    return len(AutoTokenizer.from_pretrained(run.model)(text, verbose=False)["input_ids"])


def test_a_run_works_from_any_directory(place: Place, tmp_path: Path):
    """Its data and its model were named relatively."""
    run = place.run("full")
    before = weights(run)

    def call(*arguments: object):
        ended = place.nursery.run("children:kamerton", [str(a) for a in arguments], cwd=tmp_path)
        assert ended.status == DONE, ended.said
        return ended

    here = place.call("predict", "full", "a warm film", "--json")
    assert call("predict", run.path, "a warm film", "--json").out == here.out
    assert "accuracy" in call("evaluate", run.path, place.folder / "reviews.csv").out
    call("resume", run.path)
    call("tune", run.path / "recipe.yaml", "--out", "again", "--json")
    assert weights(Run(tmp_path / "again")) == before


def weights(run: Run) -> bytes:
    return (run.model / "model.safetensors").read_bytes()


def test_each_row_of_a_file_gets_one_line_also_where_there_is_nothing_to_answer(place: Place, tmp_path: Path):
    place.run("head")
    path = tmp_path / "new.csv"
    path.write_text('text\na warm film\n\n"two\nlines"\n  \ndull and cold\n', encoding="utf-8")
    plain = place.call("predict", "head", path)
    assert plain.status == DONE, plain.said
    lines = plain.out.split("\n")
    assert [bool(line) for line in lines] == [True, False, True, False, True, False]
    assert [f"{path}:{line}: " in plain.err for line in range(2, 8)] == [False, True, False, False, True, False]
    answers = [json.loads(line) for line in place.call("predict", "head", path, "--json").out.splitlines()]
    assert [answer["id"] for answer in answers] == list(range(5))
    assert ["unusable" in answer for answer in answers] == [False, True, False, True, False]
    assert [answer["prediction"] for answer in answers] == lines[:-1]


def test_an_empty_cell_does_not_refuse_the_file(place: Place, tmp_path: Path):
    place.run("head")
    path = write(
        tmp_path / "new.csv", [("text", "note"), ("a delight", "x"), ("", "y"), ("dull", "z"), ("a", "b", "c")]
    )
    ended = place.call("predict", "head", path)
    assert ended.status == DONE, ended.said
    assert [bool(line) for line in ended.out.splitlines()] == [True, False, True, False]
    assert f"{path}:3: 'text' is empty" in ended.err
    assert f"{path}:5: has 3 cells" in ended.err


def test_a_file_without_any_row_that_can_be_used_is_a_mistake(place: Place, tmp_path: Path):
    place.run("head")
    ended = place.call("predict", "head", write(tmp_path / "new.csv", [("text", "note"), ("", "y"), (" ", "z")]))
    assert ended.status == MISTAKE
    assert f"{tmp_path / 'new.csv'}:2" in ended.err


def test_evaluate_leaves_out_what_cannot_be_scored_and_says_so(place: Place, tmp_path: Path):
    place.run("head")
    good = [("a new and kind delight", "good"), ("dull, cold and far too long", "bad")]
    whole = write(tmp_path / "whole.csv", [("text", "label"), *good])
    holes = write(tmp_path / "holes.csv", [("text", "label"), good[0], ("", "good"), good[1], ("no label", "")])
    wanted = json.loads(place.call("evaluate", "head", whole, "--json").out)
    found = json.loads(place.call("evaluate", "head", holes, "--json").out)
    assert found["metrics"] == wanted["metrics"]
    assert (wanted["rows"], wanted["left_out"], wanted["trained_on"]) == (2, [], 0)
    assert [one["place"] for one in found["left_out"]] == [f"{holes}:3", f"{holes}:5"]
    said = place.call("evaluate", "head", holes)
    assert "2 rows are left out" in said.err
    assert f"{holes}:5" in said.err
    assert place.call("evaluate", "head", whole).err == ""
    assert "строки не учтены" in place.call("evaluate", "head", holes, "--language", "ru").err


def test_evaluate_leaves_out_what_people_refused_and_predict_answers_it(place: Place, tmp_path: Path):
    place.run("head")
    rows = [
        {"text": f"word number {n}", "label": "good", "status": ("Validated", "Discarded")[n % 2]} for n in range(6)
    ]
    path = tmp_path / "marked.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = json.loads(place.call("evaluate", "head", path, "--json").out)
    assert found["rows"] == 3 and len(found["left_out"]) == 3
    assert found["left_out"][0]["reason"] == "marked as refused: 'status' is Discarded"
    assert len(place.call("predict", "head", path).out.splitlines()) == 6


def test_evaluate_says_how_many_rows_were_trained_on(place: Place, tmp_path: Path):
    run = place.run("head")
    split = run.read_split()
    rows = [(example.text.upper(), example.gold) for example in split.train[:3]]
    rows += [(example.text, example.gold) for example in split.test[:4]]
    path = write(tmp_path / "both.csv", [("text", "label"), *rows])
    assert json.loads(place.call("evaluate", "head", path, "--json").out)["trained_on"] == 3
    assert "3 of 7 rows have a text that this run was trained on" in place.call("evaluate", "head", path).err


def test_what_is_cut_is_told_with_its_place_and_its_tokens(place: Place, tmp_path: Path):
    run = place.run("head")
    long = "a warm film and a kind one " * 60
    path = write(tmp_path / "new.csv", [("text", "label"), ("a delight", "good"), (long, "good")])
    lost = tokens_of(run, long) - 128
    assert lost > 0
    ended = place.call("predict", "head", path, "--json")
    assert [json.loads(line).get("cut") for line in ended.out.splitlines()] == [None, lost]
    told = f"1 input is longer than the 128 tokens that the model takes: {path}:3 ({lost} lost)"
    assert told in ended.err
    assert told in place.call("evaluate", "head", path).err
    found = json.loads(place.call("evaluate", "head", path, "--json").out)
    assert found["cut"] == [{"place": f"{path}:3", "tokens": lost}]
    assert f"({lost} lost)" in place.call("predict", "head", long).err


def test_all_that_is_wrong_is_told_at_once_whoever_looks_at_it(place: Place, tmp_path: Path):
    wrong = ("method.rank=x", "data.max_rows=-1", "train.epocs=3", "train.optimizer=adam", "evaluate.metric=acuracy")
    settings = [word for one in wrong for word in ("--set", one)]
    ended = place.call(
        "tune", "reviews.csv", "--model", "encodr", "--method", "lora", "--task", "text-classification", *settings,
        "--out", tmp_path / "run", *QUICK,
    )  # fmt: skip
    assert ended.status == MISTAKE
    for word in ("rank", "data.max_rows", "train.epocs", "'adam'", "'acuracy'", "'encodr'"):
        assert word in ended.err, (word, ended.err)


WRONG: tuple[tuple[str, object], ...] = (
    ("split.by", "group"), ("train.epochs", -1), ("train.epochs", "many"), ("train.epochs", 0), ("train.warmup", 1),
    ("train.warmup", float("nan")), ("train.schedule", "square"), ("train", 3), ("seed", -1), ("seed", 2**40),
    ("data.max_rows", 2.5), ("remedy.names", 5), ("train.gradient_checkpointing", "maybe"), ("model.new_tokens", 5),
    ("data.columns", 3), ("remedy.strengths", [2]), ("model.name", 3), ("train.learning_rate", -1.0),
)  # fmt: skip
PYDANTIC = ("Input should", "Field required", "validation", "Value error", "a value that fits", "{'by'", "tuple[")


@pytest.mark.parametrize(("path", "value"), WRONG, ids=str)
def test_what_is_wrong_with_a_setting_is_said_in_our_own_words(path, value):
    with pytest.raises(RecipeError) as caught:
        resolve(None, {path: value})
    for fault in caught.value.faults:
        assert fault.place == path or fault.place.startswith(f"{path}.") or path.startswith(fault.place)
        assert not any(word in str(fault) for word in PYDANTIC), fault
        assert fault.remedy


def test_a_file_that_no_page_for_judging_saved_is_told_in_one_sentence(tmp_path: Path):
    path = tmp_path / "choices.json"
    path.write_text('{"a": 1}', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_choices(path)
    assert [str(fault.rule) for fault in caught.value.faults] == ["this is not what the page for judging saves"]
    path.write_text('{"schema": 1, "first": "a", "second": "b", "seed": 0, "identical": 0}', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_choices(path)
    assert [(str(fault.rule), str(fault.place)) for fault in caught.value.faults] == [
        ("this is missing", f"{path} choices")
    ]
