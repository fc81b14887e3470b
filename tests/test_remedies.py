"""Remedies: the dial between first and trained weights, the rule of choice, recipes that are changed, whole runs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from kamerton.core import registry
from kamerton.core.contracts import Situation
from kamerton.core.outcomes import Attempt, Forgotten
from kamerton.core.records import Encoded, Prediction, Validated
from kamerton.pipeline.dial import Dial, _saved_of
from kamerton.pipeline.remedies import (
    Plan,
    answer_symptoms,
    choose_attempt,
    luck,
    narrow,
    plans,
    turn_dial,
    varied,
    with_variants,
)
from kamerton.report.charts import pareto
from kamerton.runs.run import Run
from kamerton.session.engines import load_base, saved_engine
from kamerton.session.setup import Clock, Setup, make_method, open_setup
from kamerton.statistics.power import detectable_share
from kamerton.train.replay import replay_rows
from stories import DONE, MISTAKE, QUICK, Place, weights_of
from tiny_engines import TEXT, tiny_engine

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

SITUATION = Situation(
    learning_rate=3e-4,
    epochs=4,
    dropout=0.0,
    weight_decay=0.01,
    validations=tuple(Validated(10 * i, i, 1 - 0.1 * i, {}, True) for i in range(1, 4)),
    knobs={"rank": 8},
    other_methods=("some-method",),
    strengths=(0.5, 0.25),
    writes=True,
    rows=100,
    varies=True,
)
DIALLED = ("full", "lora", "labels")


@pytest.fixture(autouse=True)
def in_the_place(place, monkeypatch):
    """The runs name their models by paths from there."""
    monkeypatch.chdir(place.folder)


def attempt(gain: float, harm: float, remedy: str = "dial", strength: float = 0.5) -> Attempt:
    forgotten = Forgotten("text", 3, 3 + harm, harm, harm - 0.01, harm + 0.01)
    return Attempt(remedy, {"remedy.strength": strength}, gain, gain, forgotten, harm, "none", 1.0)


# ── the dial ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", DIALLED)
def test_strength_1_is_the_trained_model_and_0_the_one_that_training_began_with(place, name):
    run = place.run(name)
    setup = open_setup(run)
    engine = saved_engine(run, setup)
    rows = setup.encode(setup.split.validation)
    trained = {key: p.detach().clone() for key, p in engine.model.named_parameters()}
    dial = Dial(setup, engine.model)
    dial.turn(0.5)
    assert any(not torch.equal(p, trained[key]) for key, p in engine.model.named_parameters())
    dial.turn(1)
    assert all(torch.equal(p, trained[key]) for key, p in engine.model.named_parameters())
    dial.turn(0)
    loaded = load_base(setup, make_method(setup.recipe))
    base = dict(loaded.model.named_parameters())
    heads = [key for key in trained if any(f".{head}." in f".{key}" for head in loaded.fresh)]
    now = dict(engine.model.named_parameters())
    assert all(torch.equal(now[key], trained[key]) for key in heads)  # a new head keeps what it learnt
    if set(now) == set(base):
        assert all(torch.equal(now[key], base[key]) for key in base if key not in heads)
    elif not heads:  # an adapter at its first values computes nothing
        plain = replace(engine, model=loaded.model, adapter="")
        for ours, theirs in zip(engine.read(rows), plain.read(rows), strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)


def test_between_them_weights_are_mixed_in_proportion(place):
    run = place.run("full")
    setup = open_setup(run)
    engine = saved_engine(run, setup)
    dial = Dial(setup, engine.model)
    dial.turn(0.25)
    for one in dial.turned:
        assert torch.allclose(one.weight, 0.75 * one.start + 0.25 * one.end, atol=1e-6)


def test_the_dial_of_p_tuning_starts_from_the_vectors_that_its_network_makes(decoder_folder):
    began = registry.choose("methods", "p-tuning")().attach(AutoModelForCausalLM.from_pretrained(decoder_folder), ())
    [table] = [name for name, _ in began.named_parameters() if name.endswith("embedding.weight") and "prompt" in name]
    found = _saved_of(began, {table})
    assert torch.equal(found[table], began.get_prompt_embedding_to_save("default"))
    assert not torch.equal(found[table], began.get_parameter(table))


def test_turning_the_dial_measures_each_strength_and_chooses_by_the_rule(place):
    run = place.run("full")
    setup = open_setup(run)
    attempts = turn_dial(setup, saved_engine(run, setup))
    strengths = [a.changes.get("remedy.strength", 1) for a in attempts]
    asked = [1, *setup.recipe.remedy.strengths]
    assert strengths[: len(asked)] == asked
    [chosen] = [a for a in attempts if a.chosen]
    assert luck(setup) == pytest.approx(detectable_share(0.2, len(setup.split.validation)))
    assert all(min(asked) < strength < 1 for strength in strengths[len(asked) :])
    assert replace(chosen, chosen=False) == choose_attempt(
        [replace(a, chosen=False) for a in attempts], True, luck(setup)
    )
    assert all(a.forgotten and a.decision != "not measured" for a in attempts)


# ── the rule ──────────────────────────────────────────────────────────────────────────────────


def test_of_those_that_keep_nine_tenths_of_the_best_gain_the_one_that_forgets_least_is_chosen():
    attempts = [attempt(1.0, 0.9), attempt(0.95, 0.4), attempt(0.9, 0.3), attempt(0.89, 0.1)]
    assert choose_attempt(attempts, forgetting=True) is attempts[2]
    assert choose_attempt(attempts, forgetting=False) is attempts[0]


def test_a_mixture_that_beats_both_ends_sets_the_gain_to_be_kept():
    attempts = [attempt(0.5, 0.9), attempt(1.0, 0.5), attempt(0.6, 0.1)]
    assert choose_attempt(attempts, forgetting=True) is attempts[1]


def test_where_nothing_gains_what_forgets_least_is_chosen_if_forgetting_is_the_trouble():
    attempts = [attempt(-0.2, 0.9, remedy=""), attempt(-0.1, 0.8), attempt(-0.3, 0.1)]
    assert choose_attempt(attempts, forgetting=True) is attempts[2]
    assert choose_attempt(attempts, forgetting=False) is attempts[1]
    assert choose_attempt([*attempts, attempt(-0.1, 0.5)], forgetting=False).harm == 0.5


def test_a_gain_that_may_be_luck_is_not_kept_at_the_price_of_severe_forgetting():
    attempts = [replace(attempt(0.04, 9.0), decision="severe"), attempt(-0.1, 0.1)]
    assert choose_attempt(attempts, True, luck=0.11) is attempts[1]
    assert choose_attempt(attempts, True, luck=0.03) is attempts[0]
    assert choose_attempt([replace(attempts[0], decision="mild"), attempts[1]], True, luck=0.11).gain == 0.04
    assert choose_attempt(attempts, False, luck=0.11) is attempts[0]


class Steep:
    """A bench on which a gain of 1 is kept down to a strength, and harm falls with the strength."""

    def __init__(self, setup: Setup, edge: float) -> None:
        self.setup, self.edge = setup, edge

    def measure_dialled(self, engine: object, plan: Plan) -> Attempt:
        strength = float(str(plan.changes["remedy.strength"]))
        return attempt(float(strength >= self.edge), strength, strength=strength)


@pytest.mark.parametrize(("edge", "chosen"), [(0.83, 0.85), (0.8, 0.8125), (0.77, 0.775), (0.71, 0.7375)])
def test_the_step_below_the_chosen_strength_is_halved_twice(place, edge, chosen):
    bench = Steep(open_setup(place.run("full")), edge)
    attempts = [replace(attempt(1.0, 1.0, remedy=""), changes={})]
    attempts += [bench.measure_dialled(None, Plan("x", 0, {"remedy.strength": value})) for value in (0.85, 0.7, 0.1)]
    for one in narrow(bench, None, attempts):
        attempts.append(one)
    assert len(attempts) == 6
    assert choose_attempt(attempts, forgetting=True).changes == {"remedy.strength": chosen}


def test_no_strength_is_halved_where_nothing_gains_or_another_remedy_is_better(place):
    bench = Steep(open_setup(place.run("full")), 0)
    bad, better = [attempt(-1.0, 0.1), attempt(-1.0, 0.0)], [attempt(1.0, 0.5), attempt(1.0, 0.1, "lower-rate")]
    better[1] = replace(better[1], changes={"train.learning_rate": 1e-4})
    assert not [*narrow(bench, None, bad), *narrow(bench, None, better)]


def test_the_chart_places_gain_across_and_harm_upwards():
    chart = pareto([attempt(1.0, 0.5, strength=0.9), attempt(0.5, 0.1, strength=0.4)])
    strong, weak = chart.marks
    assert strong.x > weak.x and strong.y < weak.y  # y counts from the top
    assert chart.line == f"{strong.x:g},{strong.y:g} {weak.x:g},{weak.y:g}"
    assert pareto([]) is None


# ── each remedy ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("word", registry.names("remedies"))
def test_each_remedy_says_what_it_treats_and_changes_known_settings(word, place):
    remedy = registry.choose("remedies", word)()
    assert remedy.treats and all(isinstance(name, str) for name in remedy.treats)
    assert remedy.trainings >= 0
    setup = open_setup(place.run("lora"))
    changes = remedy.changes(replace(SITUATION, other_methods=("head",)))
    assert changes
    for change in changes:
        recipe = varied(setup, Plan(word, 1, change)).recipe
        settings = {setting.path: setting for setting in recipe.settings()}
        for path, value in change.items():
            assert settings[path].value == value or value is None
            assert settings[path].value is not None
        assert recipe.remedy.names == ()
    assert remedy.changes(SITUATION) == remedy.changes(SITUATION)


def test_remedies_that_do_not_apply_change_nothing():
    bare = replace(SITUATION, validations=(), knobs={}, other_methods=(), writes=False, dropout=0.5, varies=False)
    applying = {word for word in registry.names("remedies") if registry.choose("remedies", word)().changes(bare)}
    assert applying == {"dial", "lower-rate", "higher-rate", "more-epochs", "more-weight-decay"}


def test_few_rows_of_classes_are_varied_and_many_or_others_are_not():
    remedy = registry.choose("remedies", "augment")()
    assert [*remedy.changes(SITUATION)] == [{"augment.by": "deletion"}]
    assert not remedy.changes(replace(SITUATION, rows=50_000))
    assert not remedy.changes(replace(SITUATION, varies=False))


@pytest.mark.parametrize(("better", "kept"), [(0.6, True), (0.4, False)])
def test_variants_are_trained_on_in_a_run_of_their_own_and_only_if_they_help(place, monkeypatch, better, kept):
    run = place.run("full")
    plan = Plan("augment", 2.0, {"augment.by": "deletion"})
    setup = varied(open_setup(run), plan)
    monkeypatch.setattr("kamerton.data.augment._scores", lambda given, fresh: (0.5, better))
    again = run.with_same_split(place.folder / f"varied-{kept}", setup.recipe)
    told = with_variants(again, setup, Clock(again))
    with pytest.raises(StopIteration) as ended:
        while True:
            next(told)
    split = ended.value.value
    assert split == again.read_split()
    assert bool(split.added) is kept
    assert not run.read_split().added
    held = {row.key for row in (*split.validation, *split.test)}
    assert not held & {row.key for row in split.added}
    fates = [entry.id for entry in again.read_ledger()]
    assert len(fates) == len(set(fates)) == len(run.read_ledger()) + len(split.added)


class OneAnswer:
    """A form that answers all rows alike, and remembers which."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def validation_subset(self, rows):
        return rows

    def predict(self, engine, rows):
        self.asked += [row.id for row in rows]
        return [Prediction(row.id, "good") for row in rows]


