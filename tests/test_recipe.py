"""The recipe: precedence, origins, all faults at once, and a file that reads back as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kamerton.core.errors import RecipeError
from kamerton.runs.recipe import Decision, Recipe, parse_assignment, resolve, to_yaml


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a recipe is written."""
    return tmp_path / "рецепт.yaml"


def reason(recipe: Recipe, path: str):
    return next(setting.reason for setting in recipe.settings() if setting.path == path)


def faults(file: Path | None = None, flags: dict[str, object] | None = None) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        resolve(file, flags)
    return [str(fault) for fault in caught.value.faults]


def test_flags_overrule_the_file_and_the_file_overrules_defaults(file):
    file.write_text("train: {epochs: 3, batch_size: 8}\nseed: 4\n", encoding="utf-8")
    recipe = resolve(file, {"train.epochs": 5})
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.seed) == (5, 8, 4)
    assert recipe.train.schedule == Recipe().train.schedule
    origins = {path: reason(recipe, path).origin for path in ("train.epochs", "train.batch_size", "train.schedule")}
    assert origins == {"train.epochs": "flag", "train.batch_size": "recipe", "train.schedule": "default"}
    assert reason(recipe, "seed").reason == str(file)


def test_a_flag_reaches_a_setting_outside_any_group():
    recipe = resolve(flags={"seed": 7})
    assert (recipe.seed, reason(recipe, "seed").origin) == (7, "flag")


def test_open_settings_are_decided_with_a_reason_and_the_users_are_left():
    recipe = resolve(flags={"train.epochs": 2})
    decided = recipe.decide(
        {
            "train.epochs": Decision(9, "few rows"),
            "train.learning_rate": Decision(1e-3, "LoRA Without Regret"),
        }
    )
    assert (decided.train.epochs, reason(decided, "train.epochs").origin) == (2, "flag")
    assert decided.train.learning_rate == 1e-3
    assert reason(decided, "train.learning_rate").model_dump() == {
        "origin": "decided",
        "reason": "LoRA Without Regret",
        "value": 1e-3,
    }


def test_a_decision_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="learning_rate"):
        Recipe().decide({"train.learning_rate": Decision(-1.0, "wrong")})


def test_every_fault_is_told_at_once_with_its_place(file):
    file.write_text(
        "train: {epoch: 3, batch_size: 0, schedule: square}\ndta: {path: x}\nsplit: {test: 1.5}\n", encoding="utf-8"
    )
    told = faults(file, {"seed": -1})
    places = ("train.epoch", "train.batch_size", "train.schedule", "dta", "split.test", "seed")
    assert len(told) == len(places)
    for place in places:
        assert sum(f"{file} {place}:" in fault for fault in told) == 1, place


@pytest.mark.parametrize(
    ("path", "meant"), [("train.epoch", "epochs"), ("train.learning_rat", "learning_rate"), ("dta", "data")]
)
def test_an_unknown_name_is_answered_with_the_nearest(path, meant):
    [fault] = faults(flags={path: 1})
    assert f"there is no setting '{path}'" in fault
    assert f"did you mean '{meant}'?" in fault


def test_a_fault_shows_the_value_that_broke_the_rule():
    [fault] = faults(flags={"train.schedule": "square"})
    assert "'square'" in fault


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a list",
        "just text",
        "train: [1, 2",
        "train: 5",
        "train: [epochs]",
        "reasons: 5",
        "reasons: {train.epochs: 5}\ntrain: {epochs: 3}",
        "1: {2: 3}",
        "train: {warmup: .nan}",
        "train: {warmup: 0, learning_rate: .inf}",
        "a: !!python/object/apply:os.getcwd []",
        "a: \x07",
    ],
)
@pytest.mark.parametrize("flags", [None, {"train.epochs": 3}])
def test_any_broken_file_is_a_users_mistake_with_a_place(file, text, flags):
    file.write_text(text, encoding="utf-8")
    assert all(str(file) in fault for fault in faults(file, flags))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("path", ["train.epochs", "train.learning_rate", "train.weight_decay", "train.clip_norm"])
def test_a_number_that_is_none_is_refused(path, value):
    assert len(faults(flags={path: value})) == 1


def test_a_syntax_fault_names_line_and_column(file):
    file.write_text("data:\n  path: x.csv\n train: {\n", encoding="utf-8")
    [fault] = faults(file)
    assert f"{file}:3:" in fault


def test_a_file_that_is_missing_a_folder_or_not_utf8_is_a_users_mistake(file):
    assert "cannot be read: No such file" in faults(file)[0]
    file.write_bytes("data: {path: отзывы.csv}".encode("cp1251"))
    assert "UTF-8" in faults(file)[0]
    assert str(file.parent) in faults(file.parent)[0]


