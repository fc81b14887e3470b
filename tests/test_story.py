"""The whole story by the command line, in processes of its own: from a data file to a verdict, through any stop."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from kamerton.core.message_json import without_templates
from kamerton.runs.run import Run
from stories import DONE, INTERRUPTED, MISTAKE, QUICK, RUNS, Place, wait_for, weights_of

# of a name that PEFT asks for in every model
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

KILLS = 3


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest, place: Place) -> Run:
    """Each of the runs."""
    return place.run(request.param)


# ── a run from start to end ───────────────────────────────────────────────────────────────────

FILES = (
    "recipe.yaml", "environment.json", "events.jsonl", "predictions.parquet", "result.json", "report.html",
    "data/train.parquet", "data/validation.parquet", "data/test.parquet", "data/ledger.parquet", "data/audit.json",
    "model/config.json", "model/tokenizer.json", "model/tokenizer_config.json",
)  # fmt: skip
KEYS = {
    "schema", "task", "model", "method", "trainable_parameters", "data", "primary_metric", "contenders", "verdict",
    "forgetting", "diagnosis", "forecast", "seconds", "peak_memory_bytes",
}  # fmt: skip


def test_a_run_folder_holds_all_that_the_design_promises(run):
    adapter = (run.model / "adapter_config.json").exists()
    wanted = [name for name in FILES if not (adapter and name == "model/config.json")]
    assert [name for name in wanted if not (run.path / name).is_file()] == []
    assert any(run.checkpoints.glob("step-*/MANIFEST.json"))
    assert not [path for path in run.path.rglob("*") if path.suffix in (".pkl", ".pt", ".bin", ".pickle", ".tmp")]


def test_the_result_has_the_keys_that_others_rely_on(run):
    result = json.loads((run.path / "result.json").read_text("utf-8"))
    assert result.keys() >= KEYS
    assert result["schema"] == 1
    assert result["verdict"].keys() - {"said"} == {
        "decision", "against", "difference", "low", "high", "p_value", "minimum_detectable", "reason", "standing",
        "margin", "comparisons",
    }  # fmt: skip
    assert result["verdict"]["decision"] in ("ship", "do not ship", "not proven")
    assert {"tuned", "base", "prompt", "classic", "trivial"} >= {item["kind"] for item in result["contenders"]}
    assert {"tuned", "base", "trivial"} <= {item["kind"] for item in result["contenders"]}
    for contender in result["contenders"]:
        for measure in contender["metrics"].values():
            assert measure["low"] <= measure["value"] <= measure["high"]
    assert result["peak_memory_bytes"] > 1e7
    assert set(result["seconds"]) >= {"read", "audit", "split", "train", "verdict"}


def test_every_source_row_has_one_fate(run):
    ledger = run.read_ledger()
    rows = 94 if Path(run.recipe.data.path).name == "reviews.csv" else 64
    fates = Counter(entry.id for entry in ledger if entry.fate != "cut")
    assert fates == dict.fromkeys(range(rows), 1)
    split = run.read_split()
    for part in ("train", "validation", "test"):
        assert {e.id for e in getattr(split, part)} == {entry.id for entry in ledger if entry.fate == part}
    dropped = [entry for entry in ledger if entry.fate == "dropped"]
    assert all(entry.reason for entry in dropped)
    assert run.result["data"] == {
        "rows": rows,
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        "dropped": len(dropped),
    }


def test_the_answers_of_all_contenders_are_kept_for_all_test_rows(run):
    test, answers = run.read_split().test, run.read_answers()
    assert len({item.name for item in answers}) == len(answers) == len(run.result["contenders"])
    for contender in answers:
        assert [prediction.id for prediction in contender.predictions] == [example.id for example in test]


def test_the_classic_contenders_learn_from_training_and_validation_rows(run):
    split = run.read_split()
    known = {example.gold for example in (*split.train, *split.validation)}
    assert run.state.classic_rows == len(split.train) + len(split.validation)
    nearest = [item for item in run.read_answers() if item.name == "nearest training example"]
    assert all(prediction.text in known for item in nearest for prediction in item.predictions)


def test_without_shots_there_is_no_prompted_contender(place):
    kinds = [item["kind"] for item in place.run("answers-full").result["contenders"]]
    assert kinds.count("base") == 1
    assert "prompt" not in kinds
    assert "prompt" in [item["kind"] for item in place.run("answers").result["contenders"]]


def test_the_report_is_one_file_that_needs_no_network(run):
    page = (run.path / "report.html").read_text("utf-8")
    assert run.result["verdict"]["reason"].split("(")[0].strip()[:30] in page
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:""", page)


