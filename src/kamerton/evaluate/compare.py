"""Two runs, compared on the test rows that both answered."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.contracts import Metric
from kamerton.errors import Fault, RunError
from kamerton.evaluate.score import measure
from kamerton.plugins import choose
from kamerton.records import Comparison, Example, Prediction
from kamerton.run import Run
from kamerton.statistics.comparison import compare


def compare_runs(
    first: Run, second: Run, *, metric: str | None = None, confidence: float, resamples: int, seed: int
) -> Comparison:
    """Compare the tuned models of two runs on the same test rows: first minus second, in the metric's own unit.

    Args:
        first: a finished run.
        second: another finished run on the same test rows; the order of the rows does not matter.
        metric: what to compare by; the first run's primary metric if not given.
        confidence: such as 0.95.
        resamples: of bootstrap and randomisation, for a metric that needs them.
        seed: of both.

    Raises:
        RunError: a run is not finished, the test rows are not the same, or the metric has no value for one of them.

    """
    name = metric or str(first.result["primary_metric"])
    chosen: Metric = choose("metrics", name)()
    examples = _same_rows(first, second)
    answers = [_tuned_predictions(run, examples) for run in (first, second)]
    if any(name not in measure(examples, predictions, [name]) for predictions in answers):
        raise RunError(Fault(f"{name} has no value for one of the two runs", remedy="compare by another metric"))
    return compare(
        chosen,
        [example.gold for example in examples],
        *answers,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def _tuned_predictions(run: Run, examples: Sequence[Example]) -> list[Prediction]:
    """Read the tuned model's predictions in the order of the examples."""
    if not run.finished:
        raise RunError(Fault(f"'{run.path}' is not finished", remedy=f"`kamerton resume {run.path}` goes on with it"))
    tuned = [answers for answers in run.read_answers() if answers.kind == "tuned"]
    if not tuned:
        raise RunError(Fault(f"'{run.path}' has no answers of a tuned model", remedy=f"`kamerton evaluate {run.path}`"))
    by_id = {prediction.id: prediction for prediction in tuned[0].predictions}
    return [by_id[example.id] for example in examples]


def _same_rows(first: Run, second: Run) -> tuple[Example, ...]:
    """Return the test rows of both runs; the same source row with the same gold answer is the same row."""
    here, there = first.read_split().test, second.read_split().test
    ours, theirs = ({example.id: example.gold for example in part} for part in (here, there))
    if ours == theirs:
        return here
    common = sum(theirs.get(id) == gold for id, gold in ours.items())
    sizes = f"{len(ours):,} of the first and {len(theirs):,} of the second"
    rule = f"two runs are compared on the same test rows, but only {common:,} are common to {sizes}"
    remedy = "tune both on the same file with the same --seed, --max-rows and split.test"
    raise RunError(Fault(rule, f"{first.path}, {second.path}", remedy))
