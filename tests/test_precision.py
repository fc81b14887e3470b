"""Arithmetic is chosen once by what the machine does; its speed is the best that was ever seen."""

from __future__ import annotations

import pytest

from kamerton.files import read_json, write_json
from kamerton.models import precision as precision_module
from kamerton.models.precision import choose_precision, speed


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(precision_module, "cache_folder", lambda: tmp_path)
    return tmp_path


def kept():
    return read_json(precision_module._file())


def test_a_speed_that_was_timed_on_a_busy_machine_is_mended_and_the_choice_stays():
    chosen = choose_precision()
    ratio = kept()["ratio"]
    write_json(precision_module._file(), {"ratio": ratio, "fp32": 1.0, "bf16": 1.0})
    assert speed("fp32") > 1e8
    assert kept()["bf16"] > 1e8
    assert kept()["ratio"] == ratio
    assert choose_precision() == chosen


def test_a_slow_moment_does_not_lower_the_speed():
    choose_precision()
    write_json(precision_module._file(), {"ratio": 1.0, "fp32": 1e18, "bf16": 1e18})
    assert speed("fp32") == speed("bf16") == 1e18


@pytest.mark.parametrize(("ratio", "chosen"), [(3.0, "bf16"), (1.1, "fp32")])
def test_bf16_is_chosen_where_it_is_worth_its_rounding(ratio, chosen):
    write_json(precision_module._file(), {"ratio": ratio, "fp32": 1.0, "bf16": ratio})
    assert choose_precision().value == chosen
