"""The report: one HTML file made of what lies in a finished run's folder, and of nothing else.

It holds no script and asks the network for nothing. Every value passes through autoescaping and
`safe_text`; the sentences stand in the template.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from kamerton.core.figures import Figure, Style
from kamerton.core.files import write_text
from kamerton.core.messages import Message, msg
from kamerton.core.records import Finding
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
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
from kamerton.report.evidence import SHARES, Bin, Terrain, per_thousand, regained, reliability, terrain
from kamerton.report.outcome import Outcome, named, read_outcome, title_of
from kamerton.report.pareto import Pareto, pareto
from kamerton.report.usage import Usage, usage
from kamerton.runs.price import Price, price
from kamerton.runs.run import Run
from kamerton.runs.state import as_json
from kamerton.text import safe as text
from kamerton.text.cells import plain

SHOWN_ELSEWHERE = {"seconds", "artefact", "forecast", "measured", "classic_rows"}
"""Parts of the state that the result holds too, and are shown from there."""


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
    classic_rows: int | None
    """How many rows of training and validation the classic contenders learned from; older runs lack it."""
    usage: Usage
    reliability: tuple[Bin, ...]
    terrain: Terrain | None
    price: Price | None
    regained: int | None


def write_report(run: Run, language: Language = "en") -> Path:
    """Write `report.html`, in Russian `report.ru.html`, into a finished run's folder and return its path.

    Raises:
        RunError: the run is not finished, or its result cannot be read.

    """
    path = run.path / ("report.html" if language == "en" else f"report.{language}.html")
    html = environment(language).get_template("report.html.j2").render(page=read_page(run))
    write_text(path, html.strip() + "\n")
    return path


def read_page(run: Run) -> Page:
    """Collect from a finished run's folder what its report shows.

    Raises:
        RunError: the run is not finished, or its result cannot be read.

    """
    outcome, recipe, split = read_outcome(run), run.recipe, run.read_split()
    golds = [example.gold for example in split.test]
    labels = classes(golds)
    answers = {contender.name: contender for contender in run.read_answers()}
    tuned, other = answers.get(outcome.tuned.name), answers.get(outcome.verdict.against)
    return Page(
        name=run.path.resolve().name,
        outcome=outcome,
        confidence=recipe.evaluate.confidence,
        forest=forest(outcome),
        learning=learning(run.events(), outcome.primary_metric),
        pareto=pareto(outcome.remedies),
        confusion=confusion(labels, golds, [p.text for p in tuned.predictions]) if labels and tuned else None,
        contrasts=contrasts(split.test, tuned, other, labels=labels) if tuned and other else None,
        class_counts=class_counts(split, labels),
        losses=losses(run.read_ledger()),
        findings=tuple(run.read_findings()),
        settings=explained(recipe),
        environment=tuple(facts({k: v for k, v in as_json(run.state).items() if k not in SHOWN_ELSEWHERE})),
        classic_rows=run.state.classic_rows,
        usage=usage(run, sorted({example.gold for example in split.train}) if labels else ()),
        reliability=reliability(outcome.calibration) if outcome.calibration else (),
        terrain=terrain(run.read_dynamics(), split.train),
        price=price(run, per_thousand(outcome.tuned, outcome) / 1000, sum(outcome.seconds.values())),
        regained=regained(outcome),
    )


@cache
def environment(language: Language = "en") -> Environment:
    """Return the Jinja environment of the pages: autoescaping, strict, with a language's messages and figures.

    In templates `{{ t("{rows} {rows:row|rows} were read", {"rows": 3}) }}` is a message of ours, `{{ x|said }}` renders
    a message of a record, `{{ x|term }}` translates a fixed word of one, and `{{ x|percent }}` writes a number.
    """
    speaker = voice(language)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"plain": plain, "safe_text": text.safe_text, "one_line": text.one_line}
    environment.filters |= figure_filters(speaker)
    environment.filters |= {"said": speaker.render, "term": speaker.translate}
    environment.globals |= {
        "t": partial(_message, speaker),
        "interval": partial(interval, speaker),
        "language": language,
        "per_thousand": per_thousand,
        "named": named,
        "title_of": title_of,
        "shares": SHARES,
    }
    return environment


def figure_filters(voice: Voice) -> dict[str, Callable[..., str]]:
    """Return the filters that write numbers, by the names of the styles; `digits` localizes a number's separators."""
    styles: tuple[Style, ...] = get_args(Style)
    filters = {style.replace(" ", "_"): partial(_figure, voice, style) for style in styles}
    return filters | {"digits": voice.symbols.localize}


def _figure(voice: Voice, style: Style, value: float) -> str:
    return voice.write(Figure(value, style))


def interval(voice: Voice, low: str, high: str) -> str:
    """Write both ends of an interval, which are written already."""
    return voice.render(msg("{low} to {high}", low=low, high=high))


NOTHING: Mapping[str, object] = {}


def _message(voice: Voice, template: str, values: Mapping[str, Any] = NOTHING) -> Markup:
    """Render a message of ours, which may hold markup, with values, which may not."""
    safe = {name: value if isinstance(value, int) else escape(_finalize(value)) for name, value in values.items()}
    return Markup(voice.render(Message(template, safe)))


def _finalize(value: object) -> object:
    """Return a value of the page as safe text; markup of the template itself is returned unchanged."""
    return text.safe_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value
