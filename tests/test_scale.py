"""The plan on paper for large models: its formulas, held against what others measured."""

from __future__ import annotations

import pytest
import scale

from kamerton.core.weights import WeightCounts
from kamerton.models.published import by_name
from kamerton.session.machine import described_machine
from kamerton.session.memory import Footprint


def test_parameters_are_those_of_the_published_models():
    assert scale.EIGHT.parameters == by_name()["meta-llama/Llama-3.1-8B-Instruct"].facts.parameters
    assert scale.SEVENTY.parameters == 70_553_706_496  # of meta-llama/Llama-3.1-70B, by the headers of its files


def test_one_card_holds_what_the_planner_says():
    plan = scale.Plan(scale.EIGHT, 1, 2048)
    facts = by_name()["meta-llama/Llama-3.1-8B-Instruct"].facts
    planned = Footprint(facts, WeightCounts(facts.parameters, 0), described_machine("h100"))
    assert (plan.state_bytes, plan.moved_bytes) == (planned.held_bytes, 0)


def test_sharding_saves_what_torchtitan_measured():
    measured, ours = scale.saved_gib()
    assert ours == pytest.approx(min(measured), rel=0.1)
    assert ours < min(measured)  # buffers of the links grow with a card's share, too


def test_a_measured_peak_lies_between_recomputing_all_and_nothing():
    all_of_it, none = scale.TITAN_ON_8, scale.replace(scale.TITAN_ON_8, recomputed=False)
    assert scale.with_all_logits(all_of_it) < scale.TITAN_GIB[8][0] * scale.GIB < scale.with_all_logits(none)


@pytest.mark.parametrize(("tokens", "stated"), scale.TITAN_RATES.values())
def test_operations_give_the_utilization_that_torchtitan_states(tokens, stated):
    assert scale.stated_utilization(scale.TITAN_ON_8, tokens) == pytest.approx(stated, abs=0.01)


def test_operations_of_70b_give_the_utilization_that_torchtitan_states_for_a100s():
    tokens, stated = scale.TITAN_70B_RATE
    assert scale.stated_utilization(scale.TITAN_70B, tokens, scale.A100_PEAK) == pytest.approx(stated, abs=0.01)


def test_operations_of_lora_are_those_that_nemo_counts():
    assert scale.NEMO_LORA.flops_per_token == pytest.approx(scale.NEMO_FLOPS / scale.NEMO_TOKENS, rel=0.03)


def test_a_slow_link_limits_a_short_pass_and_a_long_pass_hides_it():
    plan = scale.LORA_ON_16
    least = plan.least_tokens(0.3, scale.RAIL)
    short, long = (scale.replace(plan, tokens=int(least * factor)) for factor in (0.5, 2))
    assert short.tokens_per_second(0.3, scale.RAIL) < short.tokens_per_second(0.3, scale.NVLINK)
    assert long.tokens_per_second(0.3, scale.RAIL) == long.tokens_per_second(0.3, scale.NVLINK)
