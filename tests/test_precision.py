"""Arithmetic is chosen once, by what the machine does."""

from __future__ import annotations

import pytest

from kamerton.files import read_json, write_json
from kamerton.models import precision as precision_module
from kamerton.models.precision import choose_precision


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(precision_module, "cache_folder", lambda: tmp_path)
    return tmp_path


def test_two_runs_on_one_machine_choose_alike_however_busy_it_is():
    chosen = choose_precision()
    kept = read_json(precision_module._file())
    assert choose_precision() == chosen
    assert read_json(precision_module._file()) == kept


@pytest.mark.parametrize(("ratio", "chosen"), [(3.0, "bf16"), (1.1, "fp32")])
def test_bf16_is_chosen_where_it_is_worth_its_rounding(ratio, chosen):
    write_json(precision_module._file(), {"ratio": ratio})
    assert choose_precision().value == chosen
