"""`kamerton models`: the base models it knows."""

from __future__ import annotations

from typing import Annotated

import typer

from kamerton.cli.options import AsJson, Language, call
from kamerton.cli.usage import bad_value
from kamerton.core.messages import msg

EXAMPLES = ("kamerton models", "kamerton models get minilm")


def models(
    action: Annotated[
        str | None, typer.Argument(metavar="[get NAME]", help="Get one, and print its folder.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Argument(hidden=True)] = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """List the base models Kamerton knows and which are here, or get one."""
    if action not in (None, "get") or (action == "get") != (name is not None):
        raise bad_value(msg("use `kamerton models` or `kamerton models get NAME`"), "get NAME")
    call("models", name, json, language=language)