def test_one_answer_to_everything_is_a_symptom_that_remedies_treat_and_is_seen_on_validation_rows_only(place):
    setup, form = open_setup(place.run("full")), OneAnswer()
    [symptom] = answer_symptoms(replace(setup, form=form), None)
    assert symptom.name == "one answer to everything"
    assert form.asked == [row.id for row in setup.split.validation]
    treating = [word for word in registry.names("remedies") if symptom.name in registry.choose("remedies", word).treats]
    assert treating
    auto = setup.recipe.model_copy(update={"remedy": setup.recipe.remedy.model_copy(update={"names": ("auto",)})})
    found = {plan.remedy for plan in plans(replace(setup, recipe=auto), [], {symptom.name})}
    assert found == set(treating)
    assert not answer_symptoms(open_setup(place.run("answers")), None)


def test_replayed_rows_are_the_base_models_own_answers(decoder_folder):
    engine = tiny_engine(decoder_folder, TEXT, [Encoded((5, 6, 7), (0,), (0,)), Encoded((5, 6, 7, 8), (0,), (0,))])
    rows = replay_rows(engine, 6, ["en", "ru"], seed=0)
    assert rows == replay_rows(engine, 6, ["en", "ru"], seed=0)
    assert rows != replay_rows(engine, 6, ["en", "ru"], seed=1)
    assert len(rows) == 6
    for row in rows:
        prompt = Encoded(row.tokens[: row.output_positions[0] + 1], (), ())
        [answer] = engine.generate([prompt])
        assert engine.tokenizer.decode(row.targets, skip_special_tokens=True).strip() == answer.strip()


