"""Look for traps in a chat template without compiling it.

Transformers renders templates in a sandbox, so they cannot run code; but they can burn hours or memory,
and Jinja computes constant expressions while it *compiles*: `{{ 9 ** 99999999 }}` hangs a process that
merely loads it, and no timer interrupts it. So only Jinja's lexer, which computes nothing, touches the text here.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterable, Iterator

from jinja2 import Environment, TemplateSyntaxError

LARGEST = 100_000
"""Characters. The longest templates of published models have about 20,000."""
LARGEST_NUMBER = 10_000
"""Templates count turns and tools; no published one holds a number above a few thousand."""
LONGEST_NUMBER = 20
"""Digits."""
FORBIDDEN = frozenset({"attr", "center", "cycler", "extends", "import", "include", "joiner", "lipsum", "mro"})
"""Words that templates of attacks need and chat templates do not."""
WIDE_FIELD = re.compile(r"[%{:][^%{}]*\d{5,}")
"""A format string that pads to tens of thousands of characters: `%99999d`, `{:>99999}`."""

Token = tuple[int, str, str]


def traps(template: str) -> Iterator[str]:
    """Say what in a template is dangerous, with its line; nothing if it is harmless."""
    if len(template) > LARGEST:
        yield f"it has {len(template):,} characters, more than {LARGEST:,}"
        return
    try:
        tokens = [token for token in Environment().lex(template) if token[1] not in ("whitespace", "data", "comment")]
    except TemplateSyntaxError as error:
        yield f"line {error.lineno}: {error.message}"
        return
    yield from (f"line {token[0]}: {why}" for token in tokens if (why := _trap(token)))
    yield from _long_products(tokens)
    for mark, word, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if word[2] == "format" and (mark[2] == "|" or (mark[2] == "." and after[2] == "(")):
            yield f"line {word[0]}: it formats text, which can be made as wide as memory"


def _trap(token: Token) -> str:
    _, kind, text = token
    match kind:
        case "operator" if text == "**":
            return "the power operator can compute for hours"
        case "integer" | "float" if len(text) > LONGEST_NUMBER or float(literal_eval(text)) > LARGEST_NUMBER:
            return f"the number {text[:40]} is larger than {LARGEST_NUMBER}"
        case "name" if text in FORBIDDEN or "__" in text:
            return f"'{text}' has no place in a chat template"
        case "string" if WIDE_FIELD.search(text):
            return f"the format {text[:40]} is too wide"
        case "string" if text[1:-1].startswith("__"):
            return f"{text[:40]} reaches for Python's internals"
    return ""


def _long_products(tokens: Iterable[Token]) -> Iterator[str]:
    """Find expressions that multiply more than once: each factor is bounded, their product is not."""
    factors = 0
    for line, kind, text in tokens:
        if kind in ("variable_begin", "block_begin"):
            factors = 0
        if kind == "operator" and text == "*":
            factors += 1
            if factors == 2:
                yield f"line {line}: a product of more than two factors can be made as large as memory"
