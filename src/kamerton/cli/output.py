"""Output that several commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kamerton.cli.speech import worded
from kamerton.cli.streams import is_unicode
from kamerton.core.errors import Fault, RunError
from kamerton.core.message_json import without_templates
from kamerton.core.messages import Joined, Value, Wording, msg
from kamerton.runs.run import Run
from kamerton.runs.state import other_versions

PAGE = b"<!doctype html"
"""How a page begins."""
LISTED = 5
"""Places named one by one."""


def print_json(value: Any) -> None:
    """Print a value for machines; a path as its text."""
    print(json.dumps(without_templates(value), indent=2, ensure_ascii=not is_unicode(sys.stdout), default=str))


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
    print("kamerton:", worded(wording), file=sys.stderr)


def open_run(path: Path) -> Run:
    """Open a run whose model is to be used; warn if it was made with other versions of the libraries."""
    run = Run(path)
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
