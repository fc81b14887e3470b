"""The folder is the registry: words are file names, and only the chosen file is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kamerton.core import registry
from kamerton.core.errors import RecipeError
from kamerton.session.new_run import new_run

FOLDERS = ("tasks", "methods", "metrics", "audits")


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_are_the_public_files_of_the_folder(folder):
    files = {path.name for path in (registry.PACKAGE / folder).iterdir() if path.suffix == ".py"}
    words = registry.names(folder)
    assert words == sorted(words)
    assert {word.replace("-", "_") + ".py" for word in words} == {name for name in files if not name.startswith("_")}


def test_listing_names_imports_no_plugin():
    code = (
        "import sys; from kamerton.core import registry; "
        f"words = [registry.names(folder) for folder in {FOLDERS}]; "
        "print(any(words), *[name for name in sys.modules if name.startswith('kamerton.plugins.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]


def test_choosing_one_plugin_imports_no_other_of_its_folder():
    [first, *others] = registry.names("metrics")
    code = f"import sys; from kamerton.core import registry; registry.choose('metrics', {first!r}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    modules = {word: f"kamerton.plugins.metrics.{word.replace('-', '_')}" for word in registry.names("metrics")}
    assert modules[first] in loaded
    assert [word for word in others if modules[word] in loaded] == []


def test_a_misspelt_word_is_answered_with_the_nearest():
    word = registry.names("methods")[0]
    with pytest.raises(RecipeError, match=f"there is no method '{word}x'") as caught:
        registry.choose("methods", f"{word}x")
    assert f"did you mean '{word}'?" in str(caught.value)


@pytest.mark.parametrize("word", ["", "_shared", "__init__", "../recipe", "lora.py", "tasks/instruction", "a b", ":"])
def test_what_is_no_word_is_refused(word):
    with pytest.raises(RecipeError):
        registry.choose("methods", word)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path, as an installed package of someone else is."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("stranger_plugin", "stranger_broken"):
        sys.modules.pop(name, None)


def test_a_strangers_class_works_in_the_same_place(stranger, monkeypatch):
    code = "from kamerton.plugins.metrics.mcc import Mcc\nclass Recall(Mcc):\n    higher_is_better = True\n"
    (stranger / "stranger_plugin.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv(registry.ALLOWED, "stranger_plugin:Recall")
    assert registry.choose("metrics", "stranger_plugin:Recall").higher_is_better is True


def test_a_missing_module_of_a_stranger_is_a_users_mistake(monkeypatch):
    monkeypatch.setenv(registry.ALLOWED, "no_such_package_of_anyone:Recall")
    with pytest.raises(RecipeError, match="names a module that cannot be imported"):
        registry.choose("metrics", "no_such_package_of_anyone:Recall")


def test_a_missing_class_of_a_stranger_is_answered_with_the_nearest(stranger):
    (stranger / "stranger_plugin.py").write_text("class Recall:\n    pass\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="did you mean 'Recall'"):
        registry.load("stranger_plugin:Recal")


def test_a_strangers_own_missing_requirement_is_not_hidden(stranger):
    (stranger / "stranger_broken.py").write_text("import no_such_requirement_of_anyone\n", encoding="utf-8")
    with pytest.raises(ModuleNotFoundError, match="no_such_requirement_of_anyone"):
        registry.load("stranger_broken:Recall")


def test_unknown_words_are_told_all_at_once_and_before_anything_is_made(tmp_path):
    wrong = {"data.task": "text-clasification", "method.name": "lorra", "evaluate.metric": "accurracy"}
    with pytest.raises(RecipeError) as caught:
        new_run(tmp_path / "data.csv", tmp_path / "run", wrong)
    assert [str(fault.remedy).split("'")[1] for fault in caught.value.faults] == [
        "text-classification",
        "lora",
        "accuracy",
    ]
    assert not (tmp_path / "run").exists()
