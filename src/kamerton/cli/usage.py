"""Misuse of the command line, in the reader's language."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from kamerton.cli.speech import worded
from kamerton.core import registry
from kamerton.core.messages import Message, Wording, msg


def misuse(error: Any) -> Iterator[str]:
    """Yield the lines about a wrong command line: how it is used, where the help is, what is wrong.

    Args:
        error: a `typer.TyperException`.
    """
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
        return msg("Missing argument {name}.", name=name) if argument else msg("Missing option {name}.", name=name)
    if "possibilities" in known:
        unknown, near = msg("No such option: {name}", name=error.option_name), ", ".join(error.possibilities or ())
        return msg("{unknown} (did you mean {near}?)", unknown=unknown, near=near) if near else unknown
    if "option_name" in known:
        name, given = error.option_name, any(word.startswith(f"{error.option_name}=") for word in sys.argv)
        return (
            msg("Option '{name}' takes no value.", name=name)
            if given
            else msg("Option '{name}' needs a value.", name=name)
        )
    return str(error.message)  # what is raised here is worded already


def _wrong_value(error: typer.BadParameter) -> Wording:
    """Return what is wrong with a value; pydantic's words are replaced by those for settings."""
    if error.__cause__ is None:
        return error.message
    [first, *_] = error.__cause__.errors()  # type: ignore[attr-defined]  # pydantic's, which is not imported here
    rule: Message = registry.load("kamerton.runs.settings:misfit")(first, "").rule
    return rule


def bad_value(reason: Message, option: str | None = None) -> typer.BadParameter:
    """Return the error of a value that cannot be used, for an option's callback to raise."""
    return typer.BadParameter(worded(reason), param_hint=option)
