"""Cells that hold what Python, numpy, pandas, R or JSON printed."""

from __future__ import annotations

import csv
import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kamerton.core.errors import DataError
from kamerton.pipeline.prepare import ParsedData, parse_data
from kamerton.runs.recipe import resolve
from kamerton.text.printed import opened, opened_text

READ: list[tuple[str, object]] = [
    ("['a', 'b']", ["a", "b"]),
    ("['a' 'b'\n 'c']", ["a", "b", "c"]),
    ("[\"it's\" 'so']", ["it's", "so"]),
    ("['it\\'s']", ["it's"]),
    ("[0 3]", [0, 3]),
    ("[1. 0. 2.5e-1]", [1, 0, 0.25]),
    ("[ True False]", [True, False]),
    ("array(['a', 'b'], dtype='<U5')", ["a", "b"]),
    ("[array([1, 2]) array([], dtype=int64)]", [[1, 2], []]),
    ("[list(['a']) list(['b', 'c'])]", [["a"], ["b", "c"]]),
    ("[np.str_('x'), np.int64(3), np.True_]", ["x", 3, True]),
    ("tensor([1, 0], device='cuda:0')", [1, 0]),
    ("('a',)", ["a"]),
    ("{'a', 'b'}", ["a", "b"]),
    ("set()", []),
    ("frozenset({'a'})", ["a"]),
    ("{'a': None, 'b': [1, (2, 3)]}", {"a": None, "b": [1, [2, 3]]}),
    ("OrderedDict([('a', 1)])", {"a": 1}),
    ("defaultdict(<class 'list'>, {'a': [1]})", {"a": [1]}),
    ("[Timestamp('2024-05-01 00:00:00'), datetime.date(2024, 5, 1)]", ["2024-05-01 00:00:00", "2024-05-01"]),
    ("[datetime.datetime(2024, 5, 1, 12, 30)]", ["2024-05-01 12:30"]),
    ("[Message(role='user', content='hi')]", [{"role": "user", "content": "hi"}]),
    ('c("a", "b")', ["a", "b"]),
    ("[b'\\xd0\\xb0', u'\\u0431', r'\\d']", ["а", "б", "\\d"]),
    ('{"a": [1, null], "b": "\\u00e9"}', {"a": [1, None], "b": "é"}),
    ('["a", "b",]', ["a", "b"]),
    ("[]", []),
]
KEPT = [
    "[deleted]",
    "[foo, bar]",
    "(1)",
    "(sic)",
    "a, b",
    "",
    "[1] he says",
    "{name}",
    "[INST] Hi [/INST]",
    "os.getcwd()",
]
BROKEN = [
    ("[1 2 ... 8 9]", "left out its middle"),
    ("['a', 'b", "its end is missing"),
    ("['it's']", "a quote is not closed"),
    ("['a', b]", "'b' has no quotes"),
    ("['a'] 2]", "'2' follows its end"),
    ("[os.system('x')]", "a Python object, `os.system(...)`"),
    ("{'a': 1, 'b'}", "some of its values have keys"),
    ('["\\ud83d"]', "half a character"),
    ("[" * 5000 + "]" * 5000, "too deep"),
]


@pytest.mark.parametrize(("cell", "value"), READ, ids=[cell for cell, _ in READ])
def test_what_was_printed_is_read(cell: str, value: object) -> None:
    assert opened(cell) == value


@pytest.mark.parametrize("cell", KEPT)
def test_a_text_in_brackets_stays_a_text(cell: str) -> None:
    assert opened(cell) == cell
    assert opened_text(cell) == cell


