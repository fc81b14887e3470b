"""Every message has its translation, every translation is used, and no finished sentence is passed for a message."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import messages
import pytest
from typer.testing import CliRunner

import kamerton
from kamerton.cli.app import app
from kamerton.cli.speech import speak
from kamerton.i18n.language import LANGUAGES, language_asked, language_of
from kamerton.i18n.voice import voice

SOURCE = Path(kamerton.__file__).parent
PATHS = sorted(SOURCE.rglob("*.py"))

# ── catalogues ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def found() -> messages.Places:
    return messages.templates()


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_each_template_has_a_translation_with_the_same_holes_and_none_is_unused(language, found):
    assert len(found) > 1000, "the search for templates is broken"
    assert list(messages.faults(language, found)) == []


def test_what_is_wrong_with_a_catalogue_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(messages, "LOCALES", tmp_path)
    found = {"{rows} {rows:row|rows} in {file}": {"a.py"}, "new one": {"a.py"}, "whole": {"a.py"}}
    messages.update("ru", found | {"old one": {"a.py"}}, {
        "{rows} {rows:row|rows} in {file}": "{rows} {rows:строка|строк}", "old one": "старое", "whole": "целое",
    })  # fmt: skip
    told = "\n".join(messages.faults("ru", found))
    assert all(word in told for word in ("missing in ru: 'new one'", "unused in ru: 'old one'", "other holes", "forms"))
    assert "whole" not in told


def test_templates_are_read_from_the_syntax():
    code = 'rule = "a {b}"\nmsg(rule, b=1)\nJoined(parts)\nvoice.text("c")\nmsg("d" if e else "f")\nStage("g", h)\n'
    assert list(messages.python_templates(ast.parse(code))) == ["a {b}", "; ", "c", "d", "f", "g"]
    assert list(messages.jinja_templates('{{ t("a {b}", {"b": 1}) }} {{ t("c") if d }} {{ e|term }}')) == ["a {b}", "c"]


# ── messages are no finished sentences ────────────────────────────────────────────────────────

WORDINGS = {
    "Fault": (("rule", 0), ("remedy", 2)), "Finding": (("title", 2), ("remedy", 3)), "LedgerEntry": (("reason", 3),),
    "Stage": (("message", 1),), "stage": (("message", 1),), "Stopped": (("reason", 2),), "Unusable": (("message", 0),),
    "Decision": (("reason", 1),), "Advice": (("reason", 1),), "Diagnosis": (("evidence", 1), ("remedy", 2)),
    "Forgetting": (("reason", 1),), "warn": (("wording", 0),),
}  # fmt: skip
"""Calls that take messages: the name and the position of each."""


def finished(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield what is passed as a message and is a sentence already: f-strings, and constants of several words."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(node): function for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not ast.unparse(node.func).startswith("warnings."):
            for name, position in WORDINGS.get(messages.called(node), ()):
                passed = [one.value for one in node.keywords if one.arg == name] + node.args[position : position + 1]
                scope = inside.get(id(node), tree)
                yield from (one for value in passed for one in candidates(value, scope) if is_sentence(one))


def candidates(node: ast.expr, tree: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions that an argument can be: itself, a branch, or what its name is assigned."""
    if isinstance(node, ast.IfExp | ast.BoolOp):
        branches = (node.body, node.orelse) if isinstance(node, ast.IfExp) else node.values
        yield from (one for branch in branches for one in candidates(branch, tree))
    elif isinstance(node, ast.Name):
        for one in ast.walk(tree):
            if isinstance(one, ast.Assign) and any(isinstance(t, ast.Name) and t.id == node.id for t in one.targets):
                yield one.value
    else:
        yield node


def is_sentence(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and " " in node.value
    return isinstance(node, ast.JoinedStr | ast.BinOp)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_finished_sentence_is_passed_as_a_message(path):
    assert [f"{path}:{one.lineno}" for one in finished(ast.parse(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize(
    "code",
    [
        'Fault(f"{n} rows")', 'Fault("two words")', 'Fault(msg("fine"), place, remedy=f"try {x}")',
        'rule = f"{n} rows"\nFault(rule)', 'Stage("read", "two " + words, 1.0)', 'Fault("a b" if c else msg("d"))',
    ],
)  # fmt: skip
def test_a_finished_sentence_is_seen(code):
    assert len(list(finished(ast.parse(code)))) == 1


# ── the reader's language ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "ru_RU.UTF-8", "LC_MESSAGES": "de_DE.UTF-8"}, "en"),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "", "LC_ALL": "ru"}, "ru"),
        ({"LANG": "ru_RU.UTF-8", "KAMERTON_LANGUAGE": "en"}, "en"),
        ({"LC_ALL": "C", "KAMERTON_LANGUAGE": "ru"}, "ru"),
    ],
)
def test_the_environment_asks_for_a_language(environment, language):
    assert language_of(environment) == language


@pytest.mark.parametrize("words", [["--language", "ru"], ["--language=ru"], ["--language", "en", "--language", "ru"]])
def test_a_flag_asks_for_a_language(words):
    assert language_asked(["tune", *words, "--help"], {"LC_ALL": "C"}) == "ru"
    assert language_asked([*words, "--language", "en"], {"LANG": "ru_RU"}) == "en"


COMMANDS = [path.stem.replace("_", "-") for path in (SOURCE / "cli" / "commands").glob("[a-z]*.py")]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_russian_to_the_last_word(command, monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    speak("ru")
    try:
        said = CliRunner().invoke(app, [*command.split(), "--help"], terminal_width=1000).output
    finally:
        speak("en")
    lines = [line.strip() for line in said.splitlines() if line.strip() and "kamerton " not in line]
    texts = [line.partition("  ")[2] or line for line in lines if not line.startswith("--") or "  " in line]
    assert texts and [text for text in texts if not any("а" <= letter <= "я" for letter in text.lower())] == []


def test_numbers_and_forms_agree():
    russian = voice("ru")
    assert [russian.plural(n, ["строка", "строки", "строк"]) for n in (1, 3, 11, 25, 41)] == [
        "строка", "строки", "строк", "строк", "строка",
    ]  # fmt: skip
