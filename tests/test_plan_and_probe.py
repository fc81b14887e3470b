"""`kamerton plan` says what `tune` then does, and a rate that is left to a probe is found by one."""

from __future__ import annotations

import json
import math

import pytest
import yaml

from kamerton.core import registry
from kamerton.core.contracts import ModelFacts
from kamerton.core.outcomes import Resources
from kamerton.core.records import Started
from kamerton.pipeline.cost import measured_message
from kamerton.pipeline.rate import Probed, beyond, lowered, readings
from kamerton.runs.recipe import Decision, Recipe
from kamerton.runs.run import Run
from kamerton.runs.state import State
from kamerton.session.machine import Machine, described_machine
from kamerton.session.memory import Footprint
from kamerton.session.planner import candidates, choose_method
from stories import DONE, MISTAKE, QUICK

ENCODED = ("reviews.csv", "--model", "encoder", "--method", "full", "--epochs", "1")


@pytest.fixture(scope="module")
def planned(place):
    ended = place.call("plan", *ENCODED, "--json")
    assert ended.status == DONE, ended.said
    return json.loads(ended.out)


def test_a_plan_is_the_recipe_that_tune_resolves(place, planned):
    run = place.folder / "planned"
    assert place.call("tune", *ENCODED, "--set", "evaluate.resamples=200", "--out", run).status == DONE
    recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    for group in ("model", "method", "train", "split"):
        assert planned["recipe"][group] == recipe[group]


def test_a_plan_names_every_other_method_and_model_with_a_reason(planned):
    methods = [item for item in planned["alternatives"] if item["setting"] == "method.name"]
    assert {item["value"] for item in methods} == set(registry.names("methods")) - {"full"}
    assert all(item["reason"] for item in planned["alternatives"])
    assert "smollm2" in {item["value"] for item in planned["alternatives"]}


def facts_of(parameters: int, vocabulary: int = 32_000) -> ModelFacts:
    return ModelFacts("m", "m", "decoder", "llama", parameters, 32, 4096, vocabulary, 4096, "0")


def cpu(memory: str) -> Machine:
    return described_machine(f"cpu-{memory}")


def test_a_method_that_does_not_fit_into_the_memory_is_not_recommended_and_says_so():
    facts = facts_of(7_000_000_000)
    tight = choose_method(facts, 1000, cpu("12gb"))
    assert tight.value == "qlora"
    [whole] = [one for one in candidates(facts, 1000, cpu("200gb")) if one.word == "full"]
    assert whole.fits
    squeezed = {one.word: one for one in candidates(facts, 1000, cpu("12gb"))}
    assert squeezed["qlora"].fits
    assert not squeezed["full"].fits
    # 16 bytes a weight are 104.3 GB; a process is 0.5 GB, a pass of 256 tokens 0.3
    assert str(squeezed["full"].reason).startswith("does not fit: it takes at least 105 GB, and 12.0 GB are free")
    order = [one.fits for one in squeezed.values()]
    assert order == sorted(order, reverse=True)


def test_the_reason_names_what_would_suit_more_if_it_fitted():
    small = ModelFacts("m", "m", "encoder", "bert", 300_000_000, 24, 1024, 30_000, 512, "0")
    best = choose_method(small, 1000, cpu("100gb"))
    rest = choose_method(small, 1000, cpu("3gb"))
    assert rest.value != best.value
    # 4.47 GB of weights, gradients and averages, 0.47 of the process, and a pass of 256 tokens
    assert f"{best.value} would suit more but does not fit: it takes at least 5.0 GB" in str(rest.reason)


ENCODER = ModelFacts("m", "m", "encoder", "bert", 22_000_000, 6, 384, 30_000, 512, "0")


@pytest.mark.parametrize(("rows", "all_weights"), [(8, False), (99, False), (100, True), (500_000, True)])
def test_few_rows_train_few_weights_of_an_encoder_and_many_all(rows, all_weights):
    order = [one.word for one in candidates(ENCODER, rows, cpu("100gb"))]
    assert order[0] == ("full" if all_weights else "head")
    assert all_weights or order.index("full") > max(order.index("last-layers"), order.index("lora"))


def test_what_suits_a_language_model_does_not_hang_on_its_rows():
    assert {choose_method(facts_of(10**9), rows, cpu("100gb")).value for rows in (8, 500, 500_000)} == {"lora"}


def epochs_of(word: str, facts: ModelFacts, rows: int) -> tuple[float, float]:
    """Give the epochs that a method advises, and the updates that these are."""
    advice = registry.choose("methods", word)().advise(facts, rows)
    return advice["epochs"].value, advice["epochs"].value * math.ceil(rows / advice["batch_size"].value)


@pytest.mark.parametrize("word", ["full", "last-layers", "lora", "adapter", "prompt-tuning"])
def test_an_encoder_gets_ten_to_twenty_epochs_or_500_updates_of_small_data(word):
    for rows in (8, 35, 90, 300, 500, 799):
        epochs, updates = epochs_of(word, ENCODER, rows)
        assert 10 <= epochs <= 20
        assert updates >= 500 or epochs == 20


@pytest.mark.parametrize("word", ["full", "lora", "qlora", "peft"])
def test_a_language_model_gets_forty_updates_of_small_data_within_ten_epochs(word):
    for rows in (3, 35, 64, 100, 200, 300):
        epochs, updates = epochs_of(word, facts_of(10**9), rows)
        assert 3 <= epochs <= 10
        assert updates >= 40 or epochs == 10


