"""Read plain text, and text files whose names do not say their format; fastText's labels are read.

Each line is a row, or each paragraph where blank lines part them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, zip_longest

from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import Joined, Wording, msg
from kamerton.data.encoding import Source, decode, flaw
from kamerton.data.find import Side
from kamerton.data.named import ENDINGS
from kamerton.data.read_conll import is_webanno, looks_like_conll, read_conll, read_webanno
from kamerton.data.read_csv import find_table, read_cells
from kamerton.data.read_json import read_json
from kamerton.data.table import Collector, Table
from kamerton.data.unpack import PACKERS, bytes_of

LABEL = "__label__"
"""What fastText's labels begin with, which stand before their text (fasttext.cc/docs/en/supervised-tutorial.html)."""
NO_LABEL = msg("no label stands before the text: {example}", example=f"{LABEL}good")
LONGEST_PARAGRAPH = 20
"""Lines of a paragraph on average; from here on, blank lines part something larger, and lines are the rows."""
LETTERS = 1000
"""How much of a file is looked at."""
OBJECT = re.compile(r'\[?\s*\{\s*(?:"[^"\n]*"\s*:|\})')
"""How JSON begins: an object with a key in quotes, alone or the first of an array."""


def read_text(source: Source) -> Table:
    """Read lines or paragraphs into the column `text`; files of tokens and tags, and of labels, as what they are."""
    if looks_like_conll(source):
        return read_conll(source)
    if _is_labelled(source):
        return _read_labelled(source)
    if found := find_table(source):
        return read_cells(source, found, "csv")
    rows, is_paragraphs = Collector(source.file), _has_paragraphs(source)
    for line, text in _paragraphs(source) if is_paragraphs else enumerate(source.texts(), 1):
        if text:
            rows.add(line, {"text": text}, flaw(text))
    note = msg("each paragraph is a row") if is_paragraphs else msg("each line is a row")
    return rows.table(("text",), "txt", source.encoding.label, [*source.notes, note])


def _is_labelled(source: Source) -> bool:
    return next((text for text in source.texts() if text), "").startswith(LABEL)


def _read_labelled(source: Source) -> Table:
    rows = Collector(source.file)
    for line, text in enumerate(source.texts(), 1):
        words = text.split()
        labels = [word.removeprefix(LABEL) for word in words if word.startswith(LABEL)]
        rest = " ".join(word for word in words if not word.startswith(LABEL))
        if text:
            rows.add(line, {"text": rest, "labels": labels}, flaw(text) or ("" if labels else NO_LABEL))
    note = msg("the words that begin with {prefix} are labels", prefix=LABEL)
    table = rows.table(("text", "labels"), "fasttext", source.encoding.label, [*source.notes, note])
    return replace(table, reshaped=True)


def _has_paragraphs(source: Source) -> bool:
    filled = [bool(text) for text in source.texts()]
    blocks = sum(is_filled for is_filled, _ in groupby(filled))
    return 1 < blocks < sum(filled) <= LONGEST_PARAGRAPH * blocks


def _paragraphs(source: Source) -> Iterator[tuple[int, str]]:
    for is_filled, group in groupby(enumerate(source.texts(), 1), key=lambda numbered: bool(numbered[1])):
        if is_filled:
            lines = list(group)
            yield lines[0][0], "\n".join(text for _, text in lines)


def read_parallel(sides: Sequence[Side]) -> Table:
    """Read files whose lines belong together, each as a column."""
    sources = [decode(bytes_of(side.path, side.name)) for side in sides]
    rows, counts = Collector(sides[0].name), [0] * len(sides)
    for number, lines in enumerate(zip_longest(*(source.texts() for source in sources)), 1):
        counts = [count + (line is not None) for count, line in zip(counts, lines, strict=True)]
        texts = [line or "" for line in lines]
        reason = next((reason for text in texts if (reason := flaw(text))), "")
        if reason or any(text.strip() for text in texts):
            rows.add(number, {side.column: text for side, text in zip(sides, texts, strict=True)}, reason)
    if len(set(counts)) > 1:
        pairs = zip(sides, counts, strict=True)
        held = Joined([msg("{file} has {lines}", file=side.name, lines=count) for side, count in pairs], ", ")
        rule = msg("the files have different numbers of lines: {held}", held=held)
        remedy = msg("write them so that each line of one is the translation of the same line of the other")
        raise DataError(Fault(rule, sides[0].name, remedy))
    note = msg("read line by line beside each other: {files}", files=", ".join(side.name for side in sides))
    notes: list[Wording] = [*dict.fromkeys(note for source in sources for note in source.notes), note]
    encoding = ", ".join(dict.fromkeys(source.encoding.label for source in sources))
    return replace(rows.table([side.column for side in sides], "moses", encoding, notes), reshaped=True)


def looks_like_json(source: Source) -> bool:
    """Return whether a text begins with a JSON object."""
    with source.open() as file:
        return bool(OBJECT.match(file.read(LETTERS).lstrip("\ufeff \t\r\n")))


def read_unnamed(source: Source) -> Table:
    """Read JSON, JSON lines, CoNLL, rows of cells, or labels before texts; prose is not taken for data."""
    if is_webanno(source):
        return read_webanno(source)
    if looks_like_conll(source):
        return read_conll(source)
    if next(filter(str.strip, source.lines()), "").lstrip("\ufeff \t").startswith(("{", "[")):
        return read_json(source)
    if _is_labelled(source) or find_table(source):
        return read_text(source)
    rule = msg("the name does not say the format, nor do the first lines")
    remedy = msg("use a name that ends in one of {endings}; text may also be packed: {packed}",
                 endings=", ".join(ENDINGS), packed=", ".join(PACKERS))  # fmt: skip
    raise DataError(Fault(rule, source.file, remedy))
