"""Parallel files, one for each language, aligned by line: `train.en` and `train.ru` (Moses, OPUS)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path, PurePath

from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import Joined, Wording, msg
from kamerton.data.encoding import Source, decode, flaw
from kamerton.data.named import PACKED
from kamerton.data.table import Collector, Table
from kamerton.data.unpack import bytes_of

CODES = (
    "ar|az|be|bg|bn|ca|cs|da|de|el|en|es|et|fa|fi|fr|he|hi|hr|hu|hy|it|ja|ka|kk|ko|ky|lt|lv|mn|nl|no|pl|pt|ro|ru|sk|sl|"
    "sr|sv|tg|th|tr|tt|uk|ur|uz|vi|zh|eng|rus|deu|fra|spa|ukr|bel|kaz|tat"
)
"""Codes of languages, as the ends of names."""
SIDES = {"src": "source", "source": "source", "tgt": "target", "trg": "target", "target": "target"}
"""Ends of names that say the side instead of the language, and what the column is called."""
NAME = re.compile(rf"(.*?)(?:^|[._-])({CODES}|{'|'.join(SIDES)})(\.txt)?", re.IGNORECASE)


@dataclass(frozen=True)
class Side:
    """One of several files that belong together."""

    path: Path
    name: str
    """As it is shown."""
    column: str


def language_of_file(path: PurePath) -> tuple[str, str, bool] | None:
    """Return the part of a file's name that it shares with its other languages, its language, and if it ends in .txt.

    >>> language_of_file(PurePath("data/train.en")), language_of_file(PurePath("corpus.ru-en.RU.gz"))
    (('train', 'en', False), ('corpus.ru-en', 'ru', False))
    >>> language_of_file(PurePath("test_src.txt")), language_of_file(PurePath("notes.txt"))
    (('test', 'source', True), None)
    """
    name = path.name
    while name.lower().endswith(PACKED):
        name = name.rpartition(".")[0]
    found = NAME.fullmatch(name)
    if not found:
        return None
    word = found[2].lower()
    return found[1], SIDES.get(word, word), found[3] is not None


def sides_of(files: Sequence[tuple[Path, str]]) -> list[list[Side]]:
    """Group files that are the same text in several languages; each other file stands alone.

    Files that end in `.txt` may be texts of their own: they belong together only if they have as many lines.
    """
    groups, order = defaultdict[object, dict[str, Side]](dict), list[object]()
    for path, name in files:
        found = language_of_file(PurePath(name))
        key: object = (PurePath(name).parent, found[0], found[2]) if found else name
        column = found[1] if found else ""
        if column in groups[key]:
            key = name
        groups[key][column] = Side(path, name, column)
        order.append(key)
    found_groups = [list(groups[key].values()) for key in dict.fromkeys(order)]
    return [part for group in found_groups for part in ([group] if _belong(group) else [[side] for side in group])]


def partners_of(path: Path) -> list[Path]:
    """Return a file and its parallel files in other languages; only itself if its name does not say a language."""
    found = language_of_file(path)
    if not found or found[2] or not path.is_file():
        return [path]
    known = {other: language_of_file(other) for other in sorted(path.parent.iterdir()) if other.is_file()}
    others = [other for other, name in known.items() if name and name[0] == found[0] and not name[2]]
    return [path, *(other for other in others if other != path)] if len(others) > 1 else [path]


def read_parallel(sides: Sequence[Side]) -> Table:
    """Read files whose lines belong together, each as a column."""
    sources = [decode(bytes_of(side.path, side.name)) for side in sides]
    rows, counts = Collector(sides[0].name), [0] * len(sides)
    for number, lines in enumerate(zip_longest(*map(_lines, sources)), 1):
        counts = [count + (line is not None) for count, line in zip(counts, lines, strict=True)]
        texts = [line or "" for line in lines]
        if reason := next((reason for text in texts if (reason := flaw(text))), ""):
            rows.reject(number, reason)
        elif any(text.strip() for text in texts):
            rows.accept(number, {side.column: text for side, text in zip(sides, texts, strict=True)})
    if len(set(counts)) > 1:
        pairs = zip(sides, counts, strict=True)
        held = Joined([msg("{file} has {lines}", file=side.name, lines=count) for side, count in pairs], ", ")
        remedy = msg("write them so that each line of one is the translation of the same line of the other")
        raise DataError(
            Fault(msg("the files have different numbers of lines: {held}", held=held), sides[0].name, remedy)
        )
    note = msg("read line by line beside each other: {files}", files=", ".join(side.name for side in sides))
    notes: list[Wording] = [*dict.fromkeys(note for source in sources for note in source.notes), note]
    encoding = ", ".join(dict.fromkeys(source.encoding.label for source in sources))
    return replace(rows.table([side.column for side in sides], "moses", encoding, notes), reshaped=True)


def _lines(source: Source) -> Iterator[str]:
    with source.open() as lines:
        for line in lines:
            yield line.strip("\r\n\ufeff").rstrip()


def _belong(sides: Sequence[Side]) -> bool:
    if len(sides) < 2:
        return False
    if not all(side.path.suffix == ".txt" or side.name.endswith(".txt") for side in sides):
        return True
    counts = set()
    for side in sides:
        with decode(bytes_of(side.path, side.name)).open() as lines:
            counts.add(sum(1 for _ in lines))
    return len(counts) == 1
