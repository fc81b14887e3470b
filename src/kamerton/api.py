"""Python API: `tune` a data file, then use the run. Heavy libraries are imported when they are needed."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from kamerton.core import registry


class TunedRun:
    """A finished run: its verdict, its result, and its model."""

    def __init__(self, path: str | Path) -> None:
        self._run: Any = registry.load("kamerton.runs.run:Run")(path)

    @property
    def path(self) -> Path:
        """The run's folder."""
        return Path(self._run.path)

    @property
    def result(self) -> dict[str, Any]:
        """All of `result.json`."""
        return dict(self._run.result)

    @property
    def verdict(self) -> Any:
        """The judgement: a `kamerton.core.records.Verdict`."""
        return registry.load("kamerton.report.outcome:read_outcome")(self._run).verdict

    @cached_property
    def _predictor(self) -> Any:
        return registry.load("kamerton.deliver.predictor:Predictor")(self._run)

    def predict(self, rows: Sequence[str | Mapping[str, object]]) -> list[Any]:
        """Answer texts, or mappings by role, with `kamerton.core.records.Prediction`s. The model is loaded once."""
        return list(self._predictor.predict(rows))

    def export(self, form: str, out: str | Path | None = None, settings: Mapping[str, object] | None = None) -> Any:
        """Export the model, proven in its engine, and return a `kamerton.deliver.export.Exported`.

        Args:
            form: a word for `kamerton export --to`.
            out: a new folder; `exported/FORM` in the run's own if not given.
            settings: of the form: `{"precision": "q8_0"}`.

        Raises:
            KamertonError: the model cannot be exported so, or the folder exists.
        """
        target = Path(out) if out else None
        return registry.load("kamerton.deliver.export:export_run")(self._run, form, target, settings)


def tune(
    data: str | Path,
    *,
    task: str | None = None,
    model: str | None = None,
    method: str | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
    on: str | None = None,
) -> TunedRun:
    """Tune a model on a data file, judge it, and return the finished run.

    Args:
        data: a file (CSV, TSV, JSON, JSONL, Parquet, text, CoNLL), a folder, a pattern, or an address of these
            (`s3://bucket/rows.csv`); or a recipe (YAML).
        task: the kind of job, if the columns do not tell.
        model: a known name, a folder, or a Hugging Face id.
        method: how the model is changed.
        out: the run's folder, or its address; a new folder under `runs/` if not given.
        settings: any other setting by its dotted path: `{"train.epochs": 5}`.
        on: where independent trainings are done at the same time: `processes:4`, `ray`.

    Raises:
        KamertonError: something that the user can fix.
    """
    flags = {"data.task": task, "model.name": model, "method.name": method, **(settings or {})}
    given = {path: value for path, value in flags.items() if value is not None}
    workers = registry.load("kamerton.core.pieces:choose_workers")(on)
    run = registry.load("kamerton.session.new_run:new_run")(Path(data), Path(out) if out else None, given)
    with workers:
        for _ in registry.load("kamerton.tune:story")(run, workers):
            pass
    return TunedRun(run.path)


def ab(log: str | Path, *, first: str | None = None, margin: float = 0.02, confidence: float = 0.95) -> Any:
    """Run the anytime-valid A/B test on a log, and return a `kamerton.core.outcomes.LivingVerdict`.

    Args:
        log: JSON Lines, as `kamerton.feedback.living` describes them.
        first: the arm whose gain is reported; the first in the log if not given.
        margin: how much worse still counts as not worse.
        confidence: of the decision and the interval.

    Raises:
        KamertonError: lines are not outcomes; each with its number.
    """
    judge_log = registry.load("kamerton.feedback.living:judge_log")
    return judge_log(Path(log), first=first, margin=margin, confidence=confidence)


def compare(*runs: str | Path, metric: str | None = None, detect: float | None = None) -> Any:
    """Compare runs pairwise on the same test rows, and return `kamerton.core.outcomes.ComparedRuns`.

    Args:
        runs: folders of two runs or more.
        metric: what to compare by; the deciding one of the first run if not given.
        detect: a difference to compute the number of rows for.

    Raises:
        KamertonError: the runs cannot be compared.
    """
    opened = [registry.load("kamerton.runs.run:Run")(run) for run in runs]
    return registry.load("kamerton.evaluate.compare:compare_as_first")(opened, metric=metric, detect=detect)
