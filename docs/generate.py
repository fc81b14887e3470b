"""Write docs/reference.md and scale.md out of code, data.md out of docs/layouts/, models-to-choose.md out of data.

The reference has every command, plug-in and setting in its own words. The examples are read by tests/test_layouts.py.

python docs/generate.py            write the pages
python docs/generate.py --check    only say whether they are in step (status 1 if not)
"""

from __future__ import annotations

import inspect
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import scale
import yaml
from pydantic import BaseModel
from typer.main import get_group
from typer.testing import CliRunner

from kamerton.cli.actions.models import spoken
from kamerton.cli.app import app
from kamerton.core import registry
from kamerton.core.contracts import Task
from kamerton.core.figures import Figure
from kamerton.core.files import write_text
from kamerton.models.published import PURPOSES, PublishedModel, catalogue
from kamerton.runs.recipe import Recipe

FOLDER = Path(__file__).parent
LAYOUTS = FOLDER / "layouts"
TABLES = (".xlsx", ".ods", ".parquet", ".arrow", ".zip", ".gz")
"""Ends of names of files that cannot be shown as text: their rows are, as CSV."""
FOLDERS = {
    "tasks": (
        "Tasks",
        "`--task NAME`; found from the columns if not given. Its settings: `--set task.SETTING=VALUE`.",
    ),
    "methods": ("Methods", "`--method NAME`; its settings are given as `--set method.SETTING=VALUE`."),
    "metrics": ("Metrics", "`--set evaluate.metric=NAME`; the task's first one selects and decides if not given."),
    "audits": ("Audit checks", "`kamerton audit DATA` runs them all; so does `kamerton tune`."),
    "exports": ("Forms of export", "`kamerton export RUN --to FORM`; its settings: `--set SETTING=VALUE`."),
    "workers": ("Places of work", "`--on NAME:PLACE` of `tune`, `resume` and `curve`; see docs/workers.md."),
    "launchers": (
        "Launchers",
        "`kamerton launch N --to LAUNCHER -- tune …`; its settings: `--set SETTING=VALUE`. [launch.md](launch.md) has "
        "examples.",
    ),
}

SETTINGS = (
    "`--set SETTING=VALUE`, or the same in a YAML file. What is open is decided from the data, the model and the "
    "method; the run's recipe.yaml has every value with its reason."
)
TYPES = {
    "array": "list",
    "boolean": "true or false",
    "integer": "whole number",
    "number": "number",
    "object": "mapping",
    "string": "text",
}
"""JSON schema's types in words."""


def page() -> str:
    """Compose the whole page."""
    lines = ["# Reference", "", "Written by `make docs` out of the code; edit the code, not this page.", ""]
    lines += ["## Commands", ""]
    for command in get_group(app).commands:
        lines += [f"### `kamerton {command}`", "", "```", help_of(command), "```", ""]
    for folder, (title, usage) in FOLDERS.items():
        lines += [f"## {title}", "", usage, ""]
        for word in registry.names(folder):
            plugin = registry.choose(folder, word)
            lines += [f"### `{word}`", "", inspect.getdoc(plugin) or "", ""]
            if folder == "tasks":
                lines += roles_table(plugin)
                lines += settings_table("task.", plugin) if plugin.model_fields else []
            if folder == "methods":
                lines += settings_table("method.", plugin)
            if folder in ("exports", "launchers"):
                lines += settings_table("", plugin)
    lines += ["## Settings of a recipe", "", SETTINGS, ""]
    lines += settings_table("", Recipe)
    return "\n".join(lines).rstrip() + "\n"


def help_of(command: str) -> str:
    """Return the help of a command."""
    return CliRunner().invoke(app, [command, "--help"], terminal_width=110, prog_name="kamerton").stdout.strip()


def roles_table(task: type[Task]) -> Iterator[str]:
    """List the columns that a task needs, and the names they are recognized by."""
    rows = [
        (
            f"`{role.name}`",
            str(role.meaning) + ("" if role.required else " (optional)"),
            ", ".join(f"`{spelling}`" for spelling in role.spellings),
        )
        for role in task.roles
    ]
    yield from table(("column", "meaning", "recognized by the names"), rows)


def settings_table(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    """List the settings of a group and of the groups in it."""
    schema = model.model_json_schema()
    rows = list(setting_rows(prefix, schema, schema.get("$defs", {})))
    yield from table(("setting", "default", "allowed", "meaning"), rows)


def setting_rows(
    prefix: str, schema: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, ...]]:
    """Yield the settings of a JSON schema in the order of the file."""
    for name, field in schema.get("properties", {}).items():
        if "$ref" in field:
            yield from setting_rows(f"{prefix}{name}.", groups[field["$ref"].rpartition("/")[2]], groups)
        elif name != "reasons":
            default = "open" if field.get("default") is None else f"`{json.dumps(field['default'])}`"
            yield f"`{prefix}{name}`", default, allowed(field), field.get("description", "")