# ── the file of a run ─────────────────────────────────────────────────────────────────────────


def resolved_recipe() -> Recipe:
    recipe = resolve(
        flags={
            "data.path": "данные/отзывы 2024: новые #1.csv",
            "data.columns": {"text": "отзыв", "label": "оценка"},
            "method.name": "some-method",
            "method.rank": 16,
            "method.targets": ["q_proj", "v_proj"],
            "train.warmup": 1e-05,
        }
    )
    return recipe.decide(
        {
            "train.learning_rate": Decision(0.001, "default for 0.1B–3B models: 'LoRA Without Regret' # not a comment"),
            "model.name": Decision("tiny", "мало строк: {хватит} маленькой"),
        }
    )


def test_a_recipe_with_its_reasons_survives_the_file_byte_for_byte(file):
    text = to_yaml(resolved_recipe())
    file.write_text(text, encoding="utf-8")
    again = resolve(file)
    assert again == resolved_recipe().model_copy(update={"reasons": again.reasons})
    assert {s.path: s.reason.origin for s in again.settings()} == {
        s.path: s.reason.origin for s in resolved_recipe().settings()
    }
    assert to_yaml(again) == text


@settings(max_examples=60)
@given(
    st.fixed_dictionaries(
        {
            "data.path": st.text(),
            "data.columns": st.dictionaries(st.text(), st.text(), max_size=3),
            "method.note": st.one_of(st.text(), st.floats(allow_nan=False), st.lists(st.text(), max_size=3)),
            "train.learning_rate": st.floats(min_value=1e-300, max_value=1),
        }
    ),
    st.text(),
)
def test_any_value_and_any_reason_survive_the_file_byte_for_byte(tmp_path_factory, flags, because):
    recipe = resolve(flags=flags).decide({"train.epochs": Decision(3, because)})
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    text = to_yaml(recipe)
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    again = resolve(file)
    assert again.model_dump(exclude={"reasons"}) == recipe.model_dump(exclude={"reasons"})
    assert reason(again, "train.epochs") == reason(recipe, "train.epochs")
    assert to_yaml(again) == text


def test_every_value_stands_in_the_file_with_its_origin_and_reason_beside_it(file):
    lines = to_yaml(resolved_recipe()).splitlines()
    assert "  schedule: linear  # default" in lines
    assert "  rank: 16  # flag" in lines
    assert any(line.startswith("  learning_rate: 0.001  # decided, default for 0.1B–3B models") for line in lines)


def test_a_reason_for_a_value_that_was_edited_by_hand_is_void(file):
    text = to_yaml(resolved_recipe()).replace("  learning_rate: 0.001  #", "  learning_rate: 0.002  #")
    file.write_text(text, encoding="utf-8")
    edited = resolve(file)
    assert edited.train.learning_rate == 0.002
    assert reason(edited, "train.learning_rate").origin == "recipe"
    assert reason(edited, "model.name") == reason(resolved_recipe(), "model.name")


def test_the_file_of_a_run_is_plain_yaml_that_anyone_can_read():
    values = yaml.safe_load(to_yaml(resolved_recipe()))
    assert values["method"] == {"name": "some-method", "rank": 16, "targets": ["q_proj", "v_proj"]}
    assert values["data"]["columns"] == {"text": "отзыв", "label": "оценка"}


@pytest.mark.parametrize("notation", ["1e-4", "1.0e-4", "0.0001", "1E-4"])
def test_scientific_notation_is_a_number_in_flags_and_files(file, notation):
    assert parse_assignment(f"train.learning_rate={notation}") == ("train.learning_rate", 1e-4)
    file.write_text(f"train: {{learning_rate: {notation}}}", encoding="utf-8")
    assert resolve(file).train.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("text", "value"),
    [("a.b=", None), ("a.b=x=y", "x=y"), ("a.b=[1, 2]", [1, 2]), ("a.b={", "{"), ("a.b=нет", "нет")],
)
def test_an_assignment_takes_any_yaml_or_else_the_text_itself(text, value):
    assert parse_assignment(text) == ("a.b", value)


def test_an_assignment_without_a_sign_is_refused():
    with pytest.raises(RecipeError, match=r"group\.field=value"):
        parse_assignment("train.epochs")


def test_words_that_old_yaml_takes_for_truth_values_are_words():
    assert parse_assignment("evaluate.forgetting=off") == ("evaluate.forgetting", "off")
    assert parse_assignment("train.gradient_checkpointing=true") == ("train.gradient_checkpointing", True)
