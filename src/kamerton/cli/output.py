"""What several commands print alike."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kamerton.cli.streams import is_unicode
from kamerton.core.errors import Fault, RunError
from kamerton.core.message_json import without_templates
from kamerton.core.messages import Wording
from kamerton.i18n.voice import ENGLISH, Voice

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
        raise RunError(Fault("this is a folder, and a page is a file", str(path), f"name a file: {path / 'page.html'}"))
    with path.open("rb") as file:
        if file.read(len(PAGE)).lower() != PAGE:
            raise RunError(Fault("this file is there, and is no page", str(path), "choose another name with --out"))


def warn(text: str) -> None:
    """Say something beside the output."""
    print("kamerton:", text, file=sys.stderr)


def say_unusable(place: str, reason: Wording, voice: Voice = ENGLISH) -> None:
    """Say that a row has no answer, and why."""
    warn(voice.say("{place}: {reason}; its answer is empty", {"place": place, "reason": voice.render(reason)}))


def say_cut(lost: Mapping[str, int], most: int, voice: Voice = ENGLISH) -> None:
    """Say which inputs the model saw only a part of.

    Args:
        lost: how many tokens of each did not fit, by place.
        most: how many tokens the model takes.
        voice: of the reader.
    """
    if not lost:
        return
    places = listed([voice.say("{place} ({tokens} lost)", {"place": p, "tokens": n}) for p, n in lost.items()], voice)
    text = "{count} {count:input is|inputs are} longer than the {most} tokens that the model takes: {places}"
    warn(voice.say(text, {"count": len(lost), "most": most, "places": places}))


def listed(items: list[str], voice: Voice = ENGLISH) -> str:
    """Name the first of some things, and say how many more there are."""
    more = len(items) - LISTED
    named = ", ".join(items[:LISTED])
    return voice.say("{named} and {more} more", {"named": named, "more": more}) if more > 0 else named
