"""The report: one HTML file made of what lies in a finished run's folder, and of nothing else.

It holds no script and asks the network for nothing. Every value passes through autoescaping and
`safe_text`; the sentences stand in the template.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kamerton.files import write_text
from kamerton.forms.values import plain
from kamerton.records import Finding
from kamerton.report import text
from kamerton.report.charts import Forest, Learning, forest, learning
from kamerton.report.content import (
    ClassCount,
    Confusion,
    Contrasts,
    Explained,
    Fact,
    LedgerCount,
    class_counts,
    classes,
    confusion,
    contrasts,
    explained,
    facts,
    losses,
)
from kamerton.report.outcome import Outcome, read_outcome
from kamerton.report.pareto import Pareto, pareto
from kamerton.report.usage import Usage, usage
from kamerton.run import Run

FILTERS: tuple[Callable[..., str], ...] = (
    plain,
    text.number,
    text.signed,
    text.percent,
    text.probability,
    text.duration,
    text.parameters,
    text.memory,
    text.safe_text,
)
"""What the template writes values with."""
TOLD_ELSEWHERE = {"seconds", "artefact"}
"""Parts of the environment that stand in the result too, and are shown from there."""


@dataclass(frozen=True)
class Page:
    """What the template shows."""

    name: str
    outcome: Outcome
    confidence: float
    forest: Forest
    learning: Learning | None
    pareto: Pareto | None
    confusion: Confusion | None
    contrasts: Contrasts | None
    class_counts: tuple[ClassCount, ...]
    losses: tuple[LedgerCount, ...]
    findings: tuple[Finding, ...]
    settings: tuple[Explained, ...]
    environment: tuple[Fact, ...]
    usage: Usage


def write_report(run: Run) -> Path:
    """Write `report.html` into a finished run's folder and return its path.

    Raises:
        RunError: the run is not finished, or its result cannot be read.

    """
    path = run.path / "report.html"
    html = environment().get_template("report.html.j2").render(page=read_page(run))
    write_text(path, html.strip() + "\n")
    return path


def read_page(run: Run) -> Page:
    """Gather from a finished run's folder what its report shows.

    Raises:
        RunError: the run is not finished, or its result cannot be read.

    """
    outcome, recipe, split = read_outcome(run), run.recipe, run.read_split()
    golds = [example.gold for example in split.test]
    labels = classes(golds)
    answers = {contender.name: contender for contender in run.read_answers()}
    tuned, rival = answers.get(outcome.tuned.name), answers.get(outcome.verdict.against)
    return Page(
        name=run.path.resolve().name,
        outcome=outcome,
        confidence=recipe.evaluate.confidence,
        forest=forest(outcome),
        learning=learning(run.events(), outcome.primary_metric),
        pareto=pareto(outcome.remedies),
        confusion=confusion(labels, golds, [p.text for p in tuned.predictions]) if labels and tuned else None,
        contrasts=contrasts(split.test, tuned, rival, labels=labels) if tuned and rival else None,
        class_counts=class_counts(split, labels),
        losses=losses(run.read_ledger()),
        findings=tuple(run.read_findings()),
        settings=explained(recipe),
        environment=tuple(facts({k: v for k, v in run.environment.items() if k not in TOLD_ELSEWHERE})),
        usage=usage(run, sorted({example.gold for example in split.train}) if labels else ()),
    )


@cache
def environment() -> Environment:
    """Give what renders the pages: autoescaping, strict, with the filters."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    return environment


def _finalize(value: object) -> object:
    """Make every value that is put into the page safe text; what the template itself made is left as it is."""
    return text.safe_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value
