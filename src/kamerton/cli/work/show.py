"""What `kamerton show` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from kamerton.cli.output import print_json
from kamerton.data.gate import look
from kamerton.prepare import choose_base, fit, understand
from kamerton.recipe import parse_assignment, resolve
from kamerton.report.terminal import Screen


def run(data: Path, rows: int, flags: Mapping[str, object], assignments: Sequence[str], json: bool) -> None:
    """Show what the model gets for some rows."""
    settings = dict(parse_assignment(text) for text in assignments)
    understood = choose_base(understand(resolve(None, {"data.path": str(data), **flags, **settings})))
    fitted = fit(understood)
    shown = understood.examples[:rows]
    views = look(shown, list(fitted.encode(shown)), fitted.form, fitted.tokenizer, fitted.max_tokens)
    if json:
        print_json([asdict(view) for view in views])
        return
    print(
        f"{fitted.recipe.data.task} for {fitted.facts.name} ({fitted.facts.kind}), {fitted.max_tokens} tokens at most"
    )
    Screen(Console()).show_tokens(views)