def test_larger_data_gets_the_epochs_that_it_always_got():
    for rows, full, lora in ((800, 6, 6), (1600, 3, 5), (5000, 3, 5), (10**6, 3, 5)):
        assert epochs_of("full", ENCODER, rows)[0] == full
        assert epochs_of("lora", ENCODER, rows)[0] == lora
    for rows, full, lora in ((300, 3, 3), (800, 3, 2), (10**6, 3, 2)):
        assert epochs_of("full", facts_of(10**9), rows)[0] == full
        assert epochs_of("lora", facts_of(10**9), rows)[0] == lora


@pytest.mark.parametrize("word", registry.names("methods"))
def test_no_method_needs_more_than_full_training_or_less_than_half_a_byte_a_weight(word):
    facts = facts_of(1_000_000_000)
    counts = registry.choose("methods", word)().count_weights(facts)
    assert 5e8 < Footprint(facts, counts, described_machine("80gb")).held_bytes <= 16e9


def test_a_plan_estimates_time_and_memory_and_leaves_no_run_behind(place, planned):
    assert planned["cost"]["seconds"] > 0
    assert planned["cost"]["peak_bytes"] > 5e7
    assert not list(place.folder.glob("**/plan/recipe.yaml"))


def test_a_run_compares_the_estimate_with_what_was_measured(place):
    said = place.run("full").result["forecast"]
    assert said["estimated"]["seconds"] > 0
    assert said["measured"]["seconds"] > 0
    assert said["measured"]["peak_bytes"] >= 0.5 * said["estimated"]["peak_bytes"]
    assert said["measured"]["updates"] == said["estimated"]["updates"] > 0


def test_a_training_that_ended_early_is_held_against_the_forecast_of_its_own_updates():
    planned = Resources(seconds=60.0, peak_bytes=2 * 2**30, updates=600)
    assert planned.until(150) == Resources(seconds=15.0, peak_bytes=2 * 2**30, updates=150)
    assert str(measured_message(planned, Resources(20.0, 2**30, 150))) == (
        "training took 20 s (estimated 15 s for 150 of 600 updates, −25%) "
        "and 1.0 GB of memory (estimated 2.0 GB, +100%)"
    )
    assert "updates" not in str(measured_message(planned, Resources(20.0, 2**30, 600)))


def test_a_rate_is_found_by_a_probe_and_kept_with_what_it_saw(place):
    flags = ("--set", "evaluate.resamples=200", "--learning-rate", "auto", "--out", "probed")
    ended = place.call("tune", *ENCODED, *flags)
    assert ended.status == DONE, ended.said
    recipe = Run(place.folder / "probed").recipe
    reason = recipe.reasons["train.learning_rate"]
    assert reason.origin == "decided"
    assert str(reason.reason).count(",") >= 3
    assert not (place.folder / "probed" / "probe").exists()
    tried = readings(Run(place.folder / "probed"))
    best = min(tried, key=tried.__getitem__)
    steps = math.log(best / 1e-4, 3)
    assert steps == pytest.approx(round(steps), abs=1e-6)
    [started] = [event for event in Run(place.folder / "probed").events() if isinstance(event, Started)]
    assert recipe.train.peak == lowered(best, started.steps)
    assert len(tried) in (4, 5)
    assert len(tried) == 5 or best in sorted(tried)[1:-1]


def test_what_a_probe_saw_is_not_said_of_a_rate_that_was_set_after_it(tmp_path):
    run = Run.create(tmp_path / "run", Recipe().settle({"train.learning_rate": Decision(2e-4, "lowered")}))
    run.write_state(State(rates={"0.0001": 0.5, "0.0003": None}, rate=2e-4))
    assert readings(run) == {1e-4: 0.5, 3e-4: math.inf}
    run.write_recipe(run.recipe.settle({"train.learning_rate": Decision(6e-4, "a remedy")}))
    assert readings(run) == {}


def test_a_rate_is_lowered_for_a_run_that_is_longer_than_its_probe_and_never_raised():
    assert lowered(1e-3, 24) == lowered(1e-3, 3) == 1e-3
    assert lowered(1e-3, 24 * 10) == pytest.approx(1e-3 / 10**0.32)


@pytest.mark.parametrize(
    ("losses", "further"),
    [((0.9, 0.5, 0.6, 0.8), None), ((0.9, 0.8, 0.6, 0.5), 3e-4 * 81), ((0.3, 0.5, 0.6, math.inf), 1e-4)],
)
def test_a_probe_goes_one_rate_beyond_where_the_best_is_at_its_edge(losses, further):
    probed = [Probed(3e-4 * 3**power, loss) for power, loss in enumerate(losses)]
    assert beyond(probed) == (further and pytest.approx(further))
    assert beyond([Probed(0.3, 0.5), Probed(8.0, 0.4)]) is None  # no rate is that high


def test_a_found_rate_trains_as_the_same_rate_when_it_is_given(place):
    probed = Run(place.folder / "probed")
    rate = probed.recipe.train.peak
    flags = ("--set", "evaluate.resamples=200", "--learning-rate", str(rate), "--out", "given")
    assert place.call("tune", *ENCODED, *flags).status == DONE
    first, second = (folder.model / "model.safetensors" for folder in (probed, Run(place.folder / "given")))
    assert first.read_bytes() == second.read_bytes()


def test_a_rate_that_is_no_rate_is_told(place):
    ended = place.call("tune", *ENCODED, *QUICK[:2], "--learning-rate", "fast", "--out", "wrong")
    assert ended.status == MISTAKE
    assert "train.learning_rate" in ended.said
