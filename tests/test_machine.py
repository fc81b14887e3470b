"""A machine that is not here: described in a word, and what would be chosen for it, against published measurements."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from kamerton.core.contracts import ModelFacts
from kamerton.core.errors import ModelError
from kamerton.core.weights import WeightCounts
from kamerton.models.published import by_name
from kamerton.plugins.methods.last_layers import LastLayers
from kamerton.plugins.methods.lora import Lora
from kamerton.plugins.methods.qlora import Qlora
from kamerton.runs.recipe import Decision
from kamerton.session.machine import Machine, cards, described_machine
from kamerton.session.memory import LIBRARIES, LOGIT, STEP, TRAINED, Footprint, PassSize
from kamerton.session.planner import choose_method
from stories import DONE, MISTAKE

GB = 1 << 30
EIGHT = by_name()["meta-llama/Llama-3.1-8B-Instruct"].facts
MISTRAL = by_name()["mistralai/Mistral-7B-Instruct-v0.3"].facts
ONE = by_name()["meta-llama/Llama-3.2-1B-Instruct"].facts
TINY = ModelFacts("TinyLlama", "", "decoder", "llama", 1_100_048_384, 22, 2048, 32_000, 2048, "", tables=2)


@pytest.mark.parametrize(
    ("word", "kind", "memory", "precision"),
    [
        ("24GB", "cuda", 24, "bf16"),
        ("t4", "cuda", 16, "fp16"),
        ("a100", "cuda", 40, "bf16"),
        ("A100 80GB", "cuda", 80, "bf16"),
        ("NVIDIA GeForce RTX 4090", "cuda", 24, "bf16"),
        ("cpu-16gb", "cpu", 16, "fp32"),
        ("mac-64gb", "mps", 48, "fp32"),
    ],
)
def test_a_machine_is_described_by_its_card_or_its_memory(word: str, kind: str, memory: int, precision: str) -> None:
    machine = described_machine(word)
    assert (machine.kind, machine.free_bytes, machine.precision.value) == (kind, memory * GB, precision)
    assert not machine.here and machine.precision.reason


def test_metal_leaves_two_thirds_of_a_small_mac() -> None:
    assert described_machine("mac-32gb").free_bytes == pytest.approx(22_906.5e6, rel=1e-3)  # as llama.cpp prints it
    assert described_machine("mac-16gb").free_bytes == pytest.approx(11_453.25e6, rel=1e-3)


@pytest.mark.parametrize("word", ["rtx4099", "", "24", "cpu", "lots"])
def test_what_is_no_machine_is_told_with_those_that_are_known(word: str) -> None:
    with pytest.raises(ModelError, match=r"Known: a10, a100, .* such as 24GB, cpu-16gb or mac-32gb"):
        described_machine(word)


def test_every_card_of_the_table_can_be_named() -> None:
    assert all(described_machine(name).free_bytes == card.memory * GB for name, card in cards().items())


# ── against published measurements ────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Published:
    """A measured peak; the sources are those of docs/gpu.md."""

    facts: ModelFacts
    weights: WeightCounts
    size: PassSize
    logits: int
    """Positions whose logits are held at once."""
    peak: float
    """Bytes."""


QUERIES = 32 * 32 * (4096 + 4096 + 4096 + 1024)
"""Pairs of rank 32 beside queries and values of 32 layers."""
LITGPT = [
    Published(EIGHT, WeightCounts(QUERIES, EIGHT.parameters), PassSize(512), 512, 19.73e9),
    Published(MISTRAL, WeightCounts(QUERIES, MISTRAL.parameters), PassSize(1024), 1024, 20.66e9),
    Published(TINY, Lora(rank=32).count_weights(TINY), PassSize(4096), 4096, 13.50e9),
]
TORCHTUNE = [
    Published(EIGHT, Qlora(rank=8).count_weights(EIGHT), PassSize(4096, recomputed=True), 512, 7.4 * GB),
    Published(EIGHT, Lora(rank=8).count_weights(EIGHT), PassSize(4096, recomputed=True), 512, 16.2 * GB),
    Published(EIGHT, Lora(rank=8).count_weights(EIGHT), PassSize(4096), 512, 30.3 * GB),
]


@pytest.mark.parametrize("one", [*LITGPT, *TORCHTUNE])
def test_the_memory_that_follows_from_a_configuration_is_what_others_measured(one: Published) -> None:
    footprint = Footprint(one.facts, one.weights, described_machine("80gb"), activation_bytes=2)  # they are in bf16
    ours = footprint.peak_bytes(one.size, outputs=0) + LOGIT * one.logits * one.facts.vocabulary
    # torchtune compiles: what is elementwise is recomputed, which saves where activations are kept
    compiled = one in TORCHTUNE and not one.size.recomputed
    assert ours / one.peak == pytest.approx(1, abs=0.2 if compiled else 0.15)


def chosen(facts: ModelFacts, word: str) -> tuple[str, PassSize]:
    machine = described_machine(word)
    method = str(choose_method(facts, 1000, machine).value)
    return method, Footprint.of({"lora": Lora, "qlora": Qlora}[method](), facts, machine).choose_pass()


def test_the_memory_of_a_card_decides_method_and_pass() -> None:
    assert chosen(EIGHT, "80gb") == ("lora", PassSize(2048))
    assert chosen(EIGHT, "24gb")[0] == "lora"  # as torchtune does it on an RTX 4090, faster than with QLoRA
    assert chosen(EIGHT, "16gb")[0] == "qlora"
    assert chosen(EIGHT, "t4")[0] == chosen(EIGHT, "p100")[0] == "qlora"
    assert chosen(ONE, "16gb")[0] == chosen(ONE, "t4")[0] == "lora"
    sizes = [chosen(EIGHT, word)[1].tokens for word in ("24gb", "48gb", "80gb")]
    assert sizes == sorted(sizes)


def test_a_frozen_weight_has_two_bytes_only_where_rounding_it_is_allowed_or_changes_nothing() -> None:
    def bytes_of(method: Lora | LastLayers, facts: ModelFacts, machine: Machine) -> float:
        one, counts = Footprint.of(method, facts, machine), method.count_weights(facts)
        process = LIBRARIES if machine.kind == "cpu" else 0
        return (one.held_bytes - TRAINED * counts.trained - process) / counts.frozen

    card, here = described_machine("24gb"), replace(described_machine("cpu-24gb"), precision=Decision("bf16", ""))
    assert bytes_of(Lora(), ONE, card) == pytest.approx(2)
    assert bytes_of(Lora(init="pissa"), ONE, card) == pytest.approx(4)  # it takes its first values out of them
    assert bytes_of(LastLayers(), ONE, card) == pytest.approx(4)
    assert bytes_of(Lora(), ONE, here) == pytest.approx(4)  # in what type it was published is not known
    assert bytes_of(Lora(), replace(ONE, published="BF16"), here) == pytest.approx(2)
    assert bytes_of(Lora(), replace(ONE, published="BF16"), described_machine("cpu-24gb")) == pytest.approx(4)


def cpu(memory: float) -> Machine:
    return replace(described_machine("cpu-1gb"), free_bytes=int(memory))


def test_activations_are_recomputed_only_where_nothing_fits_without() -> None:
    counts = Lora().count_weights(ONE)
    # 5.6 GB of weights, pairs and the process, 0.4 of logits; a token keeps 2.6 MB, and 90% of the memory may be used
    roomy, tight, tiny = (Footprint(ONE, counts, cpu(size)) for size in (16e9, 7.6e9, 7e9))
    assert not roomy.choose_pass().recomputed
    assert not tight.choose_pass().recomputed
    assert tight.choose_pass(longest=512).recomputed  # no pass divides a row
    assert tiny.choose_pass().recomputed
    assert tiny.choose_pass(recomputes=(False,)) == PassSize(STEP)  # where a model cannot
    for one in (roomy, tight, tiny):
        assert one.peak_bytes(one.choose_pass()) <= one.room


def test_a_plan_for_another_machine_needs_no_time_and_says_so(place) -> None:
    given = ("plan", "reviews.csv", "--model", "encoder", "--for")
    ended = place.call(*given, "a100-80gb", "--json")
    assert ended.status == DONE, ended.said
    planned = json.loads(ended.out)
    assert planned["machine"] == {"name": "a100-80gb", "kind": "cuda", "here": False}
    assert planned["cost"]["seconds"] is None and planned["cost"]["fits"]
    assert planned["cost"]["free_bytes"] == 80 * GB
    assert planned["recipe"]["model"]["precision"] == "bf16"
    assert place.call(*given, "b52").status == MISTAKE
    assert place.call(*given, "t4", "--device", "cpu").status == 2
