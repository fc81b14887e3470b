"""Rows that were encoded once are read back as they were, and made anew where anything they depend on is another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.core.records import Encoded, Example, Place
from kamerton.data import encoded_cache as module
from kamerton.data.encoded_cache import kept_rows, read_rows, written_rows
from kamerton.pipeline.freeze import freeze
from kamerton.runs.recipe import Decision
from kamerton.session.new_run import new_run
from kamerton.session.setup import Clock, open_setup

IDS = st.lists(st.integers(0, 2**31 - 1), max_size=4).map(tuple)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SEQUENCE = st.builds(
    Encoded,
    tokens=IDS,
    output_positions=IDS,
    targets=st.lists(st.integers(-(2**62), 2**62), max_size=3).map(tuple),
    cut=st.integers(0, 10**9),
    weight=NUMBERS,
    number=NUMBERS,
    segments=IDS,
)
ROWS = st.lists(
    st.builds(replace, SEQUENCE, extra=st.lists(SEQUENCE, max_size=2).map(tuple)),
    max_size=4,
)


def example(id: int, text: str = "a text", gold: str = "good") -> Example:
    return Example(id, Place("rows.csv", id + 2), text, gold, {"text": text})


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch):
    monkeypatch.setattr(module, "WORTHWHILE", 2)


@given(rows=ROWS)
def test_rows_come_back_as_they_were(rows):
    assert read_rows(written_rows(rows)) == rows


def test_what_was_encoded_is_not_encoded_again_until_something_is_another(tmp_path):
    calls: list[str] = []

    def encoded(circumstances: str, examples: list[Example]) -> list[Encoded]:
        def encode() -> list[Encoded]:
            calls.append(circumstances)
            return [Encoded((len(calls),), (0,), (1,))] * len(examples)

        return kept_rows(tmp_path, circumstances, examples, encode)

    rows = [example(0), example(1, "another")]
    first = encoded("one model", rows)
    assert encoded("one model", rows) == first and len(calls) == 1
    others = [[rows[0], example(1, "other")], [rows[0], example(1, "another", "bad")], rows[::-1], [*rows, rows[0]]]
    for number, other in enumerate(others, start=2):
        assert encoded("one model", other) != first and len(calls) == number
    assert encoded("another model", rows) != first
    assert encoded("one model", rows) == first
    assert encoded("one model", rows[:1]) != first, "few rows are not worth a file"


@pytest.mark.parametrize(
    "spoil", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: raw[:-60] + b"0" * 60]
)
def test_a_damaged_file_is_made_anew(spoil, tmp_path):
    rows = [Encoded(tuple(range(50)), (1, 2), (3, 4))] * 3
    examples = [example(i) for i in range(3)]
    assert kept_rows(tmp_path, "", examples, lambda: rows) == rows
    [place] = tmp_path.glob("*.rows")
    whole = place.read_bytes()
    place.write_bytes(spoil(whole))
    assert kept_rows(tmp_path, "", examples, lambda: rows) == rows
    assert place.read_bytes() == whole


def test_a_disk_without_room_takes_nothing_from_the_rows(tmp_path):
    (tmp_path / "file").write_text("")
    rows = [Encoded((1,), (0,), (1,))] * 2
    assert kept_rows(tmp_path / "file", "", [example(0), example(1)], lambda: rows) == rows


def test_a_run_that_is_opened_again_tokenizes_nothing(tmp_path, encoder_folder, monkeypatch):
    data = tmp_path / "rows.csv"
    texts = "".join(f"text number {i} is {('good', 'bad')[i % 2]},{('good', 'bad')[i % 2]}\n" for i in range(40))
    data.write_text(f"text,label\n{texts}")
    run = new_run(data, tmp_path / "run", {"model.name": str(encoder_folder)})
    for _ in freeze(run, Clock(run)):
        pass
    first, again = open_setup(run), open_setup(run)
    rows = first.encode(first.split.train)
    run.write_recipe(run.recipe.settle({"model.max_tokens": Decision(4, "asked for")}))
    shorter = open_setup(run)
    assert all(len(row.tokens) <= 4 for row in shorter.encode(shorter.split.train))

    def fail(*_: object) -> None:
        raise AssertionError("tokenized again")

    monkeypatch.setattr(type(again.form), "encode", fail)
    assert again.encode(again.split.train) == rows
