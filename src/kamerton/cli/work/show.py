"""What `kamerton show` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from kamerton.cli.output import print_json
from kamerton.core.message_json import to_json
from kamerton.data.gate import look
from kamerton.i18n.voice import Language, voice
from kamerton.pipeline.prepare import bind, choose_base, understand
from kamerton.report.terminal import Screen
from kamerton.runs.recipe import parse_assignment, resolve


def run(
    data: Path, rows: int, flags: Mapping[str, object], assignments: Sequence[str], json: bool, language: Language
) -> None:
    """Show what the model gets for some rows."""
    settings = dict(parse_assignment(text) for text in assignments)
    understood = choose_base(understand(resolve(None, {"data.path": str(data), **flags, **settings})))
    bound = bind(understood)
    shown = understood.examples[:rows]
    too_long = bound.recipe.data.too_long or "cut"
    views = look(shown, list(bound.encode(shown)), bound.form, bound.tokenizer, bound.max_tokens, too_long)
    if json:
        print_json([to_json(view) for view in views])
        return
    speaker, facts = voice(language), bound.facts
    values = {"task": bound.recipe.data.task, "model": facts.name, "kind": speaker.text(facts.kind)}
    head = "{task} for {model} ({kind}), {tokens} {tokens:token|tokens} at most"
    print(speaker.say(head, {**values, "tokens": bound.max_tokens}))
    print(speaker.repeat(understood.reason))
    Screen(Console(), speaker).show_tokens(views)
