"""`kamerton models`: the base models it knows."""

from __future__ import annotations

from typing import Annotated

import typer

from kamerton.cli.options import AsJson, call

EPILOG = "Examples:  kamerton models   |   kamerton models get minilm"


def models(
    action: Annotated[str | None, typer.Argument(metavar="[get NAME]", show_default=False)] = None,
    name: Annotated[str | None, typer.Argument(show_default=False)] = None,
    json: AsJson = False,
) -> None:
    """List the base models Kamerton knows and which are here, or get one."""
    if action not in (None, "get") or (action == "get") != (name is not None):
        raise typer.BadParameter("use `kamerton models` or `kamerton models get NAME`")
    call("models", name, json)
