"""Servers that a run asks: which key each gets, and what they answered.

A key goes where its user sends it, never where a recipe or a run folder does, which may be a stranger's: naming a
server or the key's variable on the command line adds both to a file of the user's own, and no other key is sent.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from kamerton.core.errors import Fault, RunError
from kamerton.core.files import own_lines, write_text
from kamerton.core.messages import Message, msg
from kamerton.runs.logs import read_lines
from kamerton.runs.settings import misfit

FILE = re.compile(r".+\.gguf", re.IGNORECASE | re.DOTALL)
LOCAL = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])([:/]|$)", re.IGNORECASE)
"""Addresses on this machine."""
Tokens = Annotated[int, Field(ge=0, le=10**9)]


@dataclass(frozen=True)
class Reply:
    """One answer of a server."""

    request: str
    """sha256 of the request: the same one is not sent, or paid, twice."""
    text: str
    tokens_in: Tokens
    tokens_out: Tokens


def is_file(server: str) -> bool:
    """Return whether a server is named by the GGUF file that it serves."""
    return bool(FILE.fullmatch(server))


def title_of(model: str, server: str) -> Message:
    """Return how readers know a model on a server: by its name and the address, or by its file."""
    if is_file(server):
        return msg("the GGUF file {file}", file=server)
    return msg("{model} at {server}", model=model, server=server)


def read_replies(path: Path) -> list[Reply]:
    """Read a log of answers. Raises `RunError` with every line that is damaged."""
    try:
        return TypeAdapter(list[Reply]).validate_python(read_lines(path))
    except ValidationError as error:
        remedy = msg("restore the file from a copy, or remove the line")
        raise RunError([misfit(one, f"{path}:{int(one['loc'][0]) + 1}", remedy) for one in error.errors()]) from None


def allow_key(address: str, variable: str) -> None:
    """Allow a server the key in an environment variable, from now on. Raises as `key_for` does."""
    if is_file(address):
        return
    try:
        path, lines = own_lines("keys")
        if f"{address} {variable}" not in lines:
            write_text(path, "\n".join([*lines, f"{address} {variable}", ""]))
    except OSError:
        if os.environ.get(variable):  # else no key depends on the file
            raise
    key_for(address, variable)


def key_for(address: str, variable: str) -> str:
    """Return the key to send to a server; none if its variable is not set, or the user did not allow it.

    Raises:
        RunError: it cannot be sent, or anyone on the way could read it.
    """
    key = os.environ.get(variable, "").strip()
    if not key or f"{address} {variable}" not in own_lines("keys")[1]:
        return ""
    if not (key.isascii() and key.isprintable()):
        rule = msg("the environment variable {variable} holds signs that no key has", variable=variable)
        raise RunError(Fault(rule, "prompt.key", msg("set it anew")))
    if not address.lower().startswith("https:") and not LOCAL.match(address):
        rule = msg("by http, anyone on the way to {address} could read the key", address=address)
        remedy = msg("give an https address, or --set prompt.key='\"\"' if the server needs no key")
        raise RunError(Fault(rule, "prompt.against", remedy))
    return key
