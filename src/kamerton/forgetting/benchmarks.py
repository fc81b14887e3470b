"""Tasks of the Language Model Evaluation Harness, asked of the base and the tuned model on the same rows.

The harness asks as it always does, so that its figures are those that others publish; only the comparison is ours:
row by row and paired. A task is one that the harness brings, or a YAML file in its own form. Its rows come from where
the task says: the Hugging Face hub, mostly, or a file. A task file may bring code of its own: name only trusted ones.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kamerton.core.errors import Fault, RecipeError, nearest
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
    """What a model reached in one metric of one task, row by row."""

    name: str
    """As it is shown: task and metric."""
    sums: np.ndarray
    """`[rows]`; the metric is their sum over that of the weights."""
    weights: np.ndarray
    limits: Limits | None
    """From where on a change counts; None for what has no agreed scale."""


def find_tasks(names: Sequence[str]) -> None:
    """Make sure that the harness is there and knows the tasks, before anything slow begins.

    Raises:
        RecipeError: it is not installed, or a name is neither a task nor a file; all faults at once.
    """
    if not names:
        return
    known = _manager().task_index
    faults = [
        Fault(f"there is no benchmark task '{name}'", PLACE, f"{_nearest(name, known)}; or name a task file, x.yaml")
        for name in names
        if name not in known and not Path(name).is_file()
    ]
    if faults:
        raise RecipeError(faults)


def load_tasks(names: Sequence[str]) -> Mapping[str, Any]:
    """Load tasks with their rows.

    Args:
        names: of tasks, groups or tags of the harness, or task files.

    Raises:
        RecipeError: the rows of one cannot be had, or a file is no task.
    """
    manager, loaded, faults = _manager(), {}, []
    for name in names:
        try:
            with _quiet():
                loaded.update(manager.load([name])["tasks"])
        except OSError as error:  # no network, no such file, no such data set
            remedy = "get on line, or name a task file whose rows are in a local file"
            faults.append(Fault(f"the rows of benchmark '{name}' cannot be had: {error}", PLACE, remedy))
        except (KeyError, TypeError, ValueError) as error:
            faults.append(Fault(f"'{name}' is no benchmark task: {error}", PLACE, "correct the task file"))
    if faults:
        raise RecipeError(faults)
    return loaded


def take_benchmarks(engine: TorchEngine, tasks: Mapping[str, Any], rows: int) -> list[Scores]:
    """Ask a language model the first rows of each task.

    Args:
        engine: of a model that writes.
        tasks: as `load_tasks` gives them.
        rows: most rows of each task.

    Raises:
        RecipeError: a task wants to run what the model writes, or to show it pictures.
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
        raise RecipeError(Fault(f"a benchmark cannot be asked here: {error}", PLACE, "leave that task out")) from error
    return [
        scores
        for task, samples in found["samples"].items()
        for scores in _scores(task, samples, found["higher_is_better"][task])
    ]


def benchmark_changes(base: Sequence[Scores], tuned: Sequence[Scores], precision: Precision) -> Iterator[Measured]:
    """Compare what base and tuned model reached on the same rows."""
    for before, after in zip(base, tuned, strict=True):
        yield Measured(precision.change(before.name, before.sums, after.sums, before.weights), before.limits)


def _scores(task: str, samples: Sequence[Mapping[str, Any]], higher: Mapping[str, bool]) -> Iterator[Scores]:
    """Take the metrics that are means over rows, or sums over sums; of several filters the first."""
    first = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
    for metric in samples[0]["metrics"]:
        values, name = [sample[metric] for sample in first], f"{task}: {metric}"
        if all(isinstance(value, tuple | list) and len(value) == 2 for value in values):
            pairs = np.array(values, dtype=float)  # a log-likelihood and what it is counted by: words or bytes
            yield Scores(f"{name}, nats each", -pairs[:, 0], pairs[:, 1], None)
        elif all(isinstance(value, int | float | np.number) for value in values):
            sums = np.array(values, dtype=float)
            share = higher.get(metric, False) and ((sums >= 0) & (sums <= 1)).all()
            yield Scores(name, sums, np.ones(len(sums)), POINTS if share else None)


def _manager() -> Any:
    require("lm_eval", EXTRA)
    return require("lm_eval.tasks", EXTRA).TaskManager()


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    """Name what is like a name; there are thousands."""
    return nearest(name, known).partition(" Known:")[0] if "did you mean" in nearest(name, known) else "check its name"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the harness's own talk off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stderr(io.StringIO()):  # bars of progress
            yield
    finally:
        logging.disable(before)
