"""Score a finished run on other data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from kamerton.errors import DataError, Fault
from kamerton.evaluate.per_class import class_results
from kamerton.evaluate.score import score
from kamerton.forms.values import filled
from kamerton.outcomes import Answers, Contender
from kamerton.prepare import metric_names
from kamerton.records import Example, LedgerEntry
from kamerton.run import Run
from kamerton.use import Predictor, Served

UNANSWERED = "the row has no answer to score against"


@dataclass(frozen=True)
class Rescored:
    """A run's tuned model on other data, and what one must know to believe its scores."""

    contender: Contender
    rows: int
    """How many rows were scored."""
    left_out: tuple[LedgerEntry, ...]
    """Rows that could not be scored, in their order."""
    cut: tuple[Served, ...]
    """Rows of which the model saw only a part."""
    most_tokens: int
    """How many tokens the model takes."""
    trained_on: int
    """How many of the scored rows have the text of one that the run was trained on."""


def score_on(run: Run, path: Path) -> Rescored:
    """Score a run's tuned model on other data with answers, by the run's own metrics.

    Raises:
        DataError: the file cannot be read, or no row has an answer.
    """
    predictor = Predictor(run)
    taken = predictor.take(path)
    examples = [example for example in taken.examples if filled(example.gold)]
    bare = [LedgerEntry(e.id, e.place, "dropped", UNANSWERED) for e in taken.examples if not filled(e.gold)]
    if not examples:
        raise DataError(Fault(UNANSWERED, str(bare[0].place), "fill it, or use predict"))
    setup, settings = predictor.setup, predictor.setup.recipe.evaluate
    tuned = Answers("tuned model", "tuned", tuple(setup.form.predict(predictor.engine, examples)), 0.0)
    [contender] = score(
        examples,
        [tuned],
        metric_names(setup),
        confidence=settings.confidence,
        resamples=settings.resamples,
        seed=setup.recipe.seed,
    )
    answered = zip(examples, tuned.predictions, strict=True)
    return Rescored(
        replace(contender, per_class=class_results(examples, tuned.predictions, setup.task.answers)),
        len(examples),
        tuple(sorted((*taken.unusable, *bare), key=lambda entry: entry.id)),
        tuple(Served(example.place, prediction) for example, prediction in answered if prediction.cut),
        setup.max_tokens,
        _known(examples, (*setup.split.train, *setup.split.added)),
    )


def _known(examples: Iterable[Example], trained: Iterable[Example]) -> int:
    """Count the examples whose text was trained on, but for case, spaces and Unicode form."""
    keys = {example.key for example in trained}
    return sum(example.key in keys for example in examples)
