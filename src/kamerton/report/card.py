"""The model card: `README.md` in the hub's format beside the weights, made of the run's result."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import yaml
from jinja2 import Environment

from kamerton.core.messages import Message
from kamerton.core.records import Example
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.models.published import catalogue
from kamerton.report.content import classes
from kamerton.report.html import bare_environment
from kamerton.report.outcome import Outcome, read_outcome
from kamerton.report.usage import Usage, usage
from kamerton.runs.run import MODEL, Run
from kamerton.text.language_id import CODES, language_of
from kamerton.text.safe import one_line

PIPELINES = {"SequenceClassification": "text-classification", "CausalLM": "text-generation"}
"""The hub's pipeline tags, by what transformers' auto classes call the head."""
FREE = ("Apache-2.0", "MIT")
"""Licences under which a tuned model may be passed on as its base is; the hub names them in lower case."""
LOOKED_AT = 200
"""Rows whose language is identified; one in ten of a language makes it the model's."""


def write_card(run: Run, language: Language = "en") -> Path | None:
    """Write the card of a finished run's model, in Russian `README.ru.md`, and return its path.

    None is returned, and nothing is written, where the model is not here but answers at an address.

    Raises:
        RunError: the run is not finished, or its result cannot be read.
    """
    if not run.model.exists():
        return None
    outcome, split = read_outcome(run), run.read_split()
    used = usage(run, sorted({e.gold for e in split.train}) if classes([e.gold for e in split.test]) else ())
    front = front_matter(run, outcome, split.test[:LOOKED_AT], used)
    values = {
        "front": yaml.safe_dump(front, allow_unicode=True, sort_keys=False).strip(),
        "name": run.path.resolve().name,
        "outcome": outcome,
        "recipe": run.recipe,
        "usage": replace(used, folder=repr("path/to/this/folder")),
    }
    name = f"{MODEL}/" + ("README.md" if language == "en" else f"README.{language}.md")
    card = environment(language).get_template("card.md.j2").render(values).strip() + "\n"
    with run.changing() as change:
        change.write(name, card.encode())
    return run.path / name


def front_matter(run: Run, outcome: Outcome, rows: Sequence[Example], used: Usage) -> dict[str, object]:
    """Return the card's metadata; what is not known is left out."""
    tuned, name, base = outcome.tuned, run.path.resolve().name, outcome.model.name
    source, pipeline = Path(run.recipe.data.path or "data").name, PIPELINES.get(used.head, "")
    languages = Counter(language_of(row.text) for row in rows).most_common()
    licences = [one.licence.lower() for one in catalogue().models if one.name == base and one.licence in FREE]
    values = {name: tuned.metrics[name].value for name in outcome.metrics if name in tuned.metrics}
    metrics = [{"type": name, "value": round(value, 6)} for name, value in values.items() if math.isfinite(value)]
    result = {"task": {"type": pipeline or outcome.task}, "dataset": {"name": source, "type": source}}
    front = {
        "base_model": "" if Path(base).exists() else base,
        "library_name": used.package,
        "pipeline_tag": pipeline,
        "language": [CODES[name] for name, count in languages if name in CODES and count >= 0.1 * len(rows)],
        "license": next(iter(licences), ""),
        "tags": ["kamerton"] if outcome.model.tuned else ["kamerton", outcome.method.name],
        "metrics": [metric["type"] for metric in metrics],
        "model-index": [{"name": name, "results": [{**result, "metrics": metrics}]}],
    }
    return {key: value for key, value in front.items() if value}


@cache
def environment(language: Language = "en") -> Environment:
    """Return the Jinja environment of the card: Markdown, in which a value stays on its line and is no markup."""
    speaker = voice(language)
    cards = bare_environment(speaker, escaping=False)
    cards.globals["t"] = lambda template, values=None: speaker.render(Message(template, values or {}))
    cards.filters |= {"inline": inline, "render": lambda wording: inline(speaker.render(wording))}
    cards.filters["term"] = lambda word: inline(speaker.translate(word))
    return cards


def inline(value: str) -> str:
    r"""Write a text on one line of Markdown, its special characters escaped.

    >>> inline("a|b <script>\n*c*")
    'a\\|b &lt;script&gt; \\*c\\*'
    """
    line = one_line(value, 2000).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{sign}" if sign in "\\`*_[]|" else sign for sign in line)
