"""The report: one HTML file made of what lies in a finished run's folder, and of nothing else.

It holds no script and asks the network for nothing. Every value passes through autoescaping and
`safe_text`; the sentences stand in the template.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from kamerton.core.figures import Figure, Style
from kamerton.core.files import write_text
from kamerton.core.messages import Message, msg
from kamerton.core.outcomes import ComparedRuns
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.report import content
from kamerton.report.charts import SHARES, forest, learning, pareto
from kamerton.report.outcome import Outcome, named, read_outcome, title_of
from kamerton.report.terms import EXPLAINED, metric_terms
from kamerton.report.usage import usage
from kamerton.runs.columns import RunTables
from kamerton.runs.price import price
from kamerton.runs.recipe import of_training
from kamerton.runs.run import PARTS, Run
from kamerton.runs.state import as_json
from kamerton.text import safe as text
from kamerton.text.cells import plain

KEYS = Path(__file__).with_name("keys.js")
"""The script by which keys press buttons; the studio's pages use it, too."""
STYLE = Path(__file__).with_name("report.css")
CODE = re.compile("`([^`]+)`")
TITLES = {
    "verdict": msg("Verdict"),
    "contenders": msg("Contenders"),
    "calibration": msg("Calibration"),
    "learning": msg("Training"),
    "forgetting": msg("Forgetting"),
    "diagnosis": msg("Diagnosis"),
    "confusion": msg("Confusion matrix"),
    "examples": msg("Examples side by side"),
    "data": msg("Data"),
    "audit": msg("Audit"),
    "cost": msg("Cost"),
    "recipe": msg("Recipe"),
    "environment": msg("Environment"),
    "usage": msg("How to use the model"),
}
"""The sections of the report in their order: macros of `sections.html.j2`."""
SHOWN_ELSEWHERE = {"seconds", "artefact", "forecast", "measured", "classic_rows"}
"""Parts of the state that the result holds too, and are shown from there."""


def write_report(run: Run, language: Language = "en") -> Path:
    """Write `report.html`, in Russian `report.ru.html`, into a finished run's folder and return its path.

    Raises:
        RunError: the run is not finished, or its result cannot be read.
    """
    name, page = "report.html" if language == "en" else f"report.{language}.html", read_page(run)
    with run.changing() as change:
        write_page(change.path(name), "report.html.j2", {"page": page}, language)
    return run.path / name


def write_comparison(
    compared: ComparedRuns, outcomes: Mapping[str, Outcome], path: Path, language: Language = "en"
) -> Path:
    """Write the page that compares runs on the same rows, whose outcomes are given by name, and return its path."""
    return write_page(path, "comparison.html.j2", {"compared": compared, "outcomes": outcomes}, language)


def write_page(path: Path, template: str, values: Mapping[str, object], language: Language) -> Path:
    """Write a page as one self-contained HTML file and return its path."""
    write_text(path, environment(language).get_template(template).render(values).strip() + "\n")
    return path


def read_page(run: Run) -> Mapping[str, object]:
    """Collect from a finished run's folder what its report shows.

    Raises:
        RunError: the run is not finished, or its result cannot be read.
    """
    outcome, tables = read_outcome(run), RunTables(run)
    tuned, other = tables.answers(outcome.tuned.name), tables.answers(outcome.verdict.against)
    page = read_content(run, outcome, tables)
    labels, test = page["labels"], tables.examples("test")
    contrasts = content.contrasts(test, tuned, other, labels=labels) if tuned and other else None
    shown = {"examples": contrasts, "usage": run.model.exists()}
    return page | {
        "contrasts": contrasts,
        "usage": usage(run, sorted(page["class_counts"]["train"]) if labels else ()),
        "sections": [key for key in TITLES if key in page["sections"] or shown.get(key)],
    }


