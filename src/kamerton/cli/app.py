"""The command line: every file in `commands/` is a command. Nothing heavy is imported before one runs."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from kamerton.cli.options import Language
from kamerton.cli.speech import LANGUAGE, text, worded
from kamerton.cli.usage import misuse
from kamerton.core import registry
from kamerton.core.errors import nearest
from kamerton.core.messages import Message, msg
from kamerton.i18n.language import VARIABLE

NAMES = {folder: ", ".join(registry.names(folder)) for folder in ("methods", "remedies", "exports")}
"""The words of plug-ins, for the help texts that list them."""


class Command(TyperCommand):
    """A command whose help is in the reader's language."""

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the line for the list of commands, whole."""
        return text(self.short_help or "")

    def invoke(self, ctx: Any) -> Any:
        """Run the command; words that are left over are a misuse."""
        if ctx.args:
            ctx.fail(worded(msg("Too many arguments: {arguments}", arguments=shlex.join(ctx.args))))
        return super().invoke(ctx)

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """Write the line of usage."""
        _write_usage(self, ctx, formatter)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        _translate(self, ctx)
        super().format_help(ctx, formatter)


class CommandGroup(TyperGroup):
    """The list of commands, in the reader's language."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; of an unknown one, name the nearest."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            remedy = nearest(args[0], self.commands)
            ctx.fail(worded(msg("No such command '{name}': {remedy}", name=args[0], remedy=remedy)))
        return super().resolve_command(ctx, args)

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """Write the line of usage."""
        _write_usage(self, ctx, formatter)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        _translate(self, ctx)
        super().format_help(ctx, formatter)


def _write_usage(command: TyperCommand | TyperGroup, ctx: Any, formatter: Any) -> None:
    pieces = " ".join(map(text, command.collect_usage_pieces(ctx)))
    formatter.write_usage(ctx.command_path, pieces, prefix=f"{text('Usage:')} ")


def _translate(command: TyperCommand | TyperGroup, ctx: Any) -> None:
    """Replace the texts of a command's help by those of the reader's language."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n"))
    command.help = "\n\n".join(map(text, paragraphs))
    if command.epilog:
        command.epilog = f"{text('Examples:')}  {command.epilog}"
    parameters: Sequence[Any] = command.get_params(ctx)
    for parameter in parameters:
        if isinstance(parameter.help, str):
            parameter.help = worded(Message(parameter.help, NAMES))


app = typer.Typer(
    name="kamerton",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kamerton {metadata.version('kamerton')}")
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    language: Language = None,
) -> None:
    """Fine-tune a pretrained language model on a narrow task, and prove whether it helped."""
    os.environ[VARIABLE] = language or LANGUAGE.get()  # the default of the commands' own option


def _register(word: str) -> None:
    """Add the function that a command's file defines under the file's own name."""
    name = word.replace("-", "_")
    module = vars(importlib.import_module(f"kamerton.cli.commands.{name}"))
    summary = module[name].__doc__.partition("\n")[0]
    examples = "   |   ".join(module["EXAMPLES"])
    settings = {"allow_extra_args": True}
    app.command(name=word, cls=Command, epilog=examples, short_help=summary, context_settings=settings)(module[name])


for _word in registry.words_in(Path(__file__).parent / "commands"):
    _register(_word)


def run() -> object:
    """Run the command that the process's arguments name, and return its exit status."""
    try:
        return get_command(app)(standalone_mode=False)
    except typer.TyperException as error:
        if len(sys.argv) == 1:  # the help
            sys.stderr.write(f"{error.format_message()}\n")
            return error.exit_code
        sys.stderr.write("\n".join([*misuse(error), ""]))
        return error.exit_code
