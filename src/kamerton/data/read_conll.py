"""Read files of a token a line, a blank line between sentences, each of which is a row: CoNLL, and WebAnno's TSV.

WebAnno's format, which INCEpTION exports, has a column for each feature of each layer. It is described in INCEpTION's
user guide, appendix "WebAnno TSV 3.3". Layers of spans are read; relations and chains are noted. An annotation that
stands on several tokens has the same number in brackets on each.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice

from kamerton.core.messages import Wording, msg
from kamerton.data.encoding import Source, flaw
from kamerton.data.table import Collector, Table
from kamerton.text.tags import BEGIN, INSIDE, OUTSIDE

LOOKED_AT = 2000
"""Lines looked at to tell a CoNLL file from other text."""
MOST_COLUMNS = 20
SPAN_TAG = re.compile(r"O|[BIESLUM]-\S+")
"""Tags of spans: inside, outside, beginning, and variants."""
SPANS = 0.9
"""Share of tags of this form from which on they are tags, not words."""
SENTENCE_IS_ROW = msg("a sentence is a row")
DOCUMENT = "-DOCSTART-"
ASIDE = ("# ", DOCUMENT)
"""What lines begin with that hold no token."""
UNIVERSAL = 10
"""Columns of CoNLL-U (universaldependencies.org/format.html): the form is the second, its part of speech the fourth."""
SPACE = "\ufeff \t\r\n"
WEBANNO = re.compile("\ufeff?#FORMAT=WebAnno TSV")
LAYER, OTHER_LAYER = "#T_SP=", ("#T_RL=", "#T_CH=")
TOKEN = re.compile(r"\d+-\d+")
"""The number of a token; parts of tokens have a further dot and number."""
FIRST = 3
"""Columns before those of the layers: the number, the offsets, the token."""
VALUE = re.compile(r"(?P<kind>(?:\\.|[^\\|\[])*)(?:\[(?P<number>\d+)\])?")
ESCAPE = re.compile(r"\\(.)")


def read_conll(source: Source) -> Table:
    """Read the first column as tokens and the last as tags (of CoNLL-U: forms and parts of speech)."""
    bare = (line.strip(SPACE) for line in islice(source.lines(), LOOKED_AT))
    widths = Counter(len(_cells(line, 0)) for line in bare if line and not line.startswith(ASIDE))
    width = max(widths, key=lambda width: widths[width], default=0)
    numbered = ((number, line.strip(SPACE)) for number, line in enumerate(source.lines(), 1))
    lines = ((number, _cells(line, width) if line else None) for number, line in numbered if not line.startswith(ASIDE))
    rows = Collector(source.file)
    for line, sentence in _sentences(lines):
        if reason := _fault(line, sentence, width):
            rows.reject(line, reason)
            continue
        words = [cells for cells in sentence if width != UNIVERSAL or cells[0].isdecimal()]
        token, tag = (1, 3) if width == UNIVERSAL else (0, -1)
        rows.accept(line, {"tokens": [cells[token] for cells in words], "tags": [cells[tag] for cells in words]})
    notes: list[Wording] = [*source.notes, SENTENCE_IS_ROW]
    return replace(rows.table(("tokens", "tags"), "conll", source.encoding.label, notes), reshaped=True)


def looks_like_conll(source: Source) -> bool:
    """Return whether a text has blank lines between blocks of lines with equally many columns, the last of tags."""
    rows = blanks = spans = width = 0
    for line in islice(source.lines(), LOOKED_AT):
        cells = line.split(maxsplit=MOST_COLUMNS)
        if not cells or line.startswith(("#", DOCUMENT)):
            blanks += not cells
            continue
        width = width or len(cells)
        more = 1 < width < len(cells) and bool(SPAN_TAG.fullmatch(cells[width - 1]))
        if not 2 <= width <= MOST_COLUMNS or (len(cells) != width and not more):
            return False
        rows += 1
        spans += more or bool(SPAN_TAG.fullmatch(cells[-1]))
    return blanks > 0 and 0 < SPANS * rows <= spans


def _cells(line: str, width: int) -> list[str]:
    """Split a line at tabs, else at spaces; cells beyond the width belong to a tag that has spaces."""
    cells = line.split("\t") if "\t" in line else line.split()
    if 1 < width < len(cells) and "\t" not in line and SPAN_TAG.fullmatch(cells[width - 1]):
        return [*cells[: width - 1], " ".join(cells[width - 1 :])]
    return cells


def _sentences(numbered: Iterable[tuple[int, list[str] | None]]) -> Iterator[tuple[int, list[list[str]]]]:
    """Yield each sentence's first line and the cells of its tokens; None stands for a blank line."""
    for is_blank, group in groupby(numbered, key=lambda line: line[1] is None):
        if not is_blank:
            lines = list(group)
            yield lines[0][0], [cells for _, cells in lines if cells is not None]


