"""Pairwise comparison of runs on the test rows that all of them answered."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from kamerton.core.contracts import Metric
from kamerton.core.errors import Fault, RunError
from kamerton.core.messages import msg
from kamerton.core.outcomes import Answers, ComparedRuns, RunPair, RunScore
from kamerton.core.records import Example
from kamerton.core.registry import choose
from kamerton.evaluate.score import score
from kamerton.evaluate.verdict import signed, stand
from kamerton.runs.run import Run
from kamerton.statistics.comparison import Pairing, holm, pair
from kamerton.statistics.resampling import NOTHING

Pairs = Literal["all", "first"]
"""Which runs are compared: each with each, or the first one with each other."""


def compare_runs(
    runs: Sequence[Run],
    *,
    metric: str | None = None,
    pairs: Pairs = "all",
    detect: float | None = None,
    margin: float = 0.02,
    confidence: float,
    resamples: int,
    seed: int,
) -> ComparedRuns:
    """Compare the tuned models of runs on the same test rows.

    Args:
        runs: two or more with the same test rows, in any order.
        metric: what to compare by; the one that decides in the first run if not given.
        pairs: which of them to compare.
        detect: a difference, not 0, for which to say how many rows would show it.
        margin: how much worse still counts as not worse: in the unit of a metric from 0 to 1, else as a share of
            the score of the second of the pair.
        confidence: such as 0.95.
        resamples: of bootstrap and randomisation, for a metric that needs them.
        seed: of both.

    Raises:
        RunError: there are not two runs, the test rows are not the same, one has no answers, or the metric has no
            value for one.
    """
    word = metric or runs[0].recipe.evaluate.metric or ""
    measure: Metric = choose("metrics", word)()
    examples = same_rows(runs)
    golds, groups = [example.gold for example in examples], [example.group for example in examples]
    answers = [replace(in_order(tuned_answers(run), examples), name=str(run.path)) for run in runs]
    scored = score(examples, answers, [word], confidence=confidence, resamples=resamples, seed=seed)
    if missing := [one.name for one in scored if word not in one.metrics]:
        rule = msg("{metric} has no value for {runs}", metric=word, runs=", ".join(missing))
        raise RunError(Fault(rule, remedy=msg("compare by another metric")))
    scores = [RunScore(one.name, one.metrics[word]) for one in scored]
    ranked = sorted(scores, key=lambda one: one.measure.value, reverse=measure.higher_is_better)
    order = [one.run for one in ranked] if pairs == "all" else [one.run for one in scores]
    by_run = {one.name: one.predictions for one in answers}
    found: list[tuple[str, str, Pairing]] = []
    for i, first in enumerate(order[: -1 if pairs == "all" else 1]):
        rest = order[i + 1 :]
        others = [by_run[run] for run in rest]
        pairings = pair(measure, golds, by_run[first], others, groups=groups, resamples=resamples, seed=seed)
        found += [(first, second, pairing) for second, pairing in zip(rest, pairings, strict=True)]
    unit = {one.run: 1.0 if measure.unit_interval else abs(one.measure.value) for one in scores}
    judged = []
    for (first, second, pairing), p in zip(found, holm([pairing.p_value for *_, pairing in found]), strict=True):
        comparison = signed(pairing.at(confidence), measure)
        planned = detect or comparison.difference
        needed = pairing.rows_for(planned) if abs(planned) > NOTHING else None
        judged.append(RunPair(first, second, comparison, p, stand(comparison, margin * unit[second]), needed))
    return ComparedRuns(word, measure.higher_is_better, len(examples), margin, confidence, tuple(ranked), tuple(judged))


def compare_as_first(
    runs: Sequence[Run], *, metric: str | None = None, pairs: Pairs = "all", detect: float | None = None
) -> ComparedRuns:
    """Compare runs by the first one's settings; for the rest see `compare_runs`.

    Raises:
        RunError: the runs cannot be compared.
    """
    if not runs:
        raise RunError(Fault(msg("a comparison needs two runs or more, got none"), remedy=msg("name two runs")))
    recipe = runs[0].recipe
    return compare_runs(
        runs,
        metric=metric,
        pairs=pairs,
        detect=detect,
        margin=recipe.evaluate.margin,
        confidence=recipe.evaluate.confidence,
        resamples=recipe.evaluate.resamples,
        seed=recipe.seed,
    )


def tuned_answers(run: Run) -> Answers:
    """Read the tuned model's answers.

    Raises:
        RunError: there are none yet.
    """
    for answers in run.read_answers():
        if answers.kind == "tuned":
            return answers
    rule = msg("'{run}' has no answers of a tuned model", run=str(run.path))
    raise RunError(Fault(rule, remedy=msg("`kamerton resume {run}` continues it", run=str(run.path))))


def in_order(answers: Answers, examples: Sequence[Example]) -> Answers:
    """Return answers in the order of the examples."""
    by_id = {prediction.id: prediction for prediction in answers.predictions}
    return replace(answers, predictions=tuple(by_id[example.id] for example in examples))


def same_rows(runs: Sequence[Run]) -> tuple[Example, ...]:
    """Return the test rows of runs that share them: the same source row with the same text and right answer.

    Raises:
        RunError: there are not two runs, one is named twice, or their test rows differ.
    """
    if len({run.path.resolve() for run in runs}) < max(2, len(runs)):
        rule = msg("a comparison needs two runs or more, each named once")
        raise RunError(Fault(rule, remedy=msg("name another run")))
    first, *others = runs
    rows = first.read_split().test
    ours = {example.id: (example.key, example.gold) for example in rows}
    faults = []
    for other in others:
        theirs = {example.id: (example.key, example.gold) for example in other.read_split().test}
        if ours != theirs:
            rule = msg(
                "runs are compared on the same test rows, but only {common} are common to {first} of the first run "
                "and {second} of the second",
                common=sum(theirs.get(id) == content for id, content in ours.items()),
                first=len(ours),
                second=len(theirs),
            )
            remedy = msg("tune both on the same file with the same --seed, --max-rows and split.test")
            faults.append(Fault(rule, f"{first.path}, {other.path}", remedy))
    if faults:
        raise RunError(faults)
    return rows
