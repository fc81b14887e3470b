"""The outcome for machines: `result.json`, schema 1."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kamerton.core import registry
from kamerton.core.contracts import Metric
from kamerton.core.message_json import to_json
from kamerton.core.messages import msg
from kamerton.core.outcomes import Calibrated, ClassResult, Contender, Diagnosis, Forgetting, Verdict
from kamerton.core.records import Started, Validated
from kamerton.evaluate.score import undefined
from kamerton.runs.price import price
from kamerton.runs.run import PARTS, Run
from kamerton.runs.state import State

ELSEWHERE = "elsewhere"
"""In place of a method's name, for a model that was not tuned by this run."""


def result_of(
    run: Run,
    metrics: Sequence[str],
    contenders: Sequence[Contender],
    verdict: Verdict,
    diagnoses: Sequence[Diagnosis],
    calibrated: Calibrated | None = None,
    per_class: Sequence[ClassResult] = (),
) -> dict[str, Any]:
    """Return the result as `result.json` holds it."""
    recipe, state = run.recipe, run.state
    chosen: dict[str, type[Metric]] = {name: registry.choose("metrics", name) for name in metrics}
    started = next((event for event in reversed(run.events()) if isinstance(event, Started)), None)
    tuned = next(one for one in contenders if one.kind == "tuned")
    cost = price(run, tuned.seconds / max(1, _counts(run)["test"]), sum(state.seconds.values()))
    warnings = [
        msg("{metric} is undefined on the test rows: {reason}", metric=name, reason=reason)
        for name, reason in undefined(run.read_split().test, metrics).items()
    ]
    return {
        "schema": 1,
        "task": recipe.data.task,
        "model": {"name": recipe.model.name or state.base.name, "parameters": state.base.parameters, **_tuned(state)},
        "method": {"name": recipe.method.name or ELSEWHERE, **recipe.method.knobs},
        **_training(started),
        "data": _counts(run),
        "primary_metric": metrics[0],
        "metrics": list(metrics),
        "signatures": {name: signature for name in metrics if (signature := chosen[name].signature)},
        "lower_is_better": [name for name in metrics if not chosen[name].higher_is_better],
        "contenders": [_contender(contender, _selection(run, contender)) for contender in contenders],
        "verdict": {name: value for name, value in to_json(verdict).items() if value is not None},
        "forgetting": to_json(run.read_forgetting() or Forgetting(reason=msg("forgetting was not measured"))),
        "remedies": to_json(run.read_attempts()),
        "diagnosis": to_json(list(diagnoses)),
        **({"calibration": asdict(calibrated)} if calibrated else {}),
        **({"per_class": [asdict(one) for one in per_class]} if per_class else {}),
        **({"warnings": warnings} if warnings else {}),
        **({"price": asdict(cost)} if cost else {}),
        "artefact": asdict(state.artefact) if state.artefact else None,
        "forecast": _forecast(state),
        "seconds": state.seconds,
        "peak_memory_bytes": state.peak_bytes,
    }


def _tuned(state: State) -> Mapping[str, Any]:
    """Name the model that was tuned elsewhere; nothing where the run trained one."""
    return {"tuned": state.tuned.name} if state.tuned else {}


def _training(started: Started | None) -> Mapping[str, Any]:
    """Return what is known of the training; nothing where there was none."""
    if started is None:
        return {}
    return {"trainable_parameters": started.trainable_parameters, "layout": to_json(started.layout)}


def _forecast(state: State) -> Mapping[str, Any] | None:
    """Return the estimated and the measured cost of training; None if a stop left it unmeasured."""
    if state.forecast is None or state.measured is None:
        return None
    return {"estimated": asdict(state.forecast), "measured": asdict(state.measured)}


def _counts(run: Run) -> Mapping[str, int]:
    ledger = run.read_ledger()
    counts = {part: sum(entry.fate == part for entry in ledger) for part in PARTS}
    dropped = sum(entry.fate == "dropped" for entry in ledger)
    return {"rows": sum(counts.values()) + dropped, **counts, "dropped": dropped}


def _selection(run: Run, contender: Contender) -> Mapping[str, Any]:
    """Return what choosing a contender took on validation rows: a prompt among several, or a checkpoint."""
    if contender.kind == "tuned":
        validations = sum(isinstance(event, Validated) for event in run.events())
        return {"ways": validations, "calls": validations * _counts(run)["validation"]}
    selection = run.state.selections.get(contender.name)
    return asdict(selection) if selection else {"ways": 0, "calls": 0, "tokens": 0, "seconds": 0.0}


def _contender(contender: Contender, selection: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in to_json(contender).items() if name != "per_class" and value != ""} | {
        "selection": dict(selection)
    }
