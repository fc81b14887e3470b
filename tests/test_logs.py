"""Logs of a run: what was appended is read back, a torn end is dropped, and every damaged line is noticed."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.core.errors import RunError
from kamerton.runs.logs import append_line, read_lines, write_lines

RECORDS = [{"event": "stepped", "loss": 0.1 + 0.2, "text": 'a\u2028b\x85c "crc": "0"'}, {"event": "тест", "step": 2}]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of two records."""
    for record in RECORDS:
        append_line(tmp_path / "log.jsonl", record, 0o600)
    return tmp_path / "log.jsonl"


def test_records_read_back_and_the_log_is_json_lines(log):
    assert read_lines(log) == RECORDS
    assert [json.loads(line)["event"] for line in log.read_text().split("\n")[:-1]] == ["stepped", "тест"]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert read_lines(log.with_name("none.jsonl")) == []


def test_what_a_kill_cut_short_is_dropped_and_the_next_line_stands_alone(log):
    whole = log.read_bytes()
    for end in range(whole.index(b"\n") + 1, len(whole) - 1):
        log.write_bytes(whole[:end])
        assert read_lines(log) == RECORDS[:1]
        append_line(log, {"event": "next"}, 0o600)
        assert read_lines(log) == [RECORDS[0], {"event": "next"}]


def test_every_flipped_bit_is_noticed(log):
    whole = log.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            flipped = bytes([whole[place] ^ 1 << bit])
            log.write_bytes(whole[:place] + flipped + whole[place + 1 :])
            if place == len(whole) - 1:  # the end of the last line: as if a kill had cut it short
                assert read_lines(log) == RECORDS[:1]
                continue
            with pytest.raises(RunError, match="damaged or edited"):
                read_lines(log)


def test_damaged_lines_are_told_together_with_their_numbers(log):
    log.write_bytes(b"\0" * 40 + b"\n[1]\n" + log.read_bytes() + b"[" * 100_000 + b"\n")
    with pytest.raises(RunError) as caught:
        read_lines(log)
    assert [str(fault.place).rpartition(":")[2] for fault in caught.value.faults] == ["1", "2", "5"]


def test_logs_of_older_versions_have_no_checksums(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"a": 1}\n{"b": "x"}\n')
    assert read_lines(tmp_path / "log.jsonl") == [{"a": 1}, {"b": "x"}]


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.floats(allow_nan=False), min_size=1)))
def test_any_records_survive(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    write_lines(path, records, 0o600)
    assert read_lines(path) == records