def test_the_saved_model_loads_with_the_libraries_own_loaders(run, place):
    AutoTokenizer.from_pretrained(run.model)
    text = Path(run.recipe.model.name).name == "decoder"
    loader = AutoModelForCausalLM if text else AutoModelForSequenceClassification
    if not (run.model / "adapter_config.json").exists():
        assert loader.from_pretrained(run.model).num_parameters() > 0
        return
    base = loader.from_pretrained(place.folder / run.recipe.model.name, **({} if text else {"num_labels": 2}))
    assert PeftModel.from_pretrained(base, run.model).peft_config


def test_the_tuned_model_differs_from_the_base_only_where_its_method_trains(place):
    base = load_file(place.folder / "encoder" / "model.safetensors")
    tuned = {
        name.removeprefix("bert."): value
        for name, value in load_file(place.run("head").model / "model.safetensors").items()
    }
    changed = {name for name, value in base.items() if not value.equal(tuned[name])}
    assert {name.partition(".")[0] for name in changed} == {"pooler"}


def test_the_recipe_says_where_each_value_comes_from(run):
    recipe = yaml.safe_load((run.path / "recipe.yaml").read_text("utf-8"))
    assert recipe["reasons"]["train.learning_rate"]["origin"] == "flag"
    assert recipe["reasons"]["train.batch_size"]["origin"] == "decided"
    assert recipe["reasons"]["train.batch_size"]["reason"]
    open_settings = {name for name, value in recipe["train"].items() if value is None}
    assert open_settings == {"parallel"}  # of one process it says nothing


def test_knobs_of_the_method_arrive(place):
    config = json.loads((place.run("lora").model / "adapter_config.json").read_text("utf-8"))
    assert config["r"] == 4
    assert config["target_modules"] == sorted(config["target_modules"])  # PEFT's set has another order in each process
    assert place.run("lora").result["method"]["rank"] == 4


def test_what_was_forgotten_is_measured_in_every_run(run):
    forgetting = run.result["forgetting"]
    assert forgetting["decision"] in ("none", "mild", "severe")
    assert {"name", "base", "tuned", "change", "low", "high"} == set(forgetting["measured"][0]) - {"said"}
    assert forgetting["reason"] in (run.path / "report.html").read_text("utf-8").replace("&#34;", '"')


# ── again, and on ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["full", "answers"])
def test_the_recipe_repeats_the_run_bit_for_bit(place, name):
    run = place.run(name)
    again = place.call("tune", run.path / "recipe.yaml", "--out", f"{name}-again")
    assert again.status == DONE, again.said
    other = Run(place.folder / f"{name}-again")
    assert weights_of(other) == weights_of(run)
    assert other.read_split() == run.read_split()
    first, second = ([(a.name, [p.text for p in a.predictions]) for a in r.read_answers()] for r in (run, other))
    assert first == second
    assert other.result["verdict"] == run.result["verdict"]


def test_going_on_with_a_finished_run_does_no_harm(place):
    run = place.run("head")
    before, weights = run.result, weights_of(run)
    ended = place.call("resume", "head", "--json")
    assert ended.status == DONE, ended.said
    assert json.loads(ended.out)["verdict"] == without_templates(before["verdict"])
    assert weights_of(run) == weights
    assert {**run.result, "seconds": 0} == {**before, "seconds": 0}  # its memory is that of the training, too


LONG = ("reviews.csv", "--model", "encoder", "--method", "full", "--epochs", "10", *QUICK,
        "--set", "train.dropout=0.1", "--set", "train.patience=1000")  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> str:
    """The weights of a longer run that nothing stops, up to the saved model."""
    return weights_of(place.folder / "undisturbed") if tell_to_the_model(place, "undisturbed") else ""


