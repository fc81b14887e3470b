"""The command line: every file in `commands/` is a command. Nothing heavy is imported before one runs."""

from __future__ import annotations

import importlib
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from kamerton.core import registry

app = typer.Typer(
    name="kamerton",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"kamerton {metadata.version('kamerton')}")
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version and exit.")
    ] = False,
) -> None:
    """Fine-tune a pretrained language model on a narrow task, and prove whether it helped."""


def _register(word: str) -> None:
    """Add the function that a command's file defines under the file's own name; the list of commands says it whole."""
    name = word.replace("-", "_")
    module = vars(importlib.import_module(f"kamerton.cli.commands.{name}"))
    summary = module[name].__doc__.partition("\n")[0]
    app.command(name=word, epilog=module["EPILOG"], short_help=summary)(module[name])


for _word in registry.words_in(Path(__file__).parent / "commands"):
    _register(_word)
