"""Five hundred broken files of every format: a table whose rows add up, or an error a person can act on."""

from pathlib import Path

import pytest

from broken_files import BREAKERS, BrokenFile, broken_files
from kamerton.core.errors import DataError
from kamerton.data.read import read_table

FILES = list(broken_files(seed=20, count=500))


def test_the_same_seed_breaks_the_same_files_and_every_breaker_is_used() -> None:
    assert list(broken_files(seed=20, count=500)) == FILES
    assert all(any(name in file.name for file in FILES) for name in BREAKERS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_broken_file_gives_a_whole_table_or_an_error_with_rule_place_and_remedy(
    file: BrokenFile, tmp_path: Path
) -> None:
    path = tmp_path / file.name
    path.write_bytes(file.content)
    try:
        table = read_table(path)
    except DataError as error:
        assert error.faults
        for fault in error.faults:
            assert str(fault.rule) and str(path) in str(fault.place) and str(fault.remedy)
        return
    ids = sorted([row.id for row in table.rows] + [entry.id for entry in table.rejected])
    assert ids == list(range(table.rows_read)) and table.rows
    for row in table.rows:
        assert set(row.values) <= set(table.columns)
        str(row.values).encode("utf-8")


def test_both_outcomes_occur(tmp_path: Path) -> None:
    outcomes = set()
    for file in FILES:
        path = tmp_path / file.name
        path.write_bytes(file.content)
        try:
            read_table(path)
            outcomes.add("table")
        except DataError:
            outcomes.add("refused")
    assert outcomes == {"table", "refused"}
