"""The commands: exit statuses, messages without a traceback, and what each of them prints."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kamerton.core.message_json import without_templates
from kamerton.core.records import Stage
from kamerton.evaluate.temperature import at_temperature
from kamerton.runs.run import Run
from kamerton.session.new_run import new_run
from kamerton.tune import story
from stories import DONE, MISTAKE, QUICK, RUNS, UNMET, USAGE, wait_for, weights_of

# ── exit statuses ─────────────────────────────────────────────────────────────────────────────

ENCODED = ("--model", "encoder", "--method", "head")
MISTAKES = {
    "a file that is not there": (("tune", "nowhere.csv", *ENCODED), "nowhere.csv"),
    "a column that is not there": (("tune", "reviews.csv", *ENCODED, "--columns", "text=review"), "review"),
    "an unknown role": (("tune", "reviews.csv", *ENCODED, "--columns", "txt=text"), "txt"),
    "an unknown model": (("tune", "reviews.csv", "--model", "minilmm"), "minilm"),
    "an unknown method": (("tune", "reviews.csv", "--model", "encoder", "--method", "lorra"), "did you mean 'lora'"),
    "an unknown task": (("tune", "reviews.csv", *ENCODED, "--task", "text-clasification"), "text-classification"),
    "an unknown knob": (("tune", "reviews.csv", *ENCODED, "--set", "method.rank=4"), "rank"),
    "a wrong knob": (("tune", *RUNS["lora"], "--set", "method.rank=0"), "rank"),
    "an unknown setting": (("tune", "reviews.csv", *ENCODED, "--set", "train.epoch=3"), "epochs"),
    "an unknown group": (("tune", "reviews.csv", *ENCODED, "--set", "trian.epochs=3"), "trian"),
    "a group as a value": (("tune", "reviews.csv", *ENCODED, "--set", "train=3"), "train"),
    "a wrong value": (("tune", "reviews.csv", *ENCODED, "--set", "train.epochs=many"), "train.epochs"),
    "a negative rate": (("tune", "reviews.csv", *ENCODED, "--learning-rate", "-1"), "train.learning_rate"),
    "an assignment without =": (("tune", "reviews.csv", *ENCODED, "--set", "train.epochs"), "group.field=value"),
    "an unknown metric": (("tune", "reviews.csv", *ENCODED, "--set", "evaluate.metric=acuracy"), "accuracy"),
    "an encoder that shall write": (("tune", "answers.jsonl", *ENCODED), "decoder"),
    "a kind of model that no task takes": (("tune", *ENCODED, "reviews.csv", "--model", "seq2seq"), "seq2seq"),
    "a folder of models that is none": (("tune", "reviews.csv", "--model", "."), "contains some: decoder, encoder"),
    "a recipe that is not there": (("tune", "recipe.yaml"), "recipe.yaml"),
    "an output under a file": (("tune", "reviews.csv", *ENCODED, "--out", "reviews.csv/run"), "reviews.csv"),
    "an output that is a file": (("tune", "reviews.csv", *ENCODED, "--out", "answers.jsonl"), "answers.jsonl"),
    "rows that are all too long": (
        ("tune", "reviews.csv", *ENCODED, "--set", "model.max_tokens=4", "--set", "data.too_long=refuse"), "too long",
    ),
    "a run that is not there": (("resume", "nowhere"), "nowhere"),
    "no run to predict with": (("predict", "nowhere", "text"), "nowhere"),
    "no run to report": (("report", "nowhere"), "nowhere"),
    "one run to compare": (("compare", "head"), "two runs or more"),
    "data that is not there": (("evaluate", "head", "nowhere.csv"), "nowhere.csv"),
    "data of another task": (("evaluate", "head", "answers.jsonl"), "text"),
    "an empty text": (("predict", "head", " "), "empty"),
    "an unknown model to get": (("models", "get", "minilmm"), "minilm"),
    "an unknown task to choose a model for": (("models", "--task", "text-clasification"), "text-classification"),
    "a language that no model knows": (("models", "--texts", "russia"), "'russia'"),
    "a licence that no model has": (("models", "--licence", "Apache"), "Apache-2.0"),
    "a file to show that is not there": (("show", "nowhere.csv", "--model", "encoder"), "nowhere.csv"),
    "a file to audit that is not there": (("audit", "nowhere.csv"), "nowhere.csv"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_users_mistake_is_told_with_its_remedy_and_no_traceback(place, mistake, tmp_path):
    arguments, told = MISTAKES[mistake]
    if "head" in arguments[:2]:
        place.run("head")
    if arguments[0] == "tune" and "--out" not in arguments:
        arguments = (*arguments, "--out", str(tmp_path / "run"))
    ended = place.call(*arguments)
    assert ended.status == MISTAKE, ended.said
    assert "Traceback" not in ended.err
    assert ended.err.startswith("kamerton: ")
    assert told in ended.err
    assert "→" in ended.err


def test_all_mistakes_are_told_at_once(place, tmp_path):
    wrong = ("--set", "train.epochs=-1", "--set", "train.batch_size=0", "--set", "split.test=2")
    ended = place.call("tune", "reviews.csv", *ENCODED, *wrong, "--out", tmp_path / "run")
    assert ended.status == MISTAKE
    assert all(name in ended.err for name in ("train.epochs", "train.batch_size", "split.test"))


def test_a_mistake_mended_can_be_run_in_the_same_folder(place, tmp_path):
    out = ("--out", tmp_path / "run", "--json", *QUICK)
    wrong = place.call("tune", "reviews.csv", "--model", "encoder", "--method", "headd", *out)
    assert wrong.status == MISTAKE
    right = place.start("tune", "reviews.csv", "--model", "encoder", "--method", "head", "--epochs", "1", *out)
    wait_for(right, (tmp_path / "run" / "model").exists)
    assert not right.has_ended, right.wait().said
    right.kill()
    right.wait()


def test_a_run_is_never_written_over(place):
    before = weights_of(place.run("head"))
    ended = place.call("tune", *RUNS["full"], "--out", "head")
    assert ended.status == MISTAKE
    assert "already holds a run" in ended.err
    assert weights_of(place.run("head")) == before


USAGES = (
    ("tune",),
    ("tune", "reviews.csv", "--epoch", "3"),
    ("tune", "reviews.csv", "--epochs", "three"),
    ("tune", "reviews.csv", "--require", "shipping"),
    ("tune", "reviews.csv", "--columns", "text"),
    ("models", "get"),
    ("models", "fetch", "minilm"),
    ("models", "--memory", "much"),
    ("show", "reviews.csv", "--rows", "0"),
    ("tunes", "reviews.csv"),
)


@pytest.mark.parametrize("arguments", USAGES, ids=" ".join)
def test_wrong_usage_has_its_own_status(place, arguments):
    ended = place.call(*arguments)
    assert ended.status == USAGE, ended.said
    assert "Traceback" not in ended.err


def test_a_demand_that_is_not_met_has_its_own_status(place):
    """The model has learnt nothing in its few updates, and the classic contender nearly all."""
    run = place.run("labels")
    ended = place.told["labels"]
    assert ended.status == UNMET
    assert json.loads(ended.out) == without_templates(run.result)
    assert run.result["verdict"]["decision"] != "ship"


# ── the other commands ────────────────────────────────────────────────────────────────────────


def test_one_text_a_file_and_lines_get_the_same_answers(place, tmp_path):
    run = place.run("full")
    test = run.read_split().test
    texts = [example.text for example in test]
    with (tmp_path / "new.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text",), *((text,) for text in texts)])
    from_file = place.call("predict", "full", tmp_path / "new.csv", "--json")
    from_lines = place.call("predict", "full", "-", "--json", stdin="\n".join(texts) + "\n\n")
    answers = [json.loads(line) for line in from_file.out.splitlines()]
    assert answers == [json.loads(line) for line in from_lines.out.splitlines()]
    tuned = next(item for item in run.read_answers() if item.kind == "tuned")
    assert [answer["prediction"] for answer in answers] == [p.text for p in tuned.predictions]
    scores = [at_temperature(prediction, run.temperature).score for prediction in tuned.predictions]
    assert [answer["score"] for answer in answers] == pytest.approx(scores, abs=1e-5)
    assert place.call("predict", "full", texts[0]).out == f"{answers[0]['prediction']}\n"


def test_more_lines_than_are_answered_at_once_keep_their_numbers(place):
    place.run("head")
    ended = place.call("predict", "head", "-", "--json", stdin="A warm film.\n\n" * 1100)
    assert [json.loads(line)["id"] for line in ended.out.splitlines()] == list(range(1100))


@pytest.mark.parametrize("text", ["Тёплый и смешной фильм. " * 40, "a\x00b", "-5", "../..", "{}", "[TEXT]"])
def test_any_text_is_answered(place, text):
    place.run("head")
    ended = place.call("predict", "head", "--", text) if text.startswith("-") else place.call("predict", "head", text)
    assert ended.status == DONE, ended.said
    assert ended.out.strip() in ("good", "bad")


def test_requests_are_answered_in_writing(place):
    place.run("answers")
    ended = place.call("predict", "answers", "Назови число 5.", "--json")
    assert ended.status == DONE, ended.said
    answer = json.loads(ended.out)
    silent = () if answer["prediction"] else ("loss",)  # where nothing is written, its likelihood stands for it
    assert answer.keys() == {"id", "prediction", "score", *silent}


def test_other_data_is_scored_by_the_same_metrics(place, tmp_path):
    run = place.run("full")
    with (tmp_path / "other.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(example.text, example.gold) for example in run.read_split().test]
        csv.writer(file).writerows([("text", "label"), *rows])
    ended = place.call("evaluate", "full", tmp_path / "other.csv", "--json")
    assert ended.status == DONE, ended.said
    metrics = json.loads(ended.out)["metrics"]
    [tuned] = [item for item in run.result["contenders"] if item["kind"] == "tuned"]
    assert {name: m["value"] for name, m in metrics.items()} == pytest.approx(
        {name: m["value"] for name, m in tuned["metrics"].items()}
    )
    plain = place.call("evaluate", "full", tmp_path / "other.csv")
    assert "accuracy" in plain.out


def test_runs_on_the_same_rows_are_compared_in_pairs(place):
    for name in ("full", "head", "answers"):
        place.run(name)
    ended = place.call("compare", "full", "head", "--first", "--json")
    assert ended.status == DONE, ended.said
    [pair] = json.loads(ended.out)["pairs"]
    first, second = (
        next(c for c in place.run(name).result["contenders"] if c["kind"] == "tuned")["metrics"]
        for name in ("full", "head")
    )
    name = place.run("full").result["primary_metric"]
    assert pair["comparison"]["difference"] == pytest.approx(first[name]["value"] - second[name]["value"])
    table = place.call("compare", "full", "head")
    assert table.status == DONE
    assert "detectable from" in table.out
    orders = (("full", "head"), ("head", "full"))
    statuses = [place.call("compare", *order, "--require", "ship").status for order in orders]
    assert UNMET in statuses
    assert set(statuses) <= {DONE, UNMET}
    other = place.call("compare", "full", "answers")
    assert other.status == MISTAKE
    assert "Traceback" not in other.err


def test_training_repeated_with_other_seeds_counts_in_the_verdict_and_is_not_done_twice(place):
    settings = ("--model", "encoder", "--method", "head", "--epochs", "1", "--seed", "5", "--seeds", "3", *QUICK)
    ended = place.call("tune", "reviews.csv", *settings, "--out", "seeded")
    assert ended.status == DONE, ended.said
    run = Run(place.folder / "seeded")
    seeds = run.result["verdict"]["seeds"]
    repeats = [place.folder / "seeded" / "seeds" / seed for seed in ("6", "7")]
    assert [path.name for path in sorted((run.path / "seeds").iterdir())] == ["6", "7"]
    assert len({weights_of(path) for path in (run.path, *repeats)}) == 3
    tuned = next(c for c in run.result["contenders"] if c["kind"] == "tuned")["metrics"][run.result["primary_metric"]]
    assert seeds["scores"][0] == pytest.approx(tuned["value"])
    assert seeds["mean"] == pytest.approx(sum(seeds["scores"]) / 3)
    assert "over 3 seeds" in run.result["verdict"]["reason"]
    before = (run.path / "result.json").read_bytes(), weights_of(repeats[1])
    (repeats[1] / "predictions.parquet").unlink()
    (run.path / "result.json").unlink()
    shipped = json.loads(before[0])["verdict"]["decision"] == "ship"
    assert place.call("resume", "seeded", "--require", "ship").status == (DONE if shipped else UNMET)
    assert weights_of(repeats[1]) == before[1]
    assert run.result["verdict"] == json.loads(before[0])["verdict"]
    assert place.call("compare", "seeded", "seeded/seeds/6").status == DONE


def test_the_seeds_of_a_run_share_what_is_frozen_and_it_goes_with_the_result(place):
    settings = {"model.name": str(place.folder / "encoder"), "method.name": "head", "train.epochs": 1.0, "seeds": 2}
    run = new_run(place.folder / "reviews.csv", place.folder / "shared-work", settings)
    kept = {}
    for told in story(run):
        if isinstance(told, Stage) and told.name in ("train", "seeds"):
            kept[told.name] = {path.name: path.stat().st_ino for path in run.cache.iterdir()}
    assert kept["seeds"] == kept["train"]
    assert [Path(name).suffix for name in sorted(kept["train"])] == [".about", ".states"]
    assert not run.cache.exists()


def test_what_the_model_gets_is_shown(place):
    ended = place.call("show", "answers.jsonl", "--model", "decoder", "--rows", "2", "--json")
    assert ended.status == DONE, ended.said
    first, second = json.loads(ended.out)
    trained = "".join(token["token"] for token in first["tokens"] if token["trained"])
    assert trained == "0<|im_end|>"
    assert "Назови" in "".join(token["token"] for token in second["tokens"])
    assert place.call("show", "reviews.csv", "--model", "encoder").status == DONE


def test_a_row_that_is_left_out_is_shown_as_such_and_not_as_taught(place):
    ended = place.call("show", "reviews.csv", "--model", "encoder", "--rows", "100", "--json")
    rows = json.loads(ended.out)
    assert [number for number, row in enumerate(rows) if row["warnings"]] == [90, 91, 92]
    assert not rows[91]["targets"] and not any(token["trained"] for token in rows[91]["tokens"])
    assert rows[91]["warnings"] == ["dropped: exact duplicates"] and rows[4]["targets"]
    drawn = place.call("show", "reviews.csv", "--model", "encoder", "--rows", "100").out
    assert re.search(r"^reviews.csv:95: left out: .*cells", drawn, re.MULTILINE), drawn
    assert ":95" not in place.call("show", "reviews.csv", "--model", "encoder", "--rows", "3").out


def test_the_audit_names_the_command_that_mends_with_the_flags_that_were_given(place):
    given = ("--task", "text-classification", "--columns", "text=text,label=label", "--model", "encoder",
             "--set", "split.test=0.2")  # fmt: skip
    last = place.call("audit", "reviews.csv", *given).out.splitlines()[-1]
    assert last.split("  ")[2].strip() == f"kamerton audit reviews.csv {' '.join(given)} --fix"


def test_the_audit_names_no_command_that_mends_where_nothing_can_be_mended(place):
    (place.folder / "clean.csv").write_text("text,label\n" + "".join(f"{a},{b}\n" for a, b in zip(
        (f"row number {word}" for word in "abcdefghijklmnopqrst"), ["good", "bad"] * 10, strict=True)))  # fmt: skip
    ended = place.call("audit", "clean.csv")
    assert ended.status == DONE and "severe" in ended.out and "--fix" not in ended.out


def test_a_reason_of_many_rows_is_told_once_with_their_places(place):
    lines = ["a,b", *(f"text {n},good,!" if n % 2 else f"text {n},bad" for n in range(40))]
    (place.folder / "torn.csv").write_text("text,label\n" + "\n".join(lines[1:]) + "\n", encoding="utf-8")
    told = place.call("audit", "torn.csv", "--task", "text-classification", "--columns", "text=text,label=label").out
    [line] = [line for line in told.splitlines() if "torn.csv:3, torn.csv:5" in line]
    assert line.endswith("torn.csv:11 and 15 more"), told


def test_the_audit_finds_what_was_put_in(place):
    ended = place.call("audit", "reviews.csv", "--json")
    assert ended.status == DONE, ended.said
    rows = {finding["check"]: set(finding["rows"]) for finding in json.loads(ended.out)["findings"]}
    assert any({90} <= found for found in rows.values())
    assert any({91, 92} <= found for found in rows.values())
    assert "reviews.csv:95" in place.call("audit", "reviews.csv", "--model", "encoder").out


def test_the_report_can_be_written_anew(place):
    run = place.run("head")
    (run.path / "report.html").unlink()
    ended = place.call("report", "head")
    assert ended.status == DONE, ended.said
    assert (place.folder / ended.out.strip()).is_file()


def test_the_models_are_listed(place):
    ended = place.call("models", "--json")
    assert ended.status == DONE, ended.said
    assert {item["model"]["name"] for item in json.loads(ended.out)} == {"minilm", "smollm2", "e5-small"}


def test_models_are_chosen_by_task_language_licence_and_memory(place):
    asked = ("models", "--task", "instruction", "--licence", "commercial", "--memory", "24GB")
    items = json.loads(place.call(*asked, "--texts", "ru", "--json").out)
    assert items[0]["name"].startswith("Vikhrmodels/") and all(item["peak_bytes"] <= 24 << 30 for item in items)
    assert {item["commercial"] for item in items} <= {"yes", "conditions"}
    told = place.call(*asked, "--texts", "Russian")
    assert told.status == DONE and told.out.startswith(f"{items[0]['name']}: qlora, about ")
    typed = place.call(*asked, "--language", "ru").out  # the language of the reader is then that of the texts
    assert (
        typed.startswith(f"{items[0]['name']}: qlora, около ")
        and "SmolLM" not in typed
        and "SmolLM" in place.call(*asked).out
    )
    assert "None fits into" in place.call("models", "--memory", "100MB").out


def test_the_module_is_the_command(place):
    """In a process that nothing has prepared."""
    place.run("head")
    command = [sys.executable, "-m", "kamerton", "predict", "head", "A warm film."]
    child = subprocess.run(command, cwd=place.folder, capture_output=True, text=True, check=False)
    assert (child.returncode, child.stderr) == (DONE, "")
    assert child.stdout.strip() in ("good", "bad")


def test_no_output_of_a_pipe_that_closed_is_no_fault(place, tmp_path):
    """As in `kamerton predict RUN FILE | head -1`."""
    place.run("head")
    (tmp_path / "many.txt").write_text("A warm film.\n" * 3000, encoding="utf-8")
    script = f"{sys.executable} -m kamerton predict head - < {tmp_path}/many.txt | head -1; exit ${{PIPESTATUS[0]}}"
    child = subprocess.run(["bash", "-c", script], cwd=place.folder, capture_output=True, text=True, check=False)
    assert child.stdout.strip() in ("good", "bad")
    assert child.stderr == ""
