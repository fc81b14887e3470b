"""How much more data would help: features of all rows once, many heads on them, and laws that continue the scores."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from kamerton import plugins
from kamerton.contracts import Engine, Metric
from kamerton.engines import untuned_engine
from kamerton.errors import DataError, Fault, RecipeError
from kamerton.evaluate.growth import FARTHEST, Counted, Growth, count_heads, grow
from kamerton.prepare import Fitted, Setup, Understood, audit, choose_base, fit, understand
from kamerton.recipe import Recipe
from kamerton.records import Encoded, Example, Progress, Split
from kamerton.similar import near_duplicate_groups

AT_ONCE = 256
"""Rows whose features are computed between two reports of progress."""


@dataclass(frozen=True)
class Curve:
    """A data file's learning curve."""

    data: str
    task: str
    model: str
    growth: Growth


def draw_curve(recipe: Recipe, target: int | None) -> Generator[Progress, None, Curve]:
    """Measure and continue the learning curve of a data file, telling how far it is.

    Args:
        recipe: names the data, and the model or none.
        target: rows to estimate the score for; twice those that there are if not given.

    Raises:
        DataError: the data cannot be read, has no classes, too few rows, or the target is too far away.
        RecipeError: the metric cannot be continued.
    """
    understood = choose_base(understand(recipe))
    if not understood.task.stratified:
        rule = f"a curve is drawn from classes that a head on frozen features can learn, not for {_task(understood)}"
        remedy = "tune with --max-rows at two or three sizes, and see `kamerton compare`"
        raise DataError(Fault(rule, recipe.data.path, remedy))
    dropped = {id for finding in audit(understood, None) for id in finding.drop}
    fitted = fit(understood)
    pairs = [(e, i) for e, i in zip(understood.examples, fitted.encoded, strict=True) if e.id not in dropped]
    examples, items = [example for example, _ in pairs], [item for _, item in pairs]
    name = recipe.evaluate.metric or understood.task.metrics(examples)[0]
    metric = _metric(name)
    if target and target > FARTHEST * len(examples):
        rule = f"{target:,} rows are more than {FARTHEST} times the {len(examples):,} that there are"
        raise DataError(Fault(rule, "--target", f"nothing honest can be said beyond {FARTHEST * len(examples):,}"))
    engine = untuned_engine(_setup(understood, fitted, examples))
    features = yield from _features(engine, items)
    alike = near_duplicate_groups([example.text for example in examples]).tolist()
    counted = yield from _counted(features, examples, alike, metric, recipe.seed)
    growth = grow(
        counted,
        name,
        metric,
        rows=len(examples),
        target=target or 2 * len(examples),
        confidence=recipe.evaluate.confidence,
        seed=recipe.seed,
    )
    return Curve(recipe.data.path, _task(understood), fitted.facts.name, growth)


def _task(understood: Understood) -> str:
    return understood.recipe.data.task or ""


def _metric(name: str) -> Metric:
    metric: Metric = plugins.choose("metrics", name)()
    if not (metric.higher_is_better and metric.unit_interval):
        rule = f"{name} has no best value of 1 that a curve could come nearer to"
        raise RecipeError(Fault(rule, "evaluate.metric", "choose accuracy or macro-f1"))
    return metric


def _setup(understood: Understood, fitted: Fitted, examples: Sequence[Example]) -> Setup:
    split = Split(tuple(examples), (), ())
    recipe, task, form = fitted.recipe, understood.task, fitted.form
    return Setup(recipe, task, form, fitted.facts, fitted.tokenizer, split, fitted.max_tokens)


def _features(engine: Engine, items: Sequence[Encoded]) -> Generator[Progress, None, np.ndarray]:
    parts = []
    for start in range(0, len(items), AT_ONCE):
        yield Progress("features", start, len(items))
        parts.append(engine.embed(items[start : start + AT_ONCE]))
    yield Progress("features", len(items), len(items))
    return np.concatenate(parts)


def _counted(
    features: np.ndarray, examples: Sequence[Example], alike: Sequence[int], metric: Metric, seed: int
) -> Generator[Progress, None, Counted]:
    for told in count_heads(features, examples, alike, metric, seed):
        if isinstance(told, Counted):
            return told
        yield Progress("heads", round(100 * told), 100)
    raise AssertionError("heads were not counted")