# ── whole runs ────────────────────────────────────────────────────────────────────────────────


def test_tune_carries_remedies_out_and_leaves_the_chosen_model_with_its_recipe(place: Place):
    ended = place.call(
        "tune", "reviews.csv", "--model", "encoder", "--method", "full", "--epochs", "2", *QUICK,
        "--remedy", "dial,lower-rate", "--set", "remedy.strengths=[0.5]", "--out", "remedied",
    )  # fmt: skip
    assert ended.status == DONE, ended.said
    run = Run(place.folder / "remedied")
    attempts = run.read_attempts()
    assert [a.remedy for a in attempts[:3]] == ["", "dial", "lower-rate"]
    assert all(a.remedy == "dial" for a in attempts[3:])
    assert [json.loads(json.dumps(dict(a.changes))) for a in attempts[1:3]] == [
        {"remedy.strength": 0.5},
        {"train.learning_rate": 0.001},
    ]
    [chosen] = [a for a in attempts if a.chosen]
    settings = {setting.path: setting.value for setting in run.recipe.settings()}
    assert all(settings[path] == value for path, value in chosen.changes.items())
    assert run.result["remedies"][0]["remedy"] == ""
    assert "Remedies that were tried" in (run.path / "report.html").read_text("utf-8")
    # the recipe alone makes the same model again
    again = place.call("tune", "remedied/recipe.yaml", "--out", "remedied-again")
    assert again.status == DONE, again.said
    assert weights_of(Run(place.folder / "remedied-again")) == weights_of(run)


