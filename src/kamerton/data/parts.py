"""How the user wants the rows split: by a column or files that name the part, by groups, or by time."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import PurePath
from typing import Literal, TypeVar, get_args

from kamerton.core.errors import DataError, Fault, nearest
from kamerton.core.messages import Message, Wording, msg
from kamerton.data.cells import value_at
from kamerton.data.table import Table
from kamerton.runs.settings import SplitBy, SplitSettings
from kamerton.text.cells import filled, plain

Part = Literal["train", "validation", "test"]
Value = TypeVar("Value")
TRAIN = ("train", "training", "обучение", "обучающая")
VALIDATION = ("validation", "valid", "val", "dev", "development", "testa", "валидация", "проверка")
TEST = ("test", "testing", "testb", "тест", "тестовая")
WORDS: Mapping[str, Part] = {
    word: part for part, words in zip(get_args(Part), (TRAIN, VALIDATION, TEST), strict=True) for word in words
}
COLUMNS = ("split", "subset", "partition", "часть", "выборка")
"""Columns that are taken for the user's split if every value in them is one of the words above."""
RUSSIAN_TIME = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:[ T](.+))?")
SHOWN = 5
AS_SAID = msg("as you said")


@dataclass(frozen=True)
class Sides:
    """How a table is split, and the groups, parts or times of its rows."""

    by: SplitBy
    reason: Wording
    names: Mapping[int, str]
    """By row id: the group, or the part that the user gave."""
    times: Mapping[int, float]
    """By row id: seconds since 1970, or the number that stands there."""


def find_sides(table: Table, settings: SplitSettings) -> Sides:
    """Return how the table is to be split: as the recipe says, else as its rows or files say, else at random."""
    column = settings.column or ""
    if column and column not in table.columns and all(value_at(row.values, column) is None for row in table.rows):
        rule, place = msg("there is no column '{column}'", column=column), f"{table.file} split.column"
        raise DataError(Fault(rule, place, nearest(column, table.columns)))
    if settings.by == "group":
        return Sides("group", AS_SAID, _groups(table, column), {})
    if settings.by == "time":
        remedy = msg("write ISO dates (2026-03-01), Russian ones (01.03.2026), or numbers")
        times = _parsed(table, column, moment_of, lambda value: msg("'{value}' is not a time", value=value), remedy)
        return Sides("time", AS_SAID, {}, times)
    if settings.train_path or settings.by == "test":
        return _all_tested(table, settings)
    if settings.by == "random" or settings.folds:
        return Sides("random", msg("folds are drawn at random"), {}, {})
    return _given(table, settings)


def _all_tested(table: Table, settings: SplitSettings) -> Sides:
    """Test on all rows but those of the file that a model was trained on, which are named."""
    if not settings.train_path:
        return Sides("test", AS_SAID, {}, {})
    path = settings.train_path
    names = {row.id: "train" for row in table.rows if PurePath(row.place.file).is_relative_to(path)}
    return Sides("test", msg("the rows of {path} were trained on", path=path), names, {})


def part_named(text: str) -> Part | None:
    """Return the part that a word names.

    >>> part_named("Dev"), part_named("maybe")
    ('validation', None)
    """
    return WORDS.get(text.strip().casefold())


def part_of_file(file: str) -> Part | None:
    """Return the part that a file's name, or its folder's, says.

    >>> part_of_file("data/train-00000-of-00002.parquet"), part_of_file("corpus/dev/a.csv"), part_of_file("latest.csv")
    ('train', 'validation', None)
    """
    path = PurePath(file)
    for name in (path.name.split(".")[0], path.suffix, path.parent.name):
        found = {part for word in re.split(r"[\W\d_]+", name) if (part := part_named(word))}
        if len(found) == 1:
            return found.pop()
    return None


