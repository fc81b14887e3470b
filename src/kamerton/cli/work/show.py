"""What `kamerton show` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from kamerton.cli.output import print_json
from kamerton.core.message_json import to_json
from kamerton.data.gate import look
from kamerton.i18n.voice import Language, voice
from kamerton.pipeline.prepare import choose_base, fit, understand
from kamerton.report.terminal import Screen
from kamerton.runs.recipe import parse_assignment, resolve


def run(
    data: Path, rows: int, flags: Mapping[str, object], assignments: Sequence[str], json: bool, language: Language
) -> None:
    """Show what the model gets for some rows."""
    settings = dict(parse_assignment(text) for text in assignments)
    understood = choose_base(understand(resolve(None, {"data.path": str(data), **flags, **settings})))
    fitted = fit(understood)
    shown = understood.examples[:rows]
    too_long = fitted.recipe.data.too_long or "cut"
    views = look(shown, list(fitted.encode(shown)), fitted.form, fitted.tokenizer, fitted.max_tokens, too_long)
    if json:
        print_json([to_json(view) for view in views])
        return
    speaker, facts = voice(language), fitted.facts
    values = {"task": fitted.recipe.data.task, "model": facts.name, "kind": speaker.text(facts.kind)}
    head = "{task} for {model} ({kind}), {tokens} {tokens:token|tokens} at most"
    print(speaker.say(head, {**values, "tokens": fitted.max_tokens}))
    print(speaker.repeat(understood.reason))
    Screen(Console(), speaker).show_tokens(views)
