"""How much more data would help: linear heads on frozen features, and extrapolation of their scores."""

from collections.abc import Generator, Iterator, Sequence

import numpy as np

from kamerton.core import registry
from kamerton.core.contracts import Engine, Metric
from kamerton.core.errors import DataError, Fault, RecipeError
from kamerton.core.messages import msg
from kamerton.core.outcomes import Curve
from kamerton.core.pieces import HERE, Workers
from kamerton.core.records import Encoded, Example, Progress, Split
from kamerton.pipeline.prepare import BoundData, ParsedData, bind, choose_base, parse_data
from kamerton.planning.growth import Counted, choose_sizes, count_heads, grow
from kamerton.runs.recipe import Recipe
from kamerton.session.engines import untuned_engine
from kamerton.session.setup import Setup
from kamerton.text.cells import filled
from kamerton.text.near_duplicates import near_duplicate_groups

AT_ONCE = 256
"""Rows whose features are computed between two reports of progress."""


def draw_curve(recipe: Recipe, target: int | None, workers: Workers = HERE) -> Iterator[Progress | Curve]:
    """Measure and extrapolate the learning curve of a data file; yields progress, and the curve last.

    Args:
        recipe: names the data, and the model or none.
        target: rows to estimate the score for; twice those that there are if not given.
        workers: fit the heads.

    Raises:
        DataError: the data cannot be read, has no classes, too few rows, or the target is too far away.
        RecipeError: the metric cannot be extrapolated.
    """
    parsed = choose_base(parse_data(recipe))
    task = parsed.recipe.data.task or ""
    if parsed.task.answers != "class":
        rule = msg("a learning curve needs classes that a head on frozen features learns; {task} has none", task=task)
        remedy = msg("tune with --max-rows at two or three sizes, and see `kamerton compare`")
        raise DataError(Fault(rule, recipe.data.path, remedy))
    examples = [example for example in parsed.examples if filled(example.text) and filled(example.gold)]
    target = target or 2 * len(examples)
    sizes = choose_sizes(len(examples), target, recipe.data.path)
    bound = bind(parsed)
    items = bound.form.prompts(examples, bound.tokenizer, bound.max_tokens)  # what serving sends: without answers
    name = recipe.evaluate.metric or parsed.task.metrics(examples)[0]
    metric: Metric = registry.choose("metrics", name)()
    if not (metric.higher_is_better and metric.unit_interval):
        rule = msg("{metric} has no best value of 1 that a curve could approach", metric=name)
        raise RecipeError(Fault(rule, "evaluate.metric", msg("choose accuracy or macro-f1")))
    engine = untuned_engine(bare_setup(parsed, bound, examples))
    features = yield from embedded(engine, items)
    alike = near_duplicate_groups([example.text for example in examples]).tolist()
    confidence, seed = recipe.evaluate.confidence, recipe.seed
    for counted in count_heads(features, examples, alike, metric, sizes, seed, workers):
        if isinstance(counted, Counted):
            rows = len(examples)
            growth = grow(counted, name, metric, rows=rows, target=target, confidence=confidence, seed=seed)
            yield Curve(recipe.data.path, task, bound.facts.name, growth)
        else:
            yield Progress("heads", round(100 * counted), 100)


def bare_setup(parsed: ParsedData, bound: BoundData, examples: Sequence[Example]) -> Setup:
    """Set up the untuned model for examples that are not split."""
    split = Split(tuple(examples), (), ())
    return Setup(bound.recipe, parsed.task, bound.form, bound.facts, bound.tokenizer, split, bound.max_tokens)


def embedded(engine: Engine, items: Sequence[Encoded]) -> Generator[Progress, None, np.ndarray]:
    """Compute the features of rows, and yield the progress: `[rows, hidden]`."""
    parts = []
    for start in range(0, len(items), AT_ONCE):
        yield Progress("features", start, len(items), "rows")
        parts.append(engine.embed(items[start : start + AT_ONCE]))
    yield Progress("features", len(items), len(items), "rows")
    return np.concatenate(parts)
