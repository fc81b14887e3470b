"""Find traps in a chat template without compiling it.

Transformers renders templates in a sandbox, so they cannot run code; but they can burn hours or memory,
and Jinja computes constant expressions while it *compiles*: `{{ 9 ** 99999999 }}` hangs a process that
merely loads it, and no timer interrupts it. So only Jinja's lexer, which computes nothing, touches the text here.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterable, Iterator

from jinja2 import Environment, TemplateSyntaxError

from kamerton.core.messages import Message, msg, verbatim

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


def traps(template: str) -> Iterator[Message]:
    """Yield what is dangerous in a template, with its line."""
    if len(template) > LARGEST:
        yield msg("it has {count} characters, more than {limit}", count=len(template), limit=LARGEST)
        return
    try:
        tokens = [token for token in Environment().lex(template) if token[1] not in ("whitespace", "data", "comment")]
    except TemplateSyntaxError as error:
        yield _at(error.lineno, verbatim(error.message or ""))
        return
    yield from (_at(token[0], why) for token in tokens if (why := _trap(token)))
    yield from _long_products(tokens)
    for mark, word, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if word[2] == "format" and (mark[2] == "|" or (mark[2] == "." and after[2] == "(")):
            yield _at(word[0], msg("it formats text, which can be padded to fill the memory"))


def _at(line: int, trap: Message) -> Message:
    return msg("line {line}: {trap}", line=line, trap=trap)


def _trap(token: Token) -> Message | None:
    _, kind, text = token
    match kind:
        case "operator" if text == "**":
            return msg("the power operator can compute for hours")
        case "integer" | "float" if len(text) > LONGEST_NUMBER or float(literal_eval(text)) > LARGEST_NUMBER:
            return msg("the number {number} is larger than {limit}", number=text[:40], limit=LARGEST_NUMBER)
        case "name" if text in FORBIDDEN or "__" in text:
            return msg("'{name}' has no place in a chat template", name=text)
        case "string" if WIDE_FIELD.search(text):
            return msg("the format {format} is too wide", format=text[:40])
        case "string" if text[1:-1].startswith("__"):
            return msg("{name} reaches for Python's internals", name=text[:40])
    return None


def _long_products(tokens: Iterable[Token]) -> Iterator[Message]:
    """Yield expressions that multiply more than once: each factor is bounded, their product is not."""
    factors = 0
    for line, kind, text in tokens:
        if kind in ("variable_begin", "block_begin"):
            factors = 0
        if kind == "operator" and text == "*":
            factors += 1
            if factors == 2:
                yield _at(line, msg("a product of more than two factors can grow to fill the memory"))
