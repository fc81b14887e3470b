"""What a server's answers cost beside one's own: by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kamerton.runs.price import price
from kamerton.runs.recipe import resolve
from kamerton.runs.run import Run


def a_run(folder: Path, **prompt: float) -> Run:
    """Make a run whose server gave four answers of 1,000 tokens in and 50 out on average."""
    run = Run.create(folder, resolve(None, {"data.path": "x.csv", **{f"prompt.{k}": v for k, v in prompt.items()}}))
    replies = [{"request": str(i), "text": "x", "tokens_in": 700 + 200 * i, "tokens_out": 50} for i in range(4)]
    (run.path / "endpoint.jsonl").write_text("".join(json.dumps(reply) + "\n" for reply in replies), encoding="utf-8")
    return run


def test_a_thousand_answers_cost_their_tokens_at_the_servers_prices(tmp_path):
    found = price(a_run(tmp_path / "run", price_in=2.0, price_out=10.0), own=0.01, whole=600.0)
    assert found and (found.replies, found.tokens) == (4, 1050)
    assert found.thousand == pytest.approx(1000 * (1000 * 2 + 50 * 10) / 1e6)
    assert len(found.volumes) > 1


def test_tuning_pays_from_the_row_on_which_what_is_saved_exceeds_what_tuning_cost(tmp_path):
    found = price(a_run(tmp_path / "run", price_in=2.0, price_out=10.0, price_hour=1.8), own=0.2, whole=600.0)
    assert found
    [volume] = found.volumes
    tuning, mine, theirs = 600 * 1.8 / 3600, 0.2 * 1.8 / 3600, found.thousand / 1000
    assert volume.rows
    assert volume.rows * theirs >= tuning + volume.rows * mine > 0
    assert (volume.rows - 1) * theirs < tuning + (volume.rows - 1) * mine


def test_where_ones_own_answers_cost_more_tuning_never_pays(tmp_path):
    found = price(a_run(tmp_path / "run", price_in=2.0, price_hour=36.0), own=10.0, whole=600.0)
    assert found and [volume.rows for volume in found.volumes] == [None]


def test_without_prices_or_without_a_server_there_is_nothing_to_say(tmp_path):
    assert price(a_run(tmp_path / "free"), own=0.01, whole=600.0) is None
    bare = a_run(tmp_path / "bare", price_in=2.0)
    (bare.path / "endpoint.jsonl").unlink()
    assert price(bare, own=0.01, whole=600.0) is None
