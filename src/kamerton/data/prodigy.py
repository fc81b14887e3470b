"""Prodigy's exports: choices by their ids, one label with accept or reject, spans beside their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kamerton.core.messages import msg
from kamerton.data.cells import LOOKED_AT, cells_of
from kamerton.data.shape import Shape, Values
from kamerton.data.table import Table
from kamerton.text.cells import filled, plain

ANSWERS = {"accept", "reject", "ignore"}


def annotated(table: Table) -> Shape | None:
    """Return how rows of Prodigy are opened; None if they are not Prodigy's or need no opening."""
    names = {*table.columns}
    if {"options", "accept"} <= names and any(_is_choice(row.values) for row in table.rows[:LOOKED_AT]):
        return Shape(
            frozenset({"options", "accept"}), _is_choice, _choice, msg("each row's label is what was accepted")
        )
    if "answer" not in names or not {plain(cell) for cell in cells_of(table, "answer")} <= ANSWERS:
        return None
    if {"spans", "tokens"} <= names:
        return Shape(frozenset({"spans", "tokens"}), _has_tokens, _spans, "")
    labels = {plain(row.values["label"]) for row in table.rows if filled(row.values.get("label"))}
    if "spans" not in names and len(labels) == 1 and any(row.values.get("answer") == "reject" for row in table.rows):
        only = msg("rows that reject the only label are read as '{label}'", label=f"not {labels.pop()}")
        return Shape(frozenset({"label", "answer"}), lambda values: True, _yes_or_no, only)
    return None


def _is_choice(values: Values) -> bool:
    options = values.get("options")
    return isinstance(options, list) and bool(options) and all(isinstance(o, Mapping) and "id" in o for o in options)


def _choice(values: Values) -> Iterator[Values]:
    accepted = values.get("accept")
    kept = {name: cell for name, cell in values.items() if name not in ("options", "accept", "config")}
    yield {**kept, "label": [plain(one) for one in accepted] if isinstance(accepted, list) else accepted}


def _yes_or_no(values: Values) -> Iterator[Values]:
    """Read a rejected label as another one; an ignored row keeps its mark."""
    refused = values.get("answer") == "reject"
    label = f"not {plain(values.get('label'))}" if refused else values.get("label")
    yield {**values, "label": label, "answer": "accept" if refused else values.get("answer")}


def _has_tokens(values: Values) -> bool:
    tokens = values.get("tokens")
    return isinstance(tokens, list) and all(isinstance(token, Mapping) and "text" in token for token in tokens)


def _spans(values: Values) -> Iterator[Values]:
    """Write into each span the text of its tokens, by which its offsets are checked."""
    spans, tokens = values.get("spans"), values.get("tokens")
    kept = {name: cell for name, cell in values.items() if name != "tokens"}
    if _has_tokens(values) and isinstance(spans, list) and isinstance(tokens, list):
        words = [plain(token["text"]) for token in tokens]
        kept["spans"] = [{**_own_text(span, words), **span} if isinstance(span, Mapping) else span for span in spans]
    yield kept


def _own_text(span: Values, words: list[str]) -> Values:
    first, last = span.get("token_start"), span.get("token_end")
    if isinstance(first, int) and isinstance(last, int) and 0 <= first <= last < len(words):
        return {"text": " ".join(words[first : last + 1])}
    return {}
