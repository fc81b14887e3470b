"""Repairs of a text that do not change what it says."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from kamerton.core.messages import Message, msg

ENTITY = re.compile(r"&(?:[A-Za-z]{2,8}|#\d{2,6}|#[xX][0-9A-Fa-f]{2,5});")
TAG = re.compile(
    r"</?(?:a|b|i|u|p|br|hr|em|li|ol|ul|td|th|tr|div|img|span|font|code|pre|table|tbody|strong|script|style|"
    r"blockquote|h[1-6])(?:\s[^<>]{0,300})?/?>",
    re.IGNORECASE,
)
"""Tags of pages; angle brackets of other kinds are left to mathematics, code and templates."""
INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\xad\u200b\u2060\ufeff]")
"""Control characters, soft hyphens, zero-width spaces, byte order marks: a tokenizer sees what a reader does not."""
ODD_SPACE = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")


@dataclass(frozen=True)
class Tidied:
    """A text put right, and what was done."""

    text: str
    repairs: tuple[Message, ...]


def neat(text: str) -> Tidied:
    """Repair HTML entities, invisible signs and odd spaces of a text that was read in the right encoding.

    >>> neat("Ïðèâåò ").text
    'Ïðèâåò'
    """
    repairs = []
    for name, repair in REPAIRS.items():
        repaired = repair(text)
        if repaired != text:
            text = repaired
            repairs.append(name)
    return Tidied(text, tuple(repairs))


def unescape(text: str) -> str:
    """Replace HTML entities by the letters they stand for, once."""
    return ENTITY.sub(lambda match: html.unescape(match.group()), text) if "&" in text else text


def _drop_invisible(text: str) -> str:
    return INVISIBLE.sub("", text.replace("\r\n", "\n"))


def _tidy_space(text: str) -> str:
    """Replace odd spaces and strip the ends; the indentation of a first line of several stays."""
    text = ODD_SPACE.sub(" ", text).rstrip()
    return text.lstrip("\r\n") if "\n" in text.strip() else text.lstrip()


REPAIRS = {msg("HTML entities"): unescape, msg("invisible signs"): _drop_invisible, msg("spaces"): _tidy_space}
"""By name, in the order in which they are made."""
