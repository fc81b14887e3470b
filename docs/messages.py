"""Collect what the code says to readers, and keep the catalogues of other languages complete.

A catalogue, `src/kamerton/i18n/LANGUAGE/LC_MESSAGES/kamerton.po`, holds a translation for each template: gettext's
format, so that translators' tools open it. `kamerton.mo` beside it is what the program reads.

python docs/messages.py            add new templates, remove unused ones, compile
python docs/messages.py --check    only report what is missing, unused or wrong (status 1 if anything is)
"""

from __future__ import annotations

import ast
import io
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from jinja2 import Environment, nodes
from pydantic import BaseModel
from typer.main import get_group

from kamerton.cli.app import app
from kamerton.core import contracts, outcomes, records, registry
from kamerton.core.messages import HOLE
from kamerton.deliver.formats import description_of
from kamerton.i18n.language import DOMAIN, LANGUAGES, LOCALES
from kamerton.models.catalog import known
from kamerton.runs.recipe import Reason, Recipe

SOURCE = LOCALES.parent
MESSAGES = {"msg", "Message", "term", "text", "translate", "t"}
"""Calls whose first argument is a template."""
NAMES = {"stage", "Stage", "Progress", "timed", "Diagnosis", "Answers", "PromptStrategy", "Strategy"}
"""Calls whose first argument is an identifier in files that readers see translated."""
TYPER = (
    "Options", "Arguments", "Commands", "required", "default: {default}", "env var: {var}", "[OPTIONS]",
    "COMMAND [ARGS]...", "Show this message and exit.",
)  # fmt: skip
"""Words of the command-line library."""

WORD = re.compile("[A-Za-z]")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""A date that does not change: the catalogue is the same for the same messages."""

Places = Mapping[str, set[str]]
"""The files below `kamerton` that hold a template, by template."""


def templates() -> Places:
    """Collect every template and term that a reader can see; what holds no letters is the same in all languages."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(SOURCE.rglob("*.py")):
        for template in python_templates(ast.parse(path.read_text(encoding="utf-8"))):
            found[template].add(path.relative_to(SOURCE).as_posix())
    for path in sorted(SOURCE.rglob("*.j2")):
        for template in jinja_templates(path.read_text(encoding="utf-8")):
            found[template].add(path.relative_to(SOURCE).as_posix())
    for template in help_texts():
        found[template].add("cli")
    for template in settings_texts(Recipe):
        found[template].add("runs/recipe.py")
    for folder in ("exports", "methods", "tasks"):
        for kind in (registry.choose(folder, word) for word in registry.names(folder)):
            for template in (*([description_of(kind)] if folder == "exports" else ()), *settings_texts(kind)):
                found[template].add(f"plugins/{folder}")
    for template in terms():
        found[template].add("core")
    return {template: places for template, places in found.items() if WORD.search(HOLE.sub(r"\2", template))}


# ── the source ────────────────────────────────────────────────────────────────────────────────


def python_templates(tree: ast.AST) -> Iterator[str]:
    """Yield the templates of a module: literals, or names of literals in the same function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = called(node)
            if name in MESSAGES | NAMES and node.args:
                yield from literals(node.args[0], tree)
            elif name == "Joined":
                marks = node.args[1:2] or [one.value for one in node.keywords if one.arg == "mark"]
                yield from literals(marks[0], tree) if marks else ("; ",)
            elif name in NAMES:
                yield from (text for one in node.keywords if one.arg == "name" for text in literals(one.value, tree))


def called(node: ast.Call) -> str:
    """Return the last part of a called name."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def literals(node: ast.AST, tree: ast.AST) -> Iterator[str]:
    """Yield the strings that an argument can be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*literals(node.body, tree), *literals(node.orelse, tree))
    elif isinstance(node, ast.Name):
        for one in ast.walk(tree):
            targets = one.targets if isinstance(one, ast.Assign) else ()
            if any(isinstance(target, ast.Name) and target.id == node.id for target in targets):
                yield from literals(one.value, ast.Module([], []))


def jinja_templates(source: str) -> Iterator[str]:
    """Yield the first arguments of `t` in a template."""
    for call in Environment().parse(source).find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == "t":
            yield from (one.value for one in call.args[:1] if isinstance(one, nodes.Const))


# ── help and settings ─────────────────────────────────────────────────────────────────────────


def help_texts() -> Iterator[str]:
    """Yield what `--help` is made of."""
    group = get_group(app)
    commands: list[Any] = [group, *group.commands.values()]
    for command in commands:
        yield from (" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n"))
        yield from (one.help for one in command.params if one.help)
    yield from TYPER


def settings_texts(model: type[BaseModel]) -> Iterator[str]:
    """Yield the descriptions of settings and of those in their groups."""
    for field in model.model_fields.values():
        if field.description:
            yield field.description
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_texts(field.annotation)


# ── terms ─────────────────────────────────────────────────────────────────────────────────────

LITERALS = (
    (outcomes.Verdict, "decision"), (outcomes.Verdict, "standing"), (outcomes.Forgetting, "decision"),
    (outcomes.Contender, "kind"), (records.LedgerEntry, "fate"), (records.Finding, "severity"), (Reason, "origin"),
    (contracts.ModelFacts, "kind"),
)  # fmt: skip
"""Fields whose values readers see translated."""


def terms() -> Iterator[str]:
    """Yield the fixed words of a run's files."""
    for record, name in LITERALS:
        yield from get_args(get_type_hints(record)[name])
    yield from (word.replace("-", " ") for word in registry.names("audits"))
    yield from (language for model in known() for language in model.languages)
    yield from ("easy", "ambiguous", "hard", "examples", "instructions")