def test_tune_trains_on_variants_in_a_run_of_their_own_and_takes_them_over_with_their_model(place: Place):
    ended = place.call(
        "tune", "reviews.csv", "--model", "encoder", "--method", "full", "--epochs", "2", *QUICK,
        "--set", "evaluate.shots=0", "--set", "prompt.search=false", "--remedy", "augment", "--out", "augmented",
    )  # fmt: skip
    assert ended.status == DONE, ended.said
    run = Run(place.folder / "augmented")
    helped = "left out" not in ended.said
    assert [one.remedy for one in run.read_attempts()] == ["", "augment"][: 1 + helped]
    assert bool(Run(run.path / "remedies" / "augment").read_split().added) is helped
    [chosen] = [one for one in run.read_attempts() if one.chosen]
    assert bool(run.read_split().added) is (run.recipe.augment.by == "deletion") is (chosen.remedy == "augment")
    assert {row.id for row in run.read_split().added} <= {entry.id for entry in run.read_ledger()}


def test_a_dialled_run_is_a_run_of_its_own_and_the_first_stays_as_it_was(place: Place):
    run = place.run("full")
    before = weights_of(run)
    ended = place.call("dial", "full", "--strength", "0.5", "--out", "dialled")
    assert ended.status == DONE, ended.said
    dialled = Run(place.folder / "dialled")
    assert weights_of(run) == before != weights_of(dialled)
    names = [answers.name for answers in run.read_answers()]
    assert sorted(answers.name for answers in dialled.read_answers()) == sorted(names)
    assert dialled.recipe.remedy.strength == 0.5
    weights, whole = (load_file(one.model / "model.safetensors") for one in (dialled, run))
    assert any(not torch.equal(weights[name], whole[name]) for name in whole)
    said = place.call("dial", "full")
    assert said.status == DONE and said.out.count("strength") > len(run.recipe.remedy.strengths), said.said
    assert place.call("dial", "full", "--strength", "0.5", "--out", "dialled").status == MISTAKE


def test_an_unknown_remedy_is_told_before_anything_begins(place: Place):
    ended = place.call("tune", "reviews.csv", "--remedy", "dail", "--out", "never")
    assert ended.status == MISTAKE
    assert "there is no remedy 'dail'" in ended.err and "dial" in ended.err
