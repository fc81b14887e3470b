"""The report: one HTML file made of what lies in a finished run's folder, and of nothing else.

It holds no script and asks the network for nothing. Every value passes through autoescaping and
`safe_text`; the sentences stand in the template.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kamerton.core import figures
from kamerton.core.files import write_text
from kamerton.core.messages import Wording
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
from kamerton.report.outcome import Outcome, read_outcome
from kamerton.report.pareto import Pareto, pareto
from kamerton.report.usage import Usage, usage
from kamerton.report.verdict_text import reason_of
from kamerton.runs.price import Price, price
from kamerton.runs.run import Run
from kamerton.runs.state import as_json
from kamerton.text.cells import plain
from kamerton.text.safe import one_line, safe_text

FIGURES: tuple[Callable[..., str], ...] = (
    figures.number,
    figures.signed,
    figures.percent,
    figures.probability,
    figures.duration,
    figures.parameters,
    figures.memory,
)
"""What the templates write numbers with, in the reader's language."""
TOLD_ELSEWHERE = {"seconds", "artefact", "forecast", "measured", "classic_rows"}
"""Parts of the environment that stand in the result too, and are shown from there."""


@dataclass(frozen=True)
class Page:
    """What the template shows."""

    name: str
    outcome: Outcome
    reason: str
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
    """How many rows of training and validation the classic contenders learned from; older runs do not say."""
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
    html = environment(language).get_template("report.html.j2").render(page=read_page(run, voice(language)))
    write_text(path, html.strip() + "\n")
    return path


def read_page(run: Run, voice: Voice) -> Page:
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
        reason=reason_of(outcome, recipe.evaluate.confidence, voice),
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
        environment=tuple(facts({k: v for k, v in as_json(run.state).items() if k not in TOLD_ELSEWHERE})),
        classic_rows=run.state.classic_rows,
        usage=usage(run, sorted({example.gold for example in split.train}) if labels else ()),
        reliability=reliability(outcome.calibration) if outcome.calibration else (),
        terrain=terrain(run.read_dynamics(), split.train),
        price=price(run, per_thousand(outcome.tuned, outcome) / 1000, sum(outcome.seconds.values())),
        regained=regained(outcome),
    )


@cache
def environment(language: Language = "en") -> Environment:
    """Give what renders the pages: autoescaping, strict, with a language's sentences and figures.

    Templates say `{{ t("{rows} {rows:row|rows} were read", {"rows": 3}) }}`; `said` says again what a run's files say.
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
    environment.filters |= {"plain": plain, "safe_text": safe_text, "one_line": one_line}
    environment.filters |= {write.__name__: partial(figure, speaker, write) for write in FIGURES}
    environment.filters |= {"figure": speaker.figure, "said": partial(_said, speaker), "repeat": speaker.repeat}
    environment.globals |= {
        "t": partial(_sentence, speaker),
        "interval": speaker.interval,
        "language": language,
        "per_thousand": per_thousand,
        "shares": SHARES,
    }
    return environment


NOTHING: Mapping[str, object] = {}


def _sentence(voice: Voice, english: str, values: Mapping[str, object] = NOTHING) -> Markup:
    """Say a sentence of ours, which may hold markup, with values, which may not."""
    filled = {name: voice.counted(_finalize(value)) for name, value in values.items()}
    return Markup(voice.text(english)).format_map(filled)


def figure(voice: Voice, write: Callable[[float], str], value: float) -> str:
    """Write a number in one of the ways of `FIGURES`, as the language does."""
    return voice.figure(write(value))


def _said(voice: Voice, sentence: Wording) -> str:
    """Render what a file of the run says; what the catalogue lacks stays English, and is marked so."""
    if not isinstance(sentence, str):
        return voice.render(sentence)
    again = voice.again(sentence)
    if again is None and sentence:
        return Markup('<span lang="en">{}</span>').format(safe_text(sentence))
    return again or ""


def _finalize(value: object) -> object:
    """Make every value that is put into the page safe text; what the template itself made is left as it is."""
    return safe_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value