# ── catalogues ────────────────────────────────────────────────────────────────────────────────


def catalogue_path(language: str) -> Path:
    """Return the path of a language's catalogue."""
    return LOCALES / language / "LC_MESSAGES" / f"{DOMAIN}.po"


def read_catalogue(language: str) -> Catalog:
    """Read a language's catalogue; an empty one if there is none."""
    path = catalogue_path(language)
    if not path.exists():
        return Catalog(language)
    with path.open("rb") as file:
        return read_po(file, language)


def faults(language: str, found: Places) -> Iterator[str]:
    """Yield what is wrong with a catalogue: missing or unused templates, holes and forms that disagree."""
    held = {str(one.id): str(one.string) for one in read_catalogue(language) if one.id}
    for template in sorted(found.keys() - {name for name, text in held.items() if text}):
        yield f"missing in {language}: {template!r} ({', '.join(sorted(found[template]))})"
    for template in sorted(held.keys() - found.keys()):
        yield f"unused in {language}: {template!r}"
    for template, text in held.items():
        if {hole[1] for hole in HOLE.finditer(text)} != {hole[1] for hole in HOLE.finditer(template)}:
            yield f"other holes in {language}: {template!r} → {text!r}"
        if any("|" in (hole[2] or "") and hole[2].count("|") != 2 for hole in HOLE.finditer(text)):
            yield f"not three forms in {language}: {text!r}"
    if compiled(read_catalogue(language)) != catalogue_path(language).with_suffix(".mo").read_bytes():
        yield f"{DOMAIN}.mo of {language} is out of step: run `make messages`"


def compiled(catalogue: Catalog) -> bytes:
    """Return a catalogue in the form that gettext reads."""
    buffer = io.BytesIO()
    write_mo(buffer, catalogue)
    return buffer.getvalue()


def update(language: str, found: Places, translations: Mapping[str, str]) -> None:
    """Write a language's catalogue, its templates in the order of the files, and compile it."""
    header = f"# Kamerton's messages: {language}. Written by `make messages`; translations are kept."
    about = {"project": "Kamerton", "version": "1", "last_translator": "Kamerton", "language_team": language}
    catalogue = Catalog(language, DOMAIN, header, **about, creation_date=EPOCH, revision_date=EPOCH, fuzzy=False)
    for template in sorted(found, key=lambda one: (sorted(found[one]), one)):
        places = [(place, None) for place in sorted(found[template])]
        catalogue.add(template, translations.get(template, ""), locations=places)
    path = catalogue_path(language)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalogue, width=120, omit_header=False, include_lineno=False, ignore_obsolete=True)
    path.with_suffix(".mo").write_bytes(compiled(catalogue))


def main(arguments: Sequence[str]) -> int:
    """Update the catalogues, or check them."""
    found, wrong = templates(), []
    for language in LANGUAGES[1:]:
        if "--check" not in arguments:
            held = {str(one.id): str(one.string) for one in read_catalogue(language) if one.id}
            update(language, found, held)
        wrong += faults(language, found)
    for fault in wrong:
        print(fault, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