@pytest.mark.parametrize(("cell", "why"), BROKEN, ids=[cell[:20] for cell, _ in BROKEN])
def test_what_cannot_be_read_is_told_with_the_reason(cell: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        opened(cell)


@pytest.mark.parametrize("cell", ["['" + "a" * 500_000, "['" + "\\'" * 300_000 + "']", "[" + "1 " * 50_000 + "x]"])
def test_reading_takes_linear_time(cell: str) -> None:
    began = time.perf_counter()
    with suppress(ValueError):
        opened(cell)
    assert time.perf_counter() - began < 5


# ── every task's columns ──────────────────────────────────────────────────────────────────────

ROWS = range(24)


def numpy(values: Sequence[object]) -> str:
    """Print as numpy prints an array, without commas."""
    return f"[{' '.join(map(repr, values))}]"


def truncated(values: Sequence[object]) -> str:
    return f"[{values[0]!r} ... {values[-1]!r}]"


def asked(at: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What's number {at}?"}, {"role": "assistant", "content": f'It is "{at}".'}]


WRITERS: dict[str, Callable[[Any], str]] = {
    "Python": repr,
    "numpy": numpy,
    "an array": lambda values: f"array({values!r}, dtype=object)",
    "a tuple": lambda values: repr(tuple(values)),
    "JSON": json.dumps,
}
TASKS: dict[str, tuple[str, Callable[[int, Callable[[Any], str]], dict[str, str]], str]] = {
    "tags": (
        "token-classification",
        lambda at, write: {
            "tokens": write(["Marta", "saw", f"boat{at}"]),
            "ner_tags": write(["B-PER", "O", "O"]),
        },
        '["B-PER", "O", "O"]',
    ),
    "labels": (
        "multi-label",
        lambda at, write: {"text": f"a film {at}", "labels": write((["war"], ["love", "war"])[at % 2])},
        '["war"]',
    ),
    "one label": (
        "text-classification",
        lambda at, write: {"текст": f"фильм {at}", "метка": write([("война", "мир")[at % 2]])},
        "война",
    ),
    "a chat": ("chat", lambda at, write: {"messages": write(asked(at))}, 'It is "0".'),
    "options": (
        "multiple-choice",
        lambda at, write: {"question": f"{at}?", "options": write([f"a{at}", f"b{at}"]), "answer": str(at % 2)},
        "a0",
    ),
    "answers": (
        "question-answering",
        lambda at, write: {"context": f"It is boat {at}.", "question": f"{at}?", "answers": write([f"boat {at}"])},
        '["boat 0"]',
    ),
    "preferences": (
        "preference",
        lambda at, write: {
            "chosen": write(asked(at)),
            "rejected": write([*asked(at)[:1], {"role": "assistant", "content": "no"}]),
        },
        'It is "0".',
    ),
}


def parsed(folder: Path, rows: Sequence[dict[str, str]], **settings: object) -> ParsedData:
    path = folder / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return parse_data(resolve(None, {"data.path": str(path), **settings}))


@pytest.mark.parametrize("way", WRITERS)
@pytest.mark.parametrize("kind", TASKS)
def test_each_task_reads_its_printed_columns(tmp_path: Path, kind: str, way: str) -> None:
    task, row, gold = TASKS[kind]
    found = parsed(tmp_path, [row(at, WRITERS[way]) for at in ROWS])
    assert (found.recipe.data.task, len(found.examples), found.left_out) == (task, len(ROWS), ())
    assert found.examples[0].gold == gold


def test_translations_within_printed_objects_are_read(tmp_path: Path) -> None:
    rows = [{"translation": repr({"en": f"a boat {at}", "ru": f"лодка {at}"})} for at in ROWS]
    found = parsed(tmp_path, rows)
    assert (found.recipe.data.task, found.examples[0].gold) == ("translation", "лодка 0")


def test_answers_that_are_json_stay_as_they_are_written(tmp_path: Path) -> None:
    rows = [{"instruction": f"Call number {at}", "output": f'{{"name":"call", "at":{at}}}'} for at in ROWS]
    found = parsed(tmp_path, rows)
    assert (found.recipe.data.task, found.examples[0].gold) == ("instruction", '{"name":"call", "at":0}')


@pytest.mark.parametrize("kind", ["tags", "a chat", "options"])
def test_a_damaged_list_is_told_with_its_line(tmp_path: Path, kind: str) -> None:
    _, row, _ = TASKS[kind]
    found = parsed(tmp_path, [row(at, truncated if at == 7 else repr) for at in ROWS])
    [entry] = found.left_out
    assert str(entry.place).endswith("rows.csv:9") and "left out its middle" in str(entry.reason)
    with pytest.raises(DataError, match=r"rows.csv:2: .* left out its middle"):
        parsed(tmp_path, [row(at, truncated) for at in ROWS])
