"""What stands beside a text that may be plain text: a column of labels there means that it is for something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kamerton.core.errors import Fault
from kamerton.data.parts import moment_of
from kamerton.data.reading import Reading
from kamerton.data.shapes_of_labels import LABELLED
from kamerton.data.spelling import same
from kamerton.data.table import Table
from kamerton.text.cells import plain

ORIGIN = {
    same(name)
    for name in (
        *("lang", "language", "source", "license", "split", "subset", "partition", "язык", "источник", "часть"),
        *("id", "idx", "index", "uuid", "guid", "doc_id", "hash", "sha", "md5", "номер", "ид"),
        *("url", "link", "domain", "host", "path", "file", "file_name", "file_path", "repo", "repo_name", "ссылка"),
        *("date", "time", "timestamp", "created", "created_at", "added", "updated_at", "year", "дата", "год", "время"),
        *("version", "dump", "encoding", "charset", "dataset", "corpus", "config", "meta", "metadata", "корпус"),
        *("input_ids", "attention_mask", "token_type_ids", "token_count", "embedding", "embeddings", "vector"),
        *("pile_set_name", "warc", "digest", "title", "name", "author", "заголовок", "название", "автор"),
    )
}
"""Columns that say of a text what it is and where it is from, and are no labels."""
REPEATED = 4
"""From how many times a value comes again on average, it may be a label."""
LONGEST = 60
"""Characters of a value that may be a label."""
MANY = 16
"""Numbers of a list from which on they are an embedding or tokens."""


def may_be_labels(name: str, cells: Sequence[object]) -> str:
    """Return what a column holds, if that may be labels of the text beside it; an empty string if not.

    >>> may_be_labels("is_urgent", [True, False] * 9), may_be_labels("url", ["a", "b"] * 9)
    ('2 values that repeat', '')
    >>> may_be_labels("ratings", [{"taste": 1}, {"taste": 2}]), may_be_labels("spans", [[[0, 3]], []])
    ('objects', 'lists')
    """
    inner = {same(str(key)) for cell in cells if isinstance(cell, Mapping) for key in cell}
    if not cells or (same(name) in ORIGIN and not inner & {same(name) for name in LABELLED}):
        return ""
    written = {plain(cell) for cell in cells}
    if any(isinstance(cell, Mapping) for cell in cells):
        return "objects"
    lists = [cell for cell in cells if isinstance(cell, list) and cell]
    if lists:
        long = all(len(cell) >= MANY and all(isinstance(one, int | float) for one in cell) for cell in lists)
        return "" if long else "lists"
    if len(written) < 2 or len(written) * REPEATED > len(cells) or max(map(len, written)) > LONGEST:
        return ""
    dated = all(isinstance(cell, str) and moment_of(cell) is not None and not cell.isdigit() for cell in cells)
    return "" if dated else f"{len(written)} values that repeat"


def beside(table: Table, reading: Reading, held: Mapping[str, str]) -> list[Fault]:
    """Ask whether a text is plain text, though something that may be labels stands beside it."""
    [column] = reading.required
    named = ", ".join(f"'{name}' ({what})" for name, what in held.items())
    rule = f"'{column}' looks like plain text, but beside it stands what may be labels: {named}"
    inside = next((f"; a key of an object is named {name}.KEY" for name, what in held.items() if what == "objects"), "")
    remedy = (
        f"if it is plain text: {reading.flags}; if not, name the task and its columns: "
        f"--task WORD --columns ROLE=COLUMN,ROLE=COLUMN{inside}"
    )
    return [Fault(rule, table.file, remedy)]
