"""Columns beside a plain text that may hold labels: then the data may be meant for another task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kamerton.core.errors import Fault
from kamerton.core.messages import Joined, Wording, msg
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
"""Names of columns that describe a text and its origin, and are not labels."""
REPEATED = 4
"""Rows that each value must have on average to count as a label."""
LONGEST = 60
"""Most characters of a label."""
MANY = 16
"""Numbers in a list from which on it is an embedding or token ids."""
OBJECTS = msg("objects")


def may_be_labels(name: str, cells: Sequence[object]) -> Wording:
    """Return what a column holds, if that may be labels of the text beside it; an empty string if not.

    >>> str(may_be_labels("is_urgent", [True, False] * 9)), may_be_labels("url", ["a", "b"] * 9)
    ('2 values that repeat', '')
    >>> str(may_be_labels("ratings", [{"taste": 1}, {"taste": 2}])), str(may_be_labels("spans", [[[0, 3]], []]))
    ('objects', 'lists')
    """
    inner = {same(str(key)) for cell in cells if isinstance(cell, Mapping) for key in cell}
    if not cells or (same(name) in ORIGIN and not inner & {same(name) for name in LABELLED}):
        return ""
    written = {plain(cell) for cell in cells}
    if any(isinstance(cell, Mapping) for cell in cells):
        return OBJECTS
    lists = [cell for cell in cells if isinstance(cell, list) and cell]
    if lists:
        long = all(len(cell) >= MANY and all(isinstance(one, int | float) for one in cell) for cell in lists)
        return "" if long else msg("lists")
    if len(written) < 2 or len(written) * REPEATED > len(cells) or max(map(len, written)) > LONGEST:
        return ""
    dated = all(isinstance(cell, str) and moment_of(cell) is not None and not cell.isdigit() for cell in cells)
    return "" if dated else msg("{count} {count:value|values} that repeat", count=len(written))


def beside(table: Table, reading: Reading, held: Mapping[str, Wording]) -> list[Fault]:
    """Return the question whether a text is plain text although columns beside it may be labels."""
    [column] = reading.required
    named = Joined([msg("'{name}' ({what})", name=name, what=what) for name, what in held.items()], ", ")
    rule = msg("'{column}' looks like plain text, but these may be its labels: {named}", column=column, named=named)
    remedies = [
        msg("if it is plain text: {flags}", flags=reading.flags),
        msg("if not, name the task and its columns: --task WORD --columns ROLE=COLUMN,ROLE=COLUMN"),
    ]
    if objects := [name for name, what in held.items() if what == OBJECTS]:
        remedies.append(msg("a key of an object is named {name}.KEY", name=objects[0]))
    return [Fault(rule, table.file, Joined(remedies))]