def _given(table: Table, settings: SplitSettings) -> Sides:
    """Take the parts from the named or recognized column, else from the names of the files."""
    named: dict[int, str] = {}
    reason = msg("no column and no file's name says the parts")
    by_file = {file: part for file in table.rows.files if (part := part_of_file(file))}
    if column := settings.column or _part_column(table):
        named, reason = _parts(table, column), msg("column '{column}' names the parts", column=column)
    elif len(by_file) == len(table.rows.files) and len(set(by_file.values())) > 1:
        named = {row.id: by_file[row.place.file] for row in table.rows}
        reason = msg("the files' names name the parts")
    if settings.test_path:
        named |= {row.id: "test" for row in table.rows if PurePath(row.place.file).is_relative_to(settings.test_path)}
        reason = msg("the test rows are in {path}", path=str(settings.test_path))
    if settings.by == "given" and not named:
        remedy = msg("name the column with split.column, or the files {words}", words=", ".join(get_args(Part)))
        raise DataError(Fault(msg("split.by is given, but {reason}", reason=reason), table.file, remedy))
    return Sides("given" if named else "random", reason, named, {})


def _part_column(table: Table) -> str | None:
    """Return a column that is named like a split and holds names of at least two parts only."""
    for column in table.columns:
        if column.casefold() in COLUMNS:
            found = {part_named(plain(row.values.get(column))) for row in table.rows}
            if None not in found and len(found) > 1:
                return column
    return None


def _parts(table: Table, column: str) -> dict[int, str]:
    remedy = msg("use {words}; or choose another kind of split: split.by=group or split.by=time",
                 words=", ".join(get_args(Part)))  # fmt: skip
    return _parsed(
        table,
        column,
        lambda cell: part_named(plain(cell)),
        lambda value: msg("'{value}' names no part of the data", value=value),
        remedy,
    )


def _groups(table: Table, column: str) -> dict[int, str]:
    values = {row.id: value_at(row.values, column) for row in table.rows}
    names = {id: plain(value) for id, value in values.items() if filled(value)}
    groups = len(set(names.values()))
    if groups < len(get_args(Part)):
        rule = msg("column '{column}' has {groups} different {groups:value|values}: too few groups for three parts",
                   column=column, groups=groups)  # fmt: skip
        raise DataError(Fault(rule, table.file, msg("name a column with more groups")))
    return names


def _parsed(
    table: Table,
    column: str,
    parse: Callable[[object], Value | None],
    unlike: Callable[[str], Message],
    remedy: Message,
) -> dict[int, Value]:
    """Parse a column's values, by row id; refuse the table if some cannot be parsed."""
    found, faults = dict[int, Value](), list[Fault]()
    for row in table.rows:
        cell = value_at(row.values, column)
        if (value := parse(cell)) is None:
            place = msg("{place} column '{column}'", place=str(row.place), column=column)
            faults.append(Fault(unlike(plain(cell)), place, remedy))
        else:
            found[row.id] = value
    if faults:
        count = len(faults) - SHOWN
        more = [Fault(msg("and {count} more {count:row|rows}", count=count))] if count > 0 else []
        raise DataError([*faults[:SHOWN], *more])
    return found


def moment_of(value: object) -> float | None:
    """Parse a time into a number that grows with it; None if it is not one. Without a time zone, UTC is meant.

    >>> moment_of("1970-01-02"), moment_of("02.01.1970"), moment_of(2019), moment_of("soon")
    (86400.0, 86400.0, 2019.0, None)
    """
    if isinstance(value, bool) or not filled(value):
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return _written_moment(str(value).strip())
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


def _written_moment(text: str) -> float | None:
    if russian := RUSSIAN_TIME.fullmatch(text):
        day, month, year, clock = russian.groups()
        text = f"{year}-{month:0>2}-{day:0>2}" + (f"T{clock}" if clock else "")
    for read in (float, lambda written: moment_of(datetime.fromisoformat(written))):
        try:
            moment = read(text)
        except ValueError:
            continue
        return moment if moment is not None and math.isfinite(moment) else None
    return None
