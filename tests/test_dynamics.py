"""What training saw of each row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kamerton.core.records import RowDynamics
from kamerton.runs.run import Run
from kamerton.train.dynamics import Dynamics
from stories import Place

LOSSES = st.lists(st.lists(st.floats(0, 20), min_size=4, max_size=4), min_size=1, max_size=6)


@given(LOSSES, st.integers(1, 5))
def test_sums_give_the_mean_and_the_spread_of_the_probabilities(epochs: list[list[float]], tokens: int) -> None:
    dynamics = Dynamics.of(4)
    for losses in epochs:
        dynamics.add([2, 0], torch.tensor([losses[2], losses[0]]), [tokens, tokens])
        dynamics.add([1, 3], torch.tensor([losses[1], losses[3]]), [tokens, tokens])
    seen = np.exp(-np.float32(epochs).astype(float) / tokens)
    for row, found in enumerate(dynamics.of_rows([10, 11, 12, 13])):
        assert (found.id, found.visits) == (10 + row, len(epochs))
        assert found.confidence == pytest.approx(seen[:, row].mean())
        assert found.variability == pytest.approx(seen[:, row].std(), abs=1e-7)
        assert found.correctness == pytest.approx((seen[:, row] > 0.5).mean())


def test_copies_of_a_row_are_added_up_and_unseen_rows_left_out() -> None:
    dynamics = Dynamics.of(4)
    dynamics.add([0, 1, 3], torch.tensor([0.0, 0.0, 1.0]), [1, 1, 0])
    assert dynamics.of_rows([7, 7, 8, 9]) == [RowDynamics(7, 2, 1.0, 0.0, 1.0)]


@pytest.mark.parametrize("name", ["head", "answers"])
def test_a_run_has_the_map_of_its_training_rows(place: Place, name: str) -> None:
    run: Run = place.run(name)
    rows = run.read_dynamics()
    assert [row.id for row in rows] == [example.id for example in run.read_split().train]
    assert {row.visits for row in rows} == {3 if name == "head" else 2}
    assert all(0 < row.confidence <= 1 and 0 <= row.variability <= 0.5 for row in rows)
