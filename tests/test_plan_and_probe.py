"""`kamerton plan` says what `tune` then does, and a rate that is left to a probe is found by one."""

from __future__ import annotations

import json
import math

import pytest
import yaml

from kamerton import plugins
from kamerton.run import Run
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
    assert {item["value"] for item in methods} == set(plugins.names("methods")) - {"full"}
    assert all(item["reason"] for item in planned["alternatives"])
    assert "smollm2" in {item["value"] for item in planned["alternatives"]}


def test_a_plan_foretells_time_and_memory_and_leaves_no_run_behind(place, planned):
    assert planned["cost"]["seconds"] > 0
    assert planned["cost"]["peak_bytes"] > 5e7
    assert not list(place.folder.glob("**/plan/recipe.yaml"))


def test_a_run_compares_what_was_foretold_with_what_came(place):
    said = place.run("full").result["forecast"]
    assert said["foretold"]["seconds"] > 0
    assert said["measured"]["seconds"] > 0
    assert said["measured"]["peak_bytes"] >= 0.5 * said["foretold"]["peak_bytes"]


def test_a_rate_is_found_by_a_probe_and_kept_with_what_it_saw(place):
    flags = ("--set", "evaluate.resamples=200", "--learning-rate", "auto", "--out", "probed")
    ended = place.call("tune", *ENCODED, *flags)
    assert ended.status == DONE, ended.said
    recipe = Run(place.folder / "probed").recipe
    reason = recipe.reasons["train.learning_rate"]
    assert reason.origin == "decided"
    assert reason.reason.count(",") >= 3
    steps = math.log(recipe.train.peak / 1e-4, 3)
    assert steps == pytest.approx(round(steps), abs=1e-6)
    assert not (place.folder / "probed" / "probe").exists()


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
