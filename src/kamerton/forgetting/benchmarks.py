"""Tasks of the Language Model Evaluation Harness, run on the base and the tuned model with the same rows.

The harness runs unchanged, so that its figures are those that others publish; only the paired comparison is ours. A
task is one of the harness, or a YAML file in its format. Its rows come from the Hugging Face hub or from a file. A task
file may contain code: it is read only if the user named it.
"""

import difflib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kamerton.core import registry
from kamerton.core.errors import Fault, RecipeError
from kamerton.core.messages import Wording, msg
from kamerton.core.registry import require
from kamerton.engine.engine import TorchEngine
from kamerton.forgetting.decide import POINTS, Limits, Measured, Precision

EXTRA = "benchmarks"
PLACE = "benchmarks.tasks"
AT_ONCE = 8
"""Rows in one forward pass of the harness."""
SEED = 1234
"""Of the examples that a task shows: the harness's own."""


@dataclass(frozen=True)
class Scores:
    """A model's scores in one metric of one task, row by row."""

    name: Wording
    sums: np.ndarray
    """`[rows]`; the metric is their sum over that of the weights."""
    weights: np.ndarray
    limits: Limits | None
    """Limits of a change that counts; None for a metric without a fixed scale."""


def find_tasks(names: Sequence[str]) -> None:
    """Check that the harness is installed and knows the tasks, before anything slow begins.

    Raises:
        RecipeError: it is not installed, or a name is neither a task nor a file; all faults at once.
    """
    files = [str(Path(name).absolute()) for name in names if Path(name).is_file()]
    faults = [fault for name in files if (fault := registry.refused(name))]
    known = _manager().task_index if names and not faults else names
    for name in names:
        if name not in known and not Path(name).is_file():
            remedy = msg("check its name, or name a task file, x.yaml")
            if similar := difflib.get_close_matches(name, known, n=1):
                remedy = msg("did you mean '{name}'? Or name a task file, x.yaml", name=similar[0])
            faults.append(Fault(msg("there is no benchmark task '{name}'", name=name), PLACE, remedy))
    if faults:
        raise RecipeError(faults)


def load_tasks(names: Sequence[str]) -> Mapping[str, Any]:
    """Load tasks with their rows.

    Raises:
        RecipeError: the rows of one are not available, or a file is not a task.
    """
    manager, loaded, faults = _manager(), {}, []
    for name in names:
        try:
            with _quiet():
                loaded.update(manager.load([name])["tasks"])
        except OSError as error:  # no network, no such file, no such data set
            rule = msg("the rows of benchmark '{name}' are not available: {error}", name=name, error=str(error))
            remedy = msg("connect to the network, or name a task file whose rows are in a local file")
            faults.append(Fault(rule, PLACE, remedy))
        except (LookupError, AttributeError, TypeError, ValueError, RecursionError, yaml.YAMLError) as error:
            rule = msg("'{name}' is not a benchmark task: {error}", name=name, error=str(error))
            faults.append(Fault(rule, PLACE, msg("correct the task file")))
    if faults:
        raise RecipeError(faults)
    return loaded


def take_benchmarks(engine: TorchEngine, tasks: Mapping[str, Any], rows: int) -> list[Scores]:
    """Run a language model on the first rows of each task.

    Raises:
        RecipeError: a task runs generated code, or needs pictures.
    """
    harness, wrap = require("lm_eval", EXTRA), require("lm_eval.models.huggingface", EXTRA).HFLM
    engine.model.eval()
    for task in tasks.values():
        task.set_fewshot_seed(seed=SEED)
    try:
        with _quiet():
            model = wrap(
                pretrained=engine.model, tokenizer=engine.tokenizer, batch_size=AT_ONCE, max_length=engine.max_tokens
            )
            found = harness.evaluate(model, {"tasks": dict(tasks)}, limit=rows, bootstrap_iters=0, log_samples=True)
    except ValueError as error:
        rule = msg("a benchmark cannot be run here: {error}", error=str(error))
        raise RecipeError(Fault(rule, PLACE, msg("leave that task out"))) from error
    return [
        scores
        for task, samples in found["samples"].items()
        for scores in _scores(task, samples, found["higher_is_better"][task])
    ]


def benchmark_changes(base: Sequence[Scores], tuned: Sequence[Scores], precision: Precision) -> Iterator[Measured]:
    """Compare the scores of base and tuned model on the same rows."""
    for before, after in zip(base, tuned, strict=True):
        yield precision.measure(before.name, before.sums, after.sums, before.weights, before.limits)


def _scores(task: str, samples: Sequence[Mapping[str, Any]], higher: Mapping[str, bool]) -> Iterator[Scores]:
    """Collect the metrics that are means over rows, or ratios of sums; of several filters the first."""
    first = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
    for metric in samples[0]["metrics"]:
        values, name = [sample[metric] for sample in first], f"{task}: {metric}"
        if all(isinstance(value, tuple | list) and len(value) == 2 for value in values):
            pairs = np.array(values, dtype=float)  # a log-likelihood and what it is counted by: words or bytes
            yield Scores(msg("{name}, nats each", name=name), -pairs[:, 0], pairs[:, 1], None)
        elif all(isinstance(value, int | float | np.number) for value in values):
            sums = np.array(values, dtype=float)
            share = higher.get(metric, False) and ((sums >= 0) & (sums <= 1)).all()
            yield Scores(name, sums, np.ones(len(sums)), POINTS if share else None)


def _manager() -> Any:
    require("lm_eval", EXTRA)
    return require("lm_eval.tasks", EXTRA).TaskManager()


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stderr(io.StringIO()):  # bars of progress
            yield
    finally:
        logging.disable(before)
