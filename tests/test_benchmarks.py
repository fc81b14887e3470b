"""Benchmark tasks of the evaluation harness: the harness's own figures, paired, from a local task, off line."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from kamerton.core import registry
from kamerton.core.errors import RecipeError
from kamerton.core.records import Encoded
from kamerton.forgetting.benchmarks import benchmark_changes, find_tasks, load_tasks, take_benchmarks
from kamerton.forgetting.decide import POINTS, Precision
from stories import DONE, MISTAKE, QUICK, USAGE, Place
from tiny_engines import TEXT, tiny_engine

INSTALLED = importlib.util.find_spec("lm_eval") is not None
needs_harness = pytest.mark.skipif(not INSTALLED, reason="lm-eval is not installed: pip install 'kamerton[benchmarks]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SAMPLES = [Encoded(tuple(range(5, 5 + n)), (0,), (0,)) for n in (4, 6, 9)]
TASK = """
task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
PLAIN = """
task: plain
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{question}}}}"
metric_list:
  - {{metric: word_perplexity}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Tasks of sums, in files."""
    here = tmp_path_factory.mktemp("tasks")
    rows = [
        {"question": f"{i} and {i} are?", "choices": [str(2 * i), f"{i} {i} {i}"], "answer": i % 2} for i in range(12)
    ]
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name, task in (("sums", TASK), ("plain", PLAIN)):
        (here / f"{name}.yaml").write_text(task.format(rows=here / "rows.jsonl"), encoding="utf-8")
    return here


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """The library of data sets keeps what it read elsewhere."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture(scope="module")
def speaker(decoder_folder):
    return tiny_engine(decoder_folder, TEXT, SAMPLES)


@needs_harness
def test_scores_are_those_of_the_model_asked_by_hand(folder, speaker, own_cache):
    [scores] = take_benchmarks(speaker, load_tasks([str(folder / "sums.yaml")]), rows=7)
    assert (scores.name, scores.limits) == ("sums: acc", POINTS)
    assert scores.weights.tolist() == [1] * 7
    for i, right in enumerate(scores.sums):
        prompt = speaker.tokenizer(f"Question: {i} and {i} are?\nAnswer:")["input_ids"]
        items = []
        for choice in (str(2 * i), f"{i} {i} {i}"):
            whole = speaker.tokenizer(f"Question: {i} and {i} are?\nAnswer: {choice}")["input_ids"]
            reads = range(len(prompt) - 1, len(whole) - 1)
            items.append(Encoded(tuple(whole), tuple(reads), tuple(whole[len(prompt) :])))
        assert right == (int(np.argmin(speaker.losses(items))) == i % 2)


@needs_harness
def test_perplexity_is_compared_as_nats_a_word_and_does_not_decide(folder, speaker, own_cache):
    [scores] = take_benchmarks(speaker, load_tasks([str(folder / "plain.yaml")]), rows=5)
    assert scores.weights.tolist() == [4] * 5 and scores.limits is None
    assert (scores.sums > 0).all() and scores.name == "plain: word_perplexity, nats each"


@needs_harness
def test_a_model_against_itself_changes_in_nothing(folder, speaker, own_cache):
    tasks = [str(folder / "sums.yaml"), str(folder / "plain.yaml")]
    before, after = (take_benchmarks(speaker, load_tasks(tasks), rows=12) for _ in range(2))
    for one in benchmark_changes(before, after, Precision(0.95, 200, 0)):
        assert one.change.change == one.change.low == one.change.high == 0


@needs_harness
def test_what_is_no_task_is_told_before_anything_begins_all_at_once(folder):
    with pytest.raises(RecipeError) as caught:
        find_tasks(["arc_eassy", str(folder / "sums.yaml"), "arc_easy", "none.yaml"])
    assert [str(fault.rule) for fault in caught.value.faults] == [
        "there is no benchmark task 'arc_eassy'",
        "there is no benchmark task 'none.yaml'",
    ]
    assert "arc_easy" in str(caught.value.faults[0].remedy)


@needs_harness
def test_a_file_without_a_task_or_without_its_rows_is_refused_with_its_name(tmp_path, own_cache):
    (tmp_path / "bare.yaml").write_text("some: thing\n", encoding="utf-8")
    (tmp_path / "lost.yaml").write_text(TASK.format(rows=tmp_path / "nowhere.jsonl"), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_tasks([str(tmp_path / "bare.yaml"), str(tmp_path / "lost.yaml")])
    no_task, no_rows = (str(fault.rule) for fault in caught.value.faults)
    assert "is not a benchmark task" in no_task and "bare.yaml" in no_task
    assert "are not available" in no_rows and "lost.yaml" in no_rows


@needs_harness
def test_tune_asks_benchmarks_before_and_after_and_reports_them(place: Place, folder):
    ended = place.call(
        "tune", "answers.jsonl", "--model", "decoder", "--method", "lora", "--epochs", "1", *QUICK,
        "--benchmarks", str(folder / "sums.yaml"), "--set", "evaluate.forgetting=off", "--out", "benchmarked",
    )  # fmt: skip
    assert ended.status == DONE, ended.said
    found = json.loads((place.folder / "benchmarked" / "result.json").read_text("utf-8"))["forgetting"]
    [measured] = found["measured"]
    assert measured["name"] == "sums: acc" and found["decision"] in ("none", "mild", "severe")
    assert "sums: acc" in (place.folder / "benchmarked" / "report.html").read_text("utf-8")
    again = place.call("evaluate", "benchmarked", "--benchmarks", str(folder / "sums.yaml"), "--json")
    assert again.status == DONE and json.loads(again.out) == [measured], again.said


@needs_harness
def test_an_encoder_is_asked_no_benchmarks(place: Place, folder):
    ended = place.call(
        "tune", "reviews.csv", "--model", "encoder", "--benchmarks", str(folder / "sums.yaml"), "--out", "unasked"
    )
    assert ended.status == MISTAKE and "benchmarks ask models that write" in ended.err, ended.said


def test_without_the_harness_the_command_that_installs_it_is_named(monkeypatch):
    def missing(name: str) -> object:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name.partition(".")[0])

    monkeypatch.setattr(registry.importlib, "import_module", missing)
    with pytest.raises(RecipeError, match=r"pip install 'kamerton\[benchmarks\]'"):
        find_tasks(["arc_easy"])


def test_data_or_benchmarks_are_to_be_named(place: Place):
    assert place.call("evaluate", "anything").status == USAGE
    assert place.call("evaluate", "anything", "rows.csv", "--benchmarks", "x").status == USAGE


def test_nothing_asked_needs_no_harness(monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(registry.importlib, "import_module", asked.append)
    find_tasks([])
    assert asked == []
