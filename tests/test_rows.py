import random
from pathlib import Path

import pytest

from kamerton.core.records import Example, Place, Row
from kamerton.data import rows as module
from kamerton.data.rows import TOGETHER, Examples, RowLog, Rows

VALUES = {"text": "Тёплый фильм\nи «ещё»", "n": 3, "x": 0.1, "none": None, "deep": {"a": [1, {"b": "я"}]}, "t": True}


def log_of(file: str, count: int) -> RowLog:
    log = RowLog(file)
    for number in range(count):
        log.append(2 * number, number + 2, VALUES | {"n": number})
    return log


@pytest.mark.parametrize("in_memory", [1, 1 << 30])
@pytest.mark.parametrize("count", [0, 1, TOGETHER - 1, TOGETHER, 3 * TOGETHER + 7])
def test_rows_come_back_as_they_were_written_in_any_order(
    count: int, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_MEMORY", in_memory)
    rows = Rows([log_of("a.csv", count), log_of("b.csv", 5)], [0, 1000])
    expected = [Row(2 * n, Place("a.csv", n + 2), VALUES | {"n": n}) for n in range(count)]
    expected += [Row(1000 + 2 * n, Place("b.csv", n + 2), VALUES | {"n": n}) for n in range(5)]
    assert list(rows) == expected
    assert len(rows) == count + 5
    order = list(range(count + 5))
    random.Random(1).shuffle(order)
    assert [rows[at] for at in order] == [expected[at] for at in order]
    assert rows[2:-2] == tuple(expected[2:-2])
    assert rows[-1] == expected[-1]
    with pytest.raises(IndexError):
        rows[count + 5]


def test_examples_come_back_as_they_were_given_with_their_keys() -> None:
    fields = [{"a": n} | ({"b": [n]} if n % 5 else {}) for n in range(200)]
    given = [
        Example(7 * n, Place(f"{n % 3}.csv", n + 1), f"Текст  {n}", f"label {n % 4}", fields[n], f"user {n % 9}")
        for n in range(200)
    ]
    examples = Examples()
    for example in given:
        examples.append(example)
    assert list(examples) == given
    assert [example.key for example in examples] == [example.key for example in given]
    assert examples[3:50:2] == tuple(given[3:50:2])
    assert examples[-1] == given[-1]
    assert len({id(example.gold) for example in examples}) == 4


def test_fields_keep_their_order_in_every_process() -> None:
    names = [f"field {number}" for number in range(20)]
    examples = Examples()
    examples.append(Example(1, Place("a", 1), "t", "g", dict.fromkeys(names, "x")))
    assert list(examples[0].fields) == names


def test_a_key_is_worked_out_once_and_does_not_outlive_its_text(tmp_path: Path) -> None:
    example = Example(0, Place("a.csv", 1), "Ёлка  №1", "x")
    assert example.key == Example(1, Place("b.csv", 1), "ёлка no1", "y").key
    assert Example(0, Place("a.csv", 1), "x", "x").remember(example.key).key == example.key