def allowed(field: Mapping[str, Any]) -> str:
    """Return the values that a JSON schema allows, in words."""
    if "anyOf" in field:
        return " or ".join(allowed(option) for option in field["anyOf"] if option.get("type") != "null")
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {field[key]:.12g}" for key, sign in signs.items() if key in field]
    return " ".join([TYPES.get(field.get("type", ""), "anything"), *bounds])


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Draw a Markdown table; nothing if there are no rows."""
    if rows:
        for cells in (heads, ["---"] * len(heads), *rows):
            yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
        yield ""


# ── the page of data ──────────────────────────────────────────────────────────────────────────


def data_page() -> str:
    """Compose the page of all layouts of data files that are read."""
    lines = [
        "# Data files that are read",
        "",
        "Written by `make docs` out of `docs/layouts/`; edit that, not this page.",
    ]
    lines += ["Each example is read by a test, and its first row is what the page says.", ""]
    for path in sorted(LAYOUTS.glob("*.yaml")):
        section = yaml.safe_load(path.read_text(encoding="utf-8"))
        lines += [f"## {section['title']}", "", *section.get("about", "").splitlines(), ""]
        for layout in section["layouts"]:
            lines += layout_lines(layout)
    return "\n".join(lines).rstrip() + "\n"


def layout_lines(layout: Mapping[str, Any]) -> Iterator[str]:
    """Show one layout: what it is, an example, and how its first row is read."""
    yield from (f"**{layout['layout']}**", "")
    for name, content in layout["files"].items():
        held = " (its rows)" if name.endswith(TABLES) else ""
        yield from (f"`{name}`{held}", "", "```", *content.rstrip("\n").split("\n"), "```", "")
    flags = [flag(name, value) for name, value in layout.get("settings", {}).items()]
    said = f", with `{' '.join(flags)}`" if flags else ""
    first = ", ".join(f"{role} = `{json.dumps(value, ensure_ascii=False)}`" for role, value in layout["first"].items())
    yield from (f"Read as `{layout['task']}`{said}; the first row: {first}", "")


FLAGS = {"data.task": "--task", "data.columns": "--columns"}
"""Settings that have a flag of their own."""


def flag(name: str, value: object) -> str:
    """Write a setting as it is given on the command line."""
    if isinstance(value, Mapping):
        value = ",".join(f"{role}={column}" for role, column in value.items())
    said = value if isinstance(value, str) else json.dumps(value)
    return shlex.join([FLAGS[name], said] if name in FLAGS else ["--set", f"{name}={said}"])


# ── the page of models ────────────────────────────────────────────────────────────────────────

KINDS = {"encoder": "Encoders", "decoder": "Decoders", "seq2seq": "Encoder-decoders"}
WEIGHTS = {"pickle": "only a pickle: not loaded here", "code": "needs the publisher's code: not loaded here"}


def models_page() -> str:
    """Compose the page of the base models that are known."""
    book = catalogue()
    lines = ["# Base models to choose from", ""]
    lines += ["Written by `make docs` out of `src/kamerton/models/published.yaml`; edit that, not this page.", ""]
    lines += [
        f"Looked up on {book.checked}. What is unknown is left as `unknown`: read the licence yourself before you"
    ]
    lines += ["ship. `kamerton models --task TASK --texts ru --licence commercial --memory 24GB` lists what fits, the"]
    lines += ["best first, with the method and the estimated peak memory (of full passes: short rows take less);"]
    lines += ["`kamerton models get NAME` fetches one.", ""]
    for kind, title in KINDS.items():
        heads = ("model", "parameters", "context", "languages", "licence", "commercial use", "good for", "measured")
        rows = [model_row(model) for model in book.models if model.kind == kind]
        lines += [f"## {title}", "", *table((*heads, "sources"), rows)]
    lines += [
        "## Benchmarks",
        "",
        "They order the models of a kind for a language, as published; a model without a figure",
    ]
    lines += ["stands at the median of those within 1.5 times its size, embeddings left out.", ""]
    lines += table(
        ("benchmark", "language", "source"), [(b.name, b.language, b.source) for b in book.benchmarks.values()]
    )
    lines += ["## Sources", "", *(f"- `{name}`: {place}" for name, place in book.sources.items())]
    return "\n".join(lines).rstrip() + "\n"


def model_row(model: PublishedModel) -> tuple[str, ...]:
    """Return the cells of a model."""
    book = catalogue()
    scores = "; ".join(f"{book.benchmarks[name].name} {score:g}" for name, score in model.scores.items())
    name = f"`{model.name}`" + (f" ({model.published})" if model.published else "")
    size, context = (
        Figure(model.parameters, "parameters").write(),
        f"{model.facts.context:,}" if model.config else "unknown",
    )
    good_for = "; ".join(filter(None, (str(PURPOSES[model.purpose]), WEIGHTS.get(model.weights))))
    licence, allowed = model.licence, book.commercial(model)
    allowed += "; access on request" if model.gated else ""
    return name, size, context, str(spoken(model)), licence, allowed, good_for, scores, ", ".join(model.sources)


PAGES = {"reference.md": page, "data.md": data_page, "models-to-choose.md": models_page, "scale.md": scale.page}


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or compare them."""
    late = [
        name
        for name, compose in PAGES.items()
        if not in_step(FOLDER / name, compose(), write="--check" not in arguments)
    ]
    for name in late:
        print(f"docs/{name} is out of step: run `make docs`", file=sys.stderr)
    return 1 if late else 0


def in_step(path: Path, text: str, *, write: bool) -> bool:
    """Return whether a page is in step, after writing it if `write`."""
    if write:
        write_text(path, text)
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
