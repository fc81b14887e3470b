"""Score a finished run on other data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kamerton.errors import DataError, Fault
from kamerton.evaluate.per_class import class_results
from kamerton.evaluate.score import score
from kamerton.forms.values import filled
from kamerton.outcomes import Answers, Contender
from kamerton.prepare import metric_names
from kamerton.run import Run
from kamerton.use import Predictor


def score_on(run: Run, path: Path) -> Contender:
    """Score a run's tuned model on other data with answers, by the run's own metrics.

    Raises:
        DataError: the file cannot be read, or has no answers.
    """
    predictor = Predictor(run)
    examples = predictor.examples(path)
    if not all(filled(example.gold) for example in examples):
        bare = next(example for example in examples if not filled(example.gold))
        raise DataError(Fault("the row has no answer to score against", str(bare.place), "fill it, or use predict"))
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
    return replace(contender, per_class=class_results(examples, tuned.predictions, setup.task.answers))
