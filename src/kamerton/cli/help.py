"""Help, usage and misuse of the command line, in the reader's language."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from kamerton.cli.speech import text, worded
from kamerton.core import registry
from kamerton.core.errors import nearest
from kamerton.core.messages import Message, Wording, msg

LISTED = ("methods", "remedies", "exports", "launchers")
NAMES = {folder: ", ".join(registry.names(folder)) for folder in LISTED}
"""The words of plug-ins, for the help texts that list them."""


def _write_usage(command: TyperCommand | TyperGroup, ctx: Any, formatter: Any) -> None:
    pieces = " ".join(map(text, command.collect_usage_pieces(ctx)))
    formatter.write_usage(ctx.command_path, pieces, prefix=f"{text('Usage:')} ")


class Command(TyperCommand):
    """A command whose help is in the reader's language."""

    format_usage = _write_usage

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the line for the list of commands, whole."""
        return text((self.help or "").partition("\n")[0])

    def invoke(self, ctx: Any) -> Any:
        """Run the command; words that are left over are a misuse."""
        if ctx.args:
            ctx.fail(worded(msg("Too many arguments: {arguments}", arguments=shlex.join(ctx.args))))
        return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        _translate(self, ctx)
        super().format_help(ctx, formatter)


class CommandGroup(TyperGroup):
    """The list of commands, in the reader's language."""

    format_usage = _write_usage

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; of an unknown one, name the nearest."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            remedy = nearest(args[0], self.commands)
            ctx.fail(worded(msg("No such command '{name}': {remedy}", name=args[0], remedy=remedy)))
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        _translate(self, ctx)
        super().format_help(ctx, formatter)


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


def misuse(error: Any) -> Iterator[str]:
    """Yield the lines about a `typer.TyperException`: how the command is used, where the help is, what is wrong."""
    if error.ctx is not None:
        command = f"{error.ctx.command_path} {error.ctx.help_option_names[0]}"
        yield from (error.ctx.get_usage(), worded(msg("Try '{command}' for help.", command=command)), "")
    yield worded(msg("Error: {reason}", reason=_reason(error)))


def _reason(error: Any) -> Wording:
    known = vars(error)
    if isinstance(error, typer.BadParameter):
        parameter: Any = error.param
        name = str(error.param_hint or (parameter.get_error_hint() if parameter else ""))
        if error.message:
            return msg("Invalid value for {name}: {reason}", name=name, reason=_wrong_value(error))
        argument = parameter.param_type_name == "argument"
        return msg("Missing argument {name}." if argument else "Missing option {name}.", name=name)
    if "possibilities" in known:
        unknown, near = msg("No such option: {name}", name=error.option_name), ", ".join(error.possibilities or ())
        return msg("{unknown} (did you mean {near}?)", unknown=unknown, near=near) if near else unknown
    if "option_name" in known:
        given = any(word.startswith(f"{error.option_name}=") for word in sys.argv)
        rule = "Option '{name}' takes no value." if given else "Option '{name}' needs a value."
        return msg(rule, name=error.option_name)
    return str(error.message)  # what is raised here is worded already


def _wrong_value(error: typer.BadParameter) -> Wording:
    """Return what is wrong with a value; pydantic's words are replaced by those for settings."""
    if error.__cause__ is None:
        return error.message
    [first, *_] = error.__cause__.errors()  # type: ignore[attr-defined]  # pydantic's, which is not imported here
    return registry.load("kamerton.runs.settings:misfit")(first, "").rule


def bad_value(reason: Message, option: str | None = None) -> typer.BadParameter:
    """Return the error of a value that cannot be used, for an option's callback to raise."""
    return typer.BadParameter(worded(reason), param_hint=option)