def _fault(line: int, sentence: Sequence[Sequence[str]], width: int) -> Wording:
    if width < 2:
        return msg("a token stands without a tag: two columns are needed")
    for number, cells in enumerate(sentence, line):
        if len(cells) != width:
            return msg("line {line} has {columns} {columns:column|columns}, the first has {width}", line=str(number),
                       columns=len(cells), width=width)  # fmt: skip
    return flaw("".join(cell for cells in sentence for cell in cells))


def is_webanno(source: Source) -> bool:
    """Return whether a file begins as WebAnno's exports do."""
    return bool(WEBANNO.match(next(source.lines(), "")))


def read_webanno(source: Source) -> Table:
    """Read each sentence as a row: its tokens, and the tags of each feature that is annotated."""
    features, others = _features(source)
    sentences = list(_sentences(_annotated_tokens(source, len(features))))
    tokens = [cells for _, sentence in sentences for cells in sentence]
    columns = {at: name for at, name in enumerate(features, 1) if any(cells[at] != "_" for cells in tokens)}
    names = ["tags"] if len(columns) == 1 else list(columns.values())
    rows, stacked = Collector(source.file), 0
    for line, sentence in sentences:
        token, *written = zip(*sentence, strict=True)
        used = {at: written[at - 1] for at in columns}
        stacked += sum("|" in cell for column in used.values() for cell in column)
        tags = [_tags(column, columns[at]) for at, column in used.items()]
        rows.accept(line, {"tokens": list(token), **dict(zip(names, tags, strict=True))})
    notes: list[Wording] = [*source.notes, SENTENCE_IS_ROW]
    notes += [msg("not read of the annotations: {layers}", layers=", ".join(others))] if others else []
    if stacked:
        read = msg("of several annotations of a token the first is read, {times} {times:time|times}", times=stacked)
        notes.append(read)
    table = rows.table(("tokens", *names), "webanno", source.encoding.label, notes)
    return replace(table, reshaped=True, questions=tuple(names))


def _features(source: Source) -> tuple[list[str], list[str]]:
    """Return the columns of the layers of spans, and the other layers."""
    features, others = list[str](), list[str]()
    for line in source.lines():
        if line.startswith(LAYER):
            layer, *names = line.removeprefix(LAYER).strip().split("|")
            features += names or [layer.rpartition(".")[2]]
        elif line.startswith(OTHER_LAYER):
            others.append(line.strip().partition("=")[2].split("|")[0].rpartition(".")[2])
        elif TOKEN.match(line):
            break
    return [name if features.count(name) == 1 else f"{name} {at}" for at, name in enumerate(features, 1)], others


def _annotated_tokens(source: Source, width: int) -> Iterator[tuple[int, list[str] | None]]:
    """Yield each token with its annotations, after the number of its line; None for a blank line."""
    for number, line in enumerate(source.lines(), 1):
        cells = line.rstrip("\r\n").split("\t")
        if TOKEN.fullmatch(cells[0]) and len(cells) >= FIRST:
            annotations = [cell or "_" for cell in cells[FIRST:]] + ["_"] * width
            yield number, [cells[FIRST - 1], *annotations[:width]]
        elif not line.strip():
            yield number, None


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
