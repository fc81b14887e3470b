"""Every row trains once an epoch, in an order that depends on nothing but the seed."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kamerton.engine.passes import split_passes
from kamerton.train.batches import UpdatePlan

plans = st.builds(
    UpdatePlan, st.integers(1, 90), st.integers(1, 20), st.floats(0.05, 4), st.integers(0, 2**32 - 1)
)  # fmt: skip


@given(plans)
def test_each_row_trains_once_in_each_whole_epoch(plan):
    for epoch in range(int(plan.epochs)):
        updates = range(epoch * plan.updates_per_epoch, (epoch + 1) * plan.updates_per_epoch)
        drawn = [plan.rows_of(update) for update in updates]
        assert sorted(row for rows in drawn for row in rows) == list(range(plan.rows))
        assert all(len(rows) == plan.batch_size for rows in drawn[:-1])


@given(plans)
def test_a_part_of_an_epoch_trains_that_part_of_the_rows(plan):
    assert plan.updates == max(1, math.ceil(plan.epochs * math.ceil(plan.rows / plan.batch_size)))
    drawn = Counter(row for update in range(plan.updates) for row in plan.rows_of(update))
    assert max(drawn.values()) - min(drawn.get(row, 0) for row in range(plan.rows)) <= 1
    assert plan.epoch_after(plan.updates) == pytest.approx(plan.updates / math.ceil(plan.rows / plan.batch_size))


@given(plans)
def test_the_same_seed_gives_the_same_rows_at_any_step(plan):
    again = UpdatePlan(plan.rows, plan.batch_size, plan.epochs, plan.seed)
    steps = list(range(plan.updates))
    forwards = [plan.rows_of(step) for step in steps]
    assert [again.rows_of(step) for step in reversed(steps)] == forwards[::-1]


def test_other_seeds_and_other_epochs_give_other_orders():
    orders = [UpdatePlan(50, 50, 2, seed).rows_of(update) for seed in range(20) for update in range(2)]
    assert len({tuple(order) for order in orders}) == len(orders)


@given(plans, st.integers(1, 12))
def test_validation_comes_as_often_as_promised_and_at_the_end(plan, per_epoch):
    due = [n for n in range(1, plan.updates + 1) if plan.validates_after(n, per_epoch)]
    assert due[-1] == plan.updates
    for epoch in range(1, int(plan.epochs) + 1):
        last = epoch * plan.updates_per_epoch
        if last <= plan.updates:
            inside = [n for n in due if last - plan.updates_per_epoch < n <= last]
            assert last in inside
            assert len(inside) == min(per_epoch, plan.updates_per_epoch) + (
                plan.updates in inside and plan.updates < last
            )


@given(plans, st.integers(1, 6))
def test_validations_lie_evenly(plan, per_epoch):
    assume(plan.updates_per_epoch >= per_epoch)
    due = [0, *(n for n in range(1, plan.updates) if plan.validates_after(n, per_epoch))]
    wanted = plan.updates_per_epoch / per_epoch
    assert all(abs(now - before - wanted) < 1 for before, now in itertools.pairwise(due))


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 40)), min_size=1, max_size=40),
    st.integers(1, 900),
    st.integers(1, 90),
)
def test_passes_hold_each_row_once_within_their_budgets(rows, max_tokens, max_reads):
    lengths, reads = [length for length, _ in rows], [count for _, count in rows]
    passes = split_passes(lengths, reads, max_tokens, max_reads)
    assert sorted(index for chosen in passes for index in chosen) == list(range(len(rows)))
    for chosen in passes:
        assert len(chosen) == 1 or sum(lengths[i] for i in chosen) <= max_tokens
        assert len(chosen) == 1 or sum(reads[i] for i in chosen) <= max_reads


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(1, 900))
def test_no_two_neighbouring_passes_would_fit_in_one(lengths, max_tokens):
    passes = split_passes(lengths, [1] * len(lengths), max_tokens, 1000)
    for first, second in itertools.pairwise(passes):
        assert sum(lengths[i] for i in first) + lengths[second[0]] > max_tokens


def test_everything_goes_in_one_pass_where_it_fits():
    assert len(split_passes([5, 1, 9], [1, 1, 1], max_tokens=15, max_outputs=3)) == 1
