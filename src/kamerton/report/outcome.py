"""The outcome of a run, read from its result.json into records: the one place that knows that file's keys."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AliasChoices, Field, TypeAdapter

from kamerton.core import outcomes
from kamerton.core.errors import Fault, RunError
from kamerton.core.message_json import numbers
from kamerton.core.messages import Wording, msg, term
from kamerton.runs.changes import made_anew
from kamerton.runs.run import Run
from kamerton.runs.settings import validated

SCHEMA = 1


@dataclass(frozen=True)
class Pretrained:
    """The pretrained model."""

    name: str
    parameters: int
    tuned: str = ""
    """The model that was tuned from it elsewhere; empty where the run trained one."""


@dataclass(frozen=True)
class MethodName:
    """The method; its knobs are in the recipe."""

    name: str


@dataclass(frozen=True)
class Counts:
    """How many rows there were, and where they went."""

    rows: int
    train: int
    validation: int
    test: int
    dropped: int = 0


@dataclass(frozen=True)
class TrainingCost:
    """What training was estimated to take, and what it took."""

    estimated: Annotated[outcomes.Resources, Field(validation_alias=AliasChoices("estimated", "foretold"))]
    """Older versions store it under the key `foretold`."""
    measured: outcomes.Resources


@dataclass(frozen=True)
class Outcome:
    """The outcome of a finished run. What has a default may be missing in the file."""

    schema: int
    task: str
    model: Pretrained
    method: MethodName
    data: Counts
    primary_metric: str
    contenders: tuple[outcomes.Contender, ...]
    verdict: outcomes.Verdict
    trainable_parameters: int = 0
    forgetting: outcomes.Forgetting = field(default_factory=outcomes.Forgetting)
    remedies: tuple[outcomes.Attempt, ...] = ()
    diagnosis: tuple[outcomes.Diagnosis, ...] = ()
    calibration: outcomes.Calibrated | None = None
    forecast: TrainingCost | None = None
    artefact: outcomes.Proof | None = None
    warnings: tuple[Wording, ...] = ()
    lower_is_better: tuple[str, ...] = ()
    """Metrics of which less is better."""
    signatures: Mapping[str, str] = field(default_factory=dict)
    """How metrics were computed that can be computed in several ways, by name."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """How long each stage took."""
    peak_memory_bytes: int = 0

    @property
    def tuned(self) -> outcomes.Contender:
        """The contender that this run made."""
        return next(contender for contender in self.contenders if contender.kind == "tuned")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that any contender has, the deciding one first."""
        return tuple(dict.fromkeys([self.primary_metric, *(m for c in self.contenders for m in c.metrics)]))

    @property
    def ranking(self) -> tuple[outcomes.Contender, ...]:
        """The contenders, best first by the deciding metric; those without it last."""
        sign = 1 if self.primary_metric in self.lower_is_better else -1

        def rank(contender: outcomes.Contender) -> float:
            value = sign * self.primary(contender).value
            return math.inf if math.isnan(value) else value

        return tuple(sorted(self.contenders, key=rank))

    @property
    def measured(self) -> tuple[outcomes.Contender, ...]:
        """The contenders whose deciding metric is a finite number, best first."""
        return tuple(contender for contender in self.ranking if math.isfinite(self.primary(contender).value))

    def primary(self, contender: outcomes.Contender) -> outcomes.Measure:
        """Return a contender's deciding metric, not-a-number if it has none."""
        return contender.metrics.get(self.primary_metric, outcomes.Measure(math.nan, math.nan, math.nan))

    def title(self, name: str) -> Wording:
        """Return the title of the contender of this name."""
        return next((title_of(one) for one in self.contenders if one.name == name), name)


def title_of(contender: outcomes.Contender) -> Wording:
    """Return a contender's name as a reader sees it."""
    return contender.title or named(contender.name)


def named(name: Wording) -> Wording:
    """Return a name of a file as the term that catalogues translate; a message is one already."""
    return term(name) if isinstance(name, str) and "{" not in name else name


def read_outcome(run: Run) -> Outcome:
    """Read and check a run's result.json; keys that are not known are left alone.

    Raises:
        RunError: the run is not finished, or the file lacks something or holds a value of a wrong type.
    """
    file = run.path / "result.json"
    known = {key: numbers(value) for key, value in run.result.items() if value is not None}
    if (found := known.get("schema")) != SCHEMA:
        rule = msg("this Kamerton reads results of schema {known}, got {found}", known=SCHEMA, found=repr(found))
        raise RunError(Fault(rule, f"{file} schema", msg("use the version of Kamerton that made the run")))
    remedy = made_anew(run.path)
    outcome = validated(TypeAdapter(Outcome), known, file, RunError, remedy)
    if "tuned" not in [contender.kind for contender in outcome.contenders]:
        raise RunError(Fault(msg("no contender is of the kind 'tuned'"), f"{file} contenders", remedy))
    return outcome
