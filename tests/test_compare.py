from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binomtest

from kamerton.core.errors import RunError
from kamerton.core.outcomes import Answers
from kamerton.core.records import Example, Place, Prediction, Split
from kamerton.evaluate.compare import compare_runs
from kamerton.runs.recipe import resolve
from kamerton.runs.run import Run
from kamerton.statistics.intervals import wilson_interval
from kamerton.statistics.power import rows_for_share

ONCE = {"confidence": 0.95, "resamples": 2000, "seed": 0}


def rows(golds: Sequence[str]) -> list[Example]:
    return [Example(i, Place("rows.csv", i + 1), f"text {i}", gold) for i, gold in enumerate(golds)]


def right(count: int, total: int) -> list[str]:
    return ["a" if i < count else "b" for i in range(total)]


def run_of(path: Path, examples: Sequence[Example], texts: Sequence[str]) -> Run:
    run = Run.create(path, resolve(None, {"evaluate.metric": "accuracy"}))
    run.write_data(Split((), (), tuple(examples)), [], [])
    predictions = tuple(Prediction(e.id, text) for e, text in zip(examples, texts, strict=True))
    run.write_answers(examples, [Answers("tuned model", "tuned", predictions, 1.0)])
    return run


def test_two_runs_are_paired_by_row_whatever_their_order(tmp_path: Path) -> None:
    examples, texts = rows(["a"] * 100), right(90, 100)
    first = run_of(tmp_path / "one", examples[::-1], right(70, 100)[::-1])
    second = run_of(tmp_path / "two", examples, texts)
    compared = compare_runs([first, second], **ONCE)
    [pair] = compared.pairs
    assert (compared.metric, compared.rows, compared.higher_is_better) == ("accuracy", 100, True)
    assert [Path(one.run).name for one in compared.scores] == ["two", "one"]
    assert compared.scores[0].measure == wilson_interval(90, 100, 0.95)
    assert (Path(pair.first).name, Path(pair.second).name) == ("two", "one")
    assert pair.comparison.difference == pytest.approx(0.2)
    assert pair.comparison.p_value == pytest.approx(binomtest(0, 20).pvalue)
    assert pair.standing == "better"
    assert pair.rows_needed == rows_for_share(0.2, 0.2)


def test_every_pair_is_compared_with_p_values_adjusted_for_their_number(tmp_path: Path) -> None:
    examples = rows(["a"] * 100)
    runs = [run_of(tmp_path / str(count), examples, right(count, 100)) for count in (70, 90, 80)]
    compared = compare_runs(runs, **ONCE)
    assert [(Path(one.first).name, Path(one.second).name) for one in compared.pairs] == [
        ("90", "80"), ("90", "70"), ("80", "70"),
    ]  # fmt: skip
    plain = [binomtest(0, wrong).pvalue for wrong in (10, 20, 10)]
    assert [one.comparison.p_value for one in compared.pairs] == pytest.approx(plain)
    assert [one.adjusted_p for one in compared.pairs] == pytest.approx([2 * plain[0], 3 * plain[1], 2 * plain[0]])


def test_the_first_run_alone_is_compared_with_each_other_and_may_be_worse(tmp_path: Path) -> None:
    examples = rows(["a"] * 100)
    runs = [run_of(tmp_path / str(count), examples, right(count, 100)) for count in (70, 90, 71)]
    compared = compare_runs(runs, pairs="first", detect=0.05, **ONCE)
    assert [Path(one.second).name for one in compared.pairs] == ["90", "71"]
    assert [one.standing for one in compared.pairs] == ["worse", "unclear"]
    assert compared.pairs[0].comparison.difference == pytest.approx(-0.2)
    assert compared.pairs[1].rows_needed == rows_for_share(0.05, 0.01)


def test_equal_runs_need_no_number_of_rows_to_show_nothing(tmp_path: Path) -> None:
    examples = rows(["a", "b"] * 50)
    runs = [run_of(tmp_path / name, examples, right(60, 100)) for name in ("one", "two")]
    [pair] = compare_runs(runs, metric="macro-f1", **ONCE).pairs
    assert (pair.comparison.difference, pair.comparison.p_value, pair.rows_needed) == (0, 1, None)


def test_runs_on_other_test_rows_are_refused_with_the_number_of_common_ones(tmp_path: Path) -> None:
    examples = rows(["a"] * 10)
    first = run_of(tmp_path / "one", examples, ["a"] * 10)
    fewer = run_of(tmp_path / "two", examples[:8], ["a"] * 8)
    relabelled = run_of(tmp_path / "three", rows(["a"] * 9 + ["b"]), ["a"] * 10)
    elsewhere = run_of(tmp_path / "four", [replace(e, text=f"other {e.id}") for e in examples], ["a"] * 10)
    with pytest.raises(RunError) as refused:
        compare_runs([first, fewer, relabelled, elsewhere], **ONCE)
    assert [str(fault.rule).partition("only ")[2] for fault in refused.value.faults] == [
        "8 are common to 10 of the first run and 8 of the second",
        "9 are common to 10 of the first run and 10 of the second",
        "0 are common to 10 of the first run and 10 of the second",
    ]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    examples = rows(["a"] * 10)
    first, second = (run_of(tmp_path / name, examples, ["a"] * 10) for name in ("one", "two"))
    with pytest.raises(RunError, match="needs two runs or more"):
        compare_runs([first], **ONCE)
    with pytest.raises(RunError, match="each named once"):
        compare_runs([first, second, first], **ONCE)
    with pytest.raises(RunError, match="perplexity has no value for"):
        compare_runs([first, second], metric="perplexity", **ONCE)
    (second.path / "predictions.parquet").unlink()
    with pytest.raises(RunError, match="no answers of a tuned model"):
        compare_runs([first, second], **ONCE)


def test_repeats_of_a_run_share_its_split_and_are_made_once(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", resolve(None, {"evaluate.metric": "accuracy", "seed": 7, "seeds": 3}))
    run.write_data(Split((), (), tuple(rows(["a"] * 10))), [], [])
    assert [again.path.relative_to(run.path).as_posix() for again in run.repeats] == ["seeds/8", "seeds/9"]
    for again, seed in zip(run.repeats, (8, 9), strict=True):
        assert (again.recipe.seed, again.recipe.seeds) == (seed, 1)
        assert again.read_split() == run.read_split()
        assert again.repeats == []
