"""Words of a stranger's recipe: none of them runs code that the user has not named, and only plug-ins are called."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kamerton.core import registry
from kamerton.core.errors import KamertonError, RecipeError
from kamerton.core.files import UNKEPT
from kamerton.forgetting.benchmarks import find_tasks
from kamerton.runs.recipe import resolve, to_yaml
from kamerton.session.new_run import new_run
from stories import MISTAKE

WORDS = (
    "os:abort", "os:_exit", "os:fork", "builtins:exit", "builtins:quit", "builtins:exec", "builtins:input", "sys:exit",
    "antigravity:fly", "this:s", "subprocess:Popen", "threading:Thread", "code:interact", "pdb:set_trace",
    "signal:pause", "builtins:type", "builtins:object", "typing:Any", "unittest.mock:Mock", "kamerton.__main__:main",
    "planted:Planted",
)  # fmt: skip
PLACES = {
    "data.task": "tasks", "method.name": "methods", "train.optimizer": "optimizers", "evaluate.metric": "metrics",
    "remedy.names": "remedies", "model.name": "",
}  # fmt: skip
METRIC = """
from pathlib import Path
from kamerton.plugins.metrics.accuracy import Accuracy
Path(__file__).with_suffix(".ran").touch()
class Planted(Accuracy):
    pass
class Half:
    higher_is_better = True
"""


@pytest.fixture(autouse=True)
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of its own, and a module on the path that leaves a trace when it is imported; the trace's path."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    monkeypatch.setenv(registry.ALLOWED, "")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "planted.py").write_text(METRIC, encoding="utf-8")
    yield tmp_path / "planted.ran"
    sys.modules.pop("planted", None)
    UNKEPT.clear()


def recipe_with(setting: str, word: str, folder: Path) -> Path:
    group, name = setting.split(".")
    value = f"[{word}]" if name == "names" else word
    path = folder / "recipe.yaml"
    path.write_text(
        f"data: {{path: nowhere.csv}}\n{group}: {{{name}: '{value}'}}\n".replace("'[", "['").replace("]'", "']")
    )
    return path


@pytest.mark.parametrize("setting", PLACES)
def test_no_word_of_a_recipe_runs_code(setting, tmp_path, planted):
    before = set(sys.modules)
    for word in WORDS:
        with pytest.raises(RecipeError if setting != "model.name" else KamertonError) as caught:
            new_run(recipe_with(setting, word, tmp_path), tmp_path / "run", {})
        assert word in str(caught.value)
    assert not planted.exists() and not (tmp_path / "run").exists()
    assert set(sys.modules) & {"antigravity", "this", "pdb", "planted"} <= before


@pytest.mark.parametrize("folder", [*filter(None, PLACES.values())])
def test_what_is_no_plugin_is_not_called_even_where_the_user_named_it(folder):
    words = [word for word in WORDS if word.partition(":")[0] in ("os", "builtins", "typing", "signal", "threading")]
    kind = str(registry.KINDS[folder]).capitalize()
    for word in (*words, "planted:Half", f"kamerton.core.contracts:{kind}"):
        registry.allow(word)
        with pytest.raises(RecipeError, match=f"'{word}' is no {registry.KINDS[folder]}: it lacks"):
            registry.choose(folder, word)


@pytest.mark.parametrize("folder", registry.KINDS)
def test_every_plugin_of_ours_has_what_its_contract_names(folder):
    for word in registry.names(folder):
        assert registry._fitting(folder, word, registry.choose(folder, word))


def test_a_word_that_the_user_named_once_is_kept_for_later_recipes(tmp_path, monkeypatch):
    resolve(None, {"evaluate.metric": "planted:Planted"})
    monkeypatch.setenv(registry.ALLOWED, "")  # as in another process
    assert registry.choose("metrics", "planted:Planted").__name__ == "Planted"
    assert resolve(recipe_with("evaluate.metric", "planted:Planted", tmp_path)).evaluate.metric == "planted:Planted"
    with pytest.raises(RecipeError, match="which runs only if you name it yourself"):
        registry.choose("metrics", "planted:Half")


def test_the_environment_names_code_for_one_time(monkeypatch):
    monkeypatch.setenv(registry.ALLOWED, "some:Thing;planted:Planted")
    assert registry.choose("metrics", "planted:Planted").__name__ == "Planted"
    monkeypatch.setenv(registry.ALLOWED, "")
    with pytest.raises(RecipeError, match="KAMERTON_PLUGINS=planted:Planted kamerton"):
        registry.choose("metrics", "planted:Planted")


def test_reasons_of_a_recipe_do_not_make_its_words_the_users_own(tmp_path, planted):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "data: {path: nowhere.csv}\nevaluate: {metric: 'planted:Planted'}\n"
        "reasons:\n  evaluate.metric: {origin: flag, reason: '', value: 'planted:Planted'}\n"
    )
    with pytest.raises(RecipeError, match="only if you name it yourself"):
        new_run(path, tmp_path / "run", {})
    assert not planted.exists()


def test_a_benchmarks_task_file_of_a_recipe_is_not_read(tmp_path, monkeypatch):
    task = tmp_path / "theirs.yaml"
    task.write_text("task: theirs\ndoc_to_text: !function theirs.run\n")
    with pytest.raises(RecipeError, match="only if you name it yourself") as caught:
        find_tasks([str(task)])
    assert str(task) in str(caught.value)
    monkeypatch.chdir(tmp_path)
    resolve(None, {"benchmarks.tasks": ("theirs.yaml",)})
    assert registry.refused(str(task)) is None


def test_a_recipe_and_a_run_of_a_stranger_are_refused_by_every_command(place, tmp_path, planted, monkeypatch):
    monkeypatch.chdir(place.folder)
    theirs = shutil.copytree(place.run("head").path, tmp_path / "theirs")
    recipe = to_yaml(place.run("head").recipe)
    for number, word in enumerate(("os:abort", "builtins:exit", "planted:Planted")):
        (theirs / "recipe.yaml").write_text(recipe.replace("name: head ", f"name: {word} "), encoding="utf-8")
        copy = tmp_path / f"{number}.yaml"
        shutil.copy(theirs / "recipe.yaml", copy)
        for command in (
            ("plan", copy), ("tune", copy, "--out", tmp_path / "new"), ("resume", theirs), ("predict", theirs, "text"),
            ("evaluate", theirs, "reviews.csv"), ("export", theirs, "--to", "merged"),
        ):  # fmt: skip
            ended = place.call(*command)
            assert (ended.status, "Traceback" in ended.err) == (MISTAKE, False), (command, ended.said)
    assert not planted.exists()


def test_processes_of_a_run_may_use_what_the_user_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    resolve(None, {"remedy.names": ["planted:Planted"]})
    shutil.rmtree(tmp_path / "own")  # where nothing can be kept, the environment says it
    code = "from kamerton.core import registry; print(registry.choose('metrics', 'planted:Planted').__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Planted"]
