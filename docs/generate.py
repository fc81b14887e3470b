"""Write docs/reference.md out of the code: every command, plug-in and setting in its own words.

python docs/generate.py            write the page
python docs/generate.py --check    only say whether it is in step (status 1 if not)
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from typer.main import get_group
from typer.testing import CliRunner

from kamerton import plugins
from kamerton.cli.app import app
from kamerton.contracts import Task
from kamerton.files import write_text
from kamerton.recipe import Recipe

PAGE = Path(__file__).parent / "reference.md"
FOLDERS = {
    "tasks": (
        "Tasks",
        "`--task NAME`; found from the columns if not given. Its settings: `--set task.SETTING=VALUE`.",
    ),
    "methods": ("Methods", "`--method NAME`; its settings are given as `--set method.SETTING=VALUE`."),
    "metrics": ("Metrics", "`--set evaluate.metric=NAME`; the task's first one selects and decides if not given."),
    "audits": ("Audit checks", "`kamerton audit DATA` runs them all; so does `kamerton tune`."),
    "exports": ("Forms of export", "`kamerton export RUN --to FORM`."),
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
        for word in plugins.names(folder):
            plugin = plugins.choose(folder, word)
            lines += [f"### `{word}`", "", inspect.getdoc(plugin) or "", ""]
            if folder == "tasks":
                lines += roles_table(plugin)
                lines += settings_table("task.", plugin) if plugin.model_fields else []
            if folder == "methods":
                lines += settings_table("method.", plugin)
    lines += ["## Settings of a recipe", "", SETTINGS, ""]
    lines += settings_table("", Recipe)
    return "\n".join(lines).rstrip() + "\n"


def help_of(command: str) -> str:
    """Say what `kamerton COMMAND --help` says."""
    return CliRunner().invoke(app, [command, "--help"], terminal_width=110, prog_name="kamerton").stdout.strip()


def roles_table(task: type[Task]) -> Iterator[str]:
    """List the columns that a task needs, and the names they are recognised by."""
    rows = [
        (
            f"`{role.name}`",
            role.meaning + ("" if role.required else " (optional)"),
            ", ".join(f"`{spelling}`" for spelling in role.spellings),
        )
        for role in task.roles
    ]
    yield from table(("column", "meaning", "recognised by the names"), rows)


def settings_table(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    """List the settings of a group and of the groups in it."""
    schema = model.model_json_schema()
    rows = list(setting_rows(prefix, schema, schema.get("$defs", {})))
    yield from table(("setting", "default", "allowed", "meaning"), rows)


def setting_rows(
    prefix: str, schema: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, ...]]:
    """Go through the settings of a JSON schema in the order of the file."""
    for name, field in schema.get("properties", {}).items():
        if "$ref" in field:
            yield from setting_rows(f"{prefix}{name}.", groups[field["$ref"].rpartition("/")[2]], groups)
        elif name != "reasons":
            default = "open" if field.get("default") is None else f"`{json.dumps(field['default'])}`"
            yield f"`{prefix}{name}`", default, allowed(field), field.get("description", "")


def allowed(field: Mapping[str, Any]) -> str:
    """Say which values a JSON schema allows, in words."""
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


def main(arguments: Sequence[str]) -> int:
    """Write the page, or compare it."""
    text = page()
    if "--check" not in arguments:
        write_text(PAGE, text)
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"docs/{PAGE.name} is out of step with the code: run `make docs`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