def tell_to_the_model(place: Place, name: str) -> float:
    """Begin a run, or go on with it, until its model is saved; give the seconds."""
    folder, began = place.folder / name, time.monotonic()
    begun = (folder / "recipe.yaml").exists()
    child = place.start("resume", name) if begun else place.start("tune", *LONG, "--out", name)
    wait_for(child, (folder / "model").exists)
    if child.has_ended:
        raise AssertionError(child.wait().said)
    child.kill()
    child.wait()
    return time.monotonic() - began


def test_any_kill_at_any_moment_ends_with_the_same_weights(place, undisturbed):
    """Kill -9 at random moments, every other run twice, then go on."""
    seconds = tell_to_the_model(place, "timed")
    assert weights_of(place.folder / "timed") == undisturbed
    drawn = random.Random(20)
    stages = Counter()
    for number in range(KILLS):
        name = f"killed-{number}"
        for arguments in (("tune", *LONG, "--out", name), ("resume", name))[: 1 + number % 2]:
            child = place.start(*arguments)
            time.sleep(drawn.uniform(0, seconds))
            child.kill()
            ended = child.wait()
            assert ended.status in (-signal.SIGKILL, MISTAKE, DONE), ended.said  # DONE: the machine was faster just now
            if ended.status == MISTAKE:
                assert "not a run" in ended.err  # it was killed before there was anything
        run = place.folder / name
        stages[
            ("split" if (run / "data" / "ledger.parquet").exists() else "nothing", (run / "checkpoints").exists())
        ] += 1
        if not (run / "result.json").exists():
            tell_to_the_model(place, name)
        assert weights_of(run) == undisturbed, name
    assert stages[("split", True)] > KILLS // 4


def test_a_run_killed_after_its_training_is_judged_when_it_goes_on(place, undisturbed):
    ended = place.call("resume", "undisturbed", "--json")
    assert ended.status == DONE, ended.said
    run = Run(place.folder / "undisturbed")
    assert weights_of(run) == undisturbed
    assert run.result["artefact"]["rows"] > 0
    assert "The saved model was loaded again" in (run.path / "report.html").read_text("utf-8")
    assert len(run.read_answers()) == len({item.name for item in run.read_answers()})


def test_ctrl_c_keeps_what_was_done(place, undisturbed):
    child = place.start("tune", *LONG, "--out", "stopped")
    run = place.folder / "stopped"
    wait_for(child, lambda: (run / "events.jsonl").exists() and "stepped" in (run / "events.jsonl").read_text("utf-8"))
    child.kill(signal.SIGINT, group=False)
    ended = child.wait()
    assert ended.status == INTERRUPTED, ended.said
    assert "kamerton resume" in ended.err
    assert "Traceback" not in ended.err
    assert any((run / "checkpoints").glob("step-*/MANIFEST.json"))
    tell_to_the_model(place, "stopped")
    assert weights_of(run) == undisturbed


def test_a_run_takes_one_process_at_a_time(place):
    with place.run("head").locked():
        ended = place.call("resume", "head")
    assert ended.status == MISTAKE
    assert "another process is at work" in ended.err


def test_a_checkpoint_of_another_recipe_is_refused_by_name(place):
    tell_to_the_model(place, "edited")
    run = Run(place.folder / "edited")
    train = run.recipe.train.model_copy(update={"epochs": 11})
    with run.changing() as change:
        change.remove("model")
        run.write_recipe(run.recipe.model_copy(update={"train": train}))
    ended = place.call("resume", "edited")
    assert ended.status == MISTAKE
    assert "recipe changed" in ended.err


def test_a_recipe_that_was_edited_by_hand_is_refused(place, tmp_path):
    shutil.copytree(place.run("head").path, tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text("utf-8").replace("epochs: 3", "epochs: 4"), "utf-8")
    ended = place.call("resume", tmp_path / "run")
    assert ended.status == MISTAKE
    assert "recipe.yaml" in ended.err and "damaged or edited" in ended.err


def test_a_base_model_that_changed_is_refused(place):
    name = "changed-base"
    tell_to_the_model(place, name)
    run = Run(place.folder / name)
    base = run.state.base
    changed = replace(base, fingerprint="0" * 64, parts={**base.parts, "weights": "0" * 64})
    run.write_state(replace(run.state, model=changed))
    for arguments in (("resume", name), ("predict", name, "A warm film.")):
        ended = place.call(*arguments)
        assert ended.status == MISTAKE
        assert "has changed since this run began" in ended.err
