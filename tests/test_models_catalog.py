"""Base models are found by what the user calls them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from kamerton.core import registry
from kamerton.core.errors import ModelError
from kamerton.models import locate as locate_module
from kamerton.models.catalog import find, folder_of, get, known, names
from kamerton.models.inspect import inspect_folder
from kamerton.models.locate import installed, locate


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No model is fetched, and pip reaches nothing."""
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "cache"


def test_every_known_model_is_pinned_by_hash_and_licensed_freely() -> None:
    assert names() == ["minilm", "e5-small", "smollm2"]
    for model in known():
        assert re.fullmatch("[0-9a-f]{64}", model.sha256)
        assert model.licence in {"Apache-2.0", "MIT"}
        assert callable(registry.load(model.converter))


def test_a_misspelt_name_gets_the_nearest_one() -> None:
    with pytest.raises(ModelError, match="did you mean 'smollm2'"):
        find("smolm2")
    with pytest.raises(ModelError, match="did you mean 'minilm'"):
        locate("mini-lm")


def test_a_local_folder_is_found_by_its_path(encoder_folder: Path) -> None:
    assert locate(str(encoder_folder)) == encoder_folder


def test_a_known_name_wins_over_a_folder_planted_in_the_current_one(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="could not be downloaded"):
        locate("minilm")


TRICKS = ("", ".", "..", "../x", "/nope", "org/..", "../../etc/passwd", "org/a/b", "org//a", "-x/y", "a--b/c", "org/")
TRICKS += (
    "models--org--a/b",
    "org/a..b",
    "org/a b",
    "org/a\n",
    "\u202eorg/a",
    "орг/модель",
    "file:///etc",
    "org/" + "a" * 97,
)


@pytest.mark.parametrize("name", TRICKS)
def test_names_that_are_paths_or_worse_reach_nothing(
    name: str, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name in {".", ".."}:  # folders, and no models
        assert not list(tmp_path.glob("*.json"))
        with pytest.raises(ModelError):
            inspect_folder(locate(name), name)
        return
    with pytest.raises(ModelError, match="neither a known model, nor a folder, nor a Hugging Face id"):
        locate(name)
    assert not empty_cache.exists()


def test_an_id_that_cannot_be_had_says_what_is_here(empty_cache: Path) -> None:
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids downloading") as caught:
        locate("kamerton-nobody/nothing")
    assert str(caught.value.faults[0].remedy).startswith("use a model of this machine: --model")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids downloading") as caught:
        locate("Qwen/Qwen3-0.6B")
    assert "did you mean" not in str(caught.value)


def test_an_id_in_the_hugging_face_cache_is_found_without_a_network(encoder_folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "hub" / "models--org--tiny"
    snapshot = model / "snapshots" / ("0" * 40)
    shutil.copytree(encoder_folder, snapshot)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0" * 40)
    code = "from kamerton.models.locate import *; print(locate('org/tiny')); print(cached_hub_ids())"
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(snapshot), "['org/tiny']"]


def test_nothing_is_installed_in_an_empty_cache(empty_cache: Path) -> None:
    assert [(each.model.name, each.folder, each.disk_bytes) for each in installed()] == [
        (name, None, 0) for name in names()
    ]


@pytest.mark.real
@pytest.mark.parametrize(("name", "millions"), [("minilm", 22.7), ("smollm2", 134.5), ("e5-small", 117.7)])
def test_the_catalog_says_of_a_model_what_its_files_say(name: str, millions: float) -> None:
    model = find(name)
    facts = inspect_folder(get(name), name)
    assert (facts.kind, facts.parameters) == (model.kind, model.parameters)
    assert round(facts.parameters / 1e6, 1) == millions
    (entry,) = (each for each in installed() if each.model == model)
    assert entry.folder == folder_of(model)
    assert entry.disk_bytes >= (folder_of(model) / "model.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (LocalEntryNotFoundError("Cannot find an appropriate cached snapshot folder"), "is not in the cache"),
        (OSError(28, "No space left on device"), "it could not be downloaded: No space left on device"),
        (ConnectionError("raw text of a library"), "is not in the cache"),
    ],
)
def test_why_the_hub_does_not_deliver_is_said_in_our_own_words(monkeypatch, error, told) -> None:
    def refuse(*_: object, local_files_only: bool, **__: object) -> str:
        raise LocalEntryNotFoundError("not in the cache") if local_files_only else error

    monkeypatch.setattr(locate_module, "snapshot_download", refuse)
    with pytest.raises(ModelError, match=told) as caught:
        locate("org/name")
    assert "snapshot folder" not in str(caught.value)
    assert "raw text" not in str(caught.value)
