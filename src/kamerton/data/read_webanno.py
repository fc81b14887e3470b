"""Read WebAnno's TSV, which INCEpTION exports: a token a line, with a column for each feature of each layer.

The format is described in INCEpTION's user guide, appendix "WebAnno TSV 3.3". Layers of spans are read; relations and
chains are noted. An annotation that stands on several tokens has the same number in brackets on each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from kamerton.core.messages import Wording, msg
from kamerton.data.encoding import Source
from kamerton.data.read_conll import SENTENCE_IS_ROW
from kamerton.data.table import Collector, Table
from kamerton.text.tags import BEGIN, INSIDE, OUTSIDE

MARK = re.compile("\ufeff?#FORMAT=WebAnno TSV")
LAYER, OTHER_LAYER = "#T_SP=", ("#T_RL=", "#T_CH=")
TOKEN = re.compile(r"\d+-\d+")
"""The number of a token; parts of tokens have a further dot and number."""
FIRST = 3
"""Columns before those of the layers: the number, the offsets, the token."""
VALUE = re.compile(r"(?P<kind>(?:\\.|[^\\|\[])*)(?:\[(?P<number>\d+)\])?")
ESCAPE = re.compile(r"\\(.)")


@dataclass
class _Sentence:
    line: int
    tokens: list[str] = field(default_factory=list)
    cells: list[list[str]] = field(default_factory=list)


def is_webanno(source: Source) -> bool:
    """Return whether a file begins as WebAnno's exports do."""
    with source.open() as lines:
        return bool(MARK.match(next(iter(lines), "")))


def read_webanno(source: Source) -> Table:
    """Read each sentence as a row: its tokens, and the tags of each feature that is annotated."""
    features, others = _features(source)
    sentences = list(_sentences(source, len(features)))
    used = [at for at in range(len(features)) if any(cells[at] != "_" for one in sentences for cells in one.cells)]
    names = ["tags"] if len(used) == 1 else [features[at] for at in used]
    rows, stacked = Collector(source.file), 0
    for one in sentences:
        columns = [[cells[at] for cells in one.cells] for at in used]
        stacked += sum("|" in cell for column in columns for cell in column)
        tags = [_tags(column, features[at]) for column, at in zip(columns, used, strict=True)]
        rows.accept(one.line, {"tokens": one.tokens, **dict(zip(names, tags, strict=True))})
    notes: list[Wording] = [*source.notes, SENTENCE_IS_ROW]
    notes += [msg("not read of the annotations: {layers}", layers=", ".join(others))] if others else []
    if stacked:
        notes.append(
            msg("of several annotations of a token the first is read, {times} {times:time|times}", times=stacked)
        )
    table = rows.table(("tokens", *names), "webanno", source.encoding.label, notes)
    return replace(table, reshaped=True, questions=tuple(names))


def _features(source: Source) -> tuple[list[str], list[str]]:
    """Return the columns of the layers of spans, and the other layers."""
    features, others = list[str](), list[str]()
    with source.open() as lines:
        for line in lines:
            if line.startswith(LAYER):
                layer, *names = line.removeprefix(LAYER).strip().split("|")
                features += names or [layer.rpartition(".")[2]]
            elif line.startswith(OTHER_LAYER):
                others.append(line.strip().partition("=")[2].split("|")[0].rpartition(".")[2])
            elif TOKEN.match(line):
                break
    return [name if features.count(name) == 1 else f"{name} {at}" for at, name in enumerate(features, 1)], others


def _sentences(source: Source, width: int) -> Iterator[_Sentence]:
    sentence = _Sentence(0)
    with source.open() as lines:
        for number, line in enumerate(lines, 1):
            cells = line.rstrip("\r\n").split("\t")
            if TOKEN.fullmatch(cells[0]) and len(cells) >= FIRST:
                sentence.line = sentence.line or number
                sentence.tokens.append(cells[FIRST - 1])
                sentence.cells.append(([cell or "_" for cell in cells[FIRST:]] + ["_"] * width)[:width])
            elif not line.strip() and sentence.tokens:
                yield sentence
                sentence = _Sentence(0)
    if sentence.tokens:
        yield sentence


def _tags(cells: Sequence[str], feature: str) -> list[str]:
    """Write the annotations of a feature as tags of IOB2; one without a value is of the feature's own name."""
    tags, before = list[str](), ""
    for cell in cells:
        found = VALUE.match(cell)
        kind, number = (ESCAPE.sub(r"\1", found["kind"]), found["number"] or "") if found else ("_", "")
        kind = feature if kind == "*" else kind
        tags.append(OUTSIDE if cell == "_" else f"{INSIDE if number and number == before else BEGIN}{kind}")
        before = number
    return tags
