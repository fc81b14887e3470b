"""The command line: every file in `commands/` is a command. Nothing heavy is imported before one runs."""

from __future__ import annotations

import importlib

import typer

from kamerton import plugins

app = typer.Typer(
    name="kamerton",
    help="Fine-tune a pretrained language model on a narrow task, and prove whether it helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _register(word: str) -> None:
    """Add the function that a command's file defines under the file's own name."""
    name = word.replace("-", "_")
    module = vars(importlib.import_module(f"kamerton.cli.commands.{name}"))
    app.command(name=word, epilog=module["EPILOG"])(module[name])


for _word in plugins.names("cli/commands"):
    _register(_word)


def main() -> None:
    """Run the command line and exit: 0 done, 1 a mistake of the user, 2 wrong usage, 3 demand unmet, 130 stopped."""
    app()
