"""Output that several commands share."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from kamerton.cli.speech import worded
from kamerton.cli.streams import Terminal, is_unicode
from kamerton.core.errors import Fault, RunError
from kamerton.core.message_json import without_templates
from kamerton.core.messages import Joined, Value, Wording, msg
from kamerton.runs.run import Run
from kamerton.runs.state import other_versions
from kamerton.text.safe import CONTROLS

PAGE = b"<!doctype html"
"""How a page begins."""
LISTED = 5
"""Places named one by one."""


def open_console(*, stderr: bool = False) -> Console:
    """Return the console of a standard stream, for texts that are safe; their brackets are no markup."""
    stream = sys.stderr if stderr else sys.stdout
    file = stream.styled if isinstance(stream, Terminal) else stream
    return Console(file=file, markup=False, highlight=False, emoji=False)


def print_json(value: Any) -> None:
    """Print a value for machines; a path as its text."""
    print(json_for_output(without_templates(value), indent=2))


def json_for_output(value: Any, indent: int | None = None) -> str:
    """Return JSON for standard output; on a terminal, controls are escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=not is_unicode(sys.stdout), default=str)
    return CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1], text) if isinstance(sys.stdout, Terminal) else text


def require_page(path: Path | None) -> None:
    """Check the name of a page to write: it is free, or holds an older page.

    Raises:
        RunError: it is a folder, or a file that is no page.
    """
    if path is None or not path.exists():
        return
    if path.is_dir():
        remedy = msg("name a file: {file}", file=str(path / "page.html"))
        raise RunError(Fault(msg("this is a folder, and a page is a file"), str(path), remedy))
    with path.open("rb") as file:
        if file.read(len(PAGE)).lower() != PAGE:
            rule, remedy = msg("this file is there, and is no page"), msg("choose another name with --out")
            raise RunError(Fault(rule, str(path), remedy))


def warn(wording: Wording) -> None:
    """Print a warning on standard error, in the reader's language."""
    print(f"kamerton: {worded(wording)}", file=sys.stderr)


def open_run(path: Path, device: str | None = None) -> Run:
    """Open a run to use its model, on a device if one is given; warn if it was made with other library versions."""
    run = Run(path, device=device)
    if changed := other_versions(run.state):
        warn(changed)
    return run


def warn_cut(lost: Mapping[str, int], most: int) -> None:
    """Warn of inputs of which so many tokens, by place, were lost, since the model takes only `most`."""
    if lost:
        places = listed([msg("{place} ({tokens} lost)", place=place, tokens=tokens) for place, tokens in lost.items()])
        rule = "{count} {count:input is|inputs are} longer than the {most} tokens that the model takes: {places}"
        warn(msg(rule, count=len(lost), most=most, places=places))


def listed(items: Sequence[Value]) -> Value:
    """Return the first of some things, and how many more there are."""
    named, more = Joined(tuple(items[:LISTED]), ", "), len(items) - LISTED
    return msg("{named} and {more} more", named=named, more=more) if more > 0 else named