def read_content(run: Run, outcome: Outcome, tables: RunTables) -> dict[str, Any]:
    """Collect what all pages of a finished run show: all of its report but rows and the use of the model.

    Args:
        run: a finished one.
        outcome: of it.
        tables: of it.
    """
    recipe, golds, tuned = run.recipe, tables.part("test").values("gold"), tables.answers(outcome.tuned.name)
    labels = content.classes(golds)
    texts = [prediction.text for prediction in tuned.predictions] if tuned else []
    state = {name: value for name, value in as_json(run.state).items() if name not in SHOWN_ELSEWHERE}
    page = {
        "name": run.path.resolve().name,
        "recipe": recipe,
        "outcome": outcome,
        "confidence": recipe.evaluate.confidence,
        "forest": forest(outcome),
        "learning": learning(run.events(), outcome.primary_metric),
        "pareto": pareto(outcome.remedies),
        "confusion": content.confusion(labels, golds, texts) if labels and tuned else None,
        "labels": labels,
        "class_counts": {
            part: Counter({gold: rows for (gold,), rows in tables.part(part).counts("gold").items()}) for part in PARTS
        },
        "losses": content.losses(tables.fates),
        "findings": run.read_findings(),
        "settings": [pair for pair in content.explained(recipe) if not (outcome.model.tuned and of_training(pair[0]))],
        "trained_on": bool(recipe.split.train_path),
        "environment": [*content.facts(state)],
        "classic_rows": run.state.classic_rows,
        "terrain": content.terrain(tables),
        "price": price(run, content.per_thousand(outcome.tuned, outcome) / 1000, sum(outcome.seconds.values())),
        "regained": None if outcome.model.tuned else content.regained(outcome),
        "metric_terms": metric_terms(outcome.metrics),
    }
    optional = {"calibration": outcome.calibration, "confusion": page["confusion"], "examples": None, "usage": None}
    return page | {"sections": [key for key in TITLES if optional.get(key, True)]}


@cache
def environment(language: Language = "en") -> Environment:
    """Return the Jinja environment of the pages: autoescaping, strict, with a language's messages and figures.

    In templates `{{ t("{rows} {rows:row|rows} were read", {"rows": 3}) }}` is a message of ours, `{{ x|render }}`
    renders a message of a record, `{{ x|term }}` translates a fixed word of one, and `{{ x|percent }}` writes a number.
    """
    speaker = voice(language)

    def message(template: str, values: Mapping[str, Any] | None = None) -> Markup:
        """Render a message of ours, which may hold markup, with values, which may not."""
        pairs = (values or {}).items()
        safe = {name: value if isinstance(value, int) else escape(_finalize(value)) for name, value in pairs}
        return Markup(speaker.render(Message(template, safe)))

    pages = bare_environment(speaker, escaping=True)
    pages.filters |= {"plain": plain, "safe_text": text.safe_text, "one_line": text.one_line}
    pages.filters |= {"render": speaker.render, "term": speaker.translate}
    pages.globals |= {"t": message, "per_thousand": content.per_thousand, "shares": SHARES}
    pages.globals |= {"titles": TITLES, "explained": EXPLAINED}
    return pages


def bare_environment(voice: Voice, *, escaping: bool) -> Environment:
    """Return what the environments of pages and of cards share: strictness, and a language's figures.

    The filters that write numbers have the names of the styles; `digits` localizes a number's separators.
    """

    def filter_of(style: Style) -> Callable[[float], str]:
        return lambda value: voice.write(Figure(value, style))

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=escaping,
        undefined=StrictUndefined,
        finalize=_finalize if escaping else None,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {style.replace(" ", "_"): filter_of(style) for style in get_args(Style)}
    environment.filters["digits"] = voice.symbols.localize
    environment.filters["code"] = _code
    environment.globals |= {
        "interval": voice.interval,
        "language": voice.language,
        "named": named,
        "title_of": title_of,
    }
    return environment


def _code(value: str) -> Markup:
    """Return a text with what stands between backticks as code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text.safe_text(value)))))  # Markup would escape the tags


def _finalize(value: object) -> object:
    """Return a value of the page as safe text; markup of the template itself is returned unchanged."""
    return text.safe_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value
