"""A sample of `make chaos`: runs that are killed, damaged and refused space go on as if nothing had happened.

`benchmarks/chaos.py` does all of it, for every kind of run, at every file operation.
"""

from __future__ import annotations

import pytest

import faults
from chaos_attacks import READERS, VERIFY, corruptions, full_disk, kills
from chaos_runs import KINDS, Kind, arena_in

pytestmark = pytest.mark.skipif(
    faults.COMPILER is None, reason="the operations are counted by a library that cc builds"
)


@pytest.fixture(scope="module")
def arena(tmp_path_factory):
    """A place for runs that are disturbed."""
    with arena_in(tmp_path_factory.mktemp("chaos")) as arena:
        yield arena


def kind_of(title: str) -> Kind:
    return next(kind for kind in KINDS if kind.title == title)


def faulty(outcomes) -> list[str]:
    found = list(outcomes)
    assert found
    return [f"{one.moment}: {defect}" for one in found for defect in one.defects]


def test_after_a_kill_in_any_stage_a_run_ends_as_if_undisturbed(arena):
    assert not faulty(kills(arena, kind_of("tune, full"), every=149))


def test_after_a_kill_the_same_command_again_leaves_one_cleaned_copy(arena):
    assert not faulty(kills(arena, kind_of("audit --fix"), every=2))


def test_a_full_disk_is_told_and_costs_nothing(arena):
    assert not faulty(full_disk(arena, kind_of("tune, full"), every=347))


def test_no_damage_to_a_file_passes_unnoticed(arena):
    assert not faulty(corruptions(arena, kind_of("tune, full"), 53, [READERS[0], VERIFY]))
