"""Processes that a run starts: nothing of the folder with the data, and no secret, gets into them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hostile_models import PAYLOAD
from kamerton.core.children import clean_environment, run_python

PLANTED = ("typer", "torch", "json", "kamerton", "sitecustomize", "usercustomize", "transformers", "site", "encodings")


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with modules that leave a canary, where the process works, named by every variable that could."""
    for name in PLANTED:
        (tmp_path / f"{name}.py").write_text(PAYLOAD.replace("{canary!r}", repr(str(tmp_path / "canary"))))
    monkeypatch.chdir(tmp_path)
    for name in ("PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONHOME", "LD_PRELOAD", "BASH_ENV"):
        monkeypatch.setenv(name, str(tmp_path / "torch.py"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", str(tmp_path)]))
    monkeypatch.setenv("API_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    return tmp_path


def test_a_module_beside_the_data_is_not_imported(planted):
    done = run_python("-c", "import json, typer, kamerton, sys; print(sys.path)")
    assert done.returncode == 0, done.stderr
    assert str(planted) not in done.stdout
    assert not (planted / "canary").exists()


def test_a_child_gets_what_it_needs_of_the_environment_and_no_more(planted, monkeypatch):
    kept = {
        "HOME": "/home/x",
        "LC_ALL": "C.UTF-8",
        "KAMERTON_CACHE": "/c",
        "CUDA_VISIBLE_DEVICES": "0",
        "HF_HOME": "/h",
    }
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/modules/of/a/cluster", "relative"]))
    environment = clean_environment()
    assert kept.items() <= environment.items()
    assert environment["PYTHONPATH"] == "/modules/of/a/cluster"
    assert "secret" not in environment.values()
    assert not [name for name, value in environment.items() if str(planted) in value.split(os.pathsep)]


def test_a_run_and_its_export_run_nothing_of_the_folder_with_the_data(place, tmp_path):
    run = place.run("lora")
    canary = tmp_path / "canary"
    folder = tmp_path / "data"
    folder.mkdir()
    for name in PLANTED:
        (folder / f"{name}.py").write_text(PAYLOAD.replace("{canary!r}", repr(str(canary))))
    script = (
        "import os, sys; from pathlib import Path; from kamerton.runs.run import Run\n"
        "from kamerton.deliver.export import export_run\n"
        f"os.chdir({str(folder)!r}); export_run(Run(Path({str(run.path)!r})), 'merged', Path('out'))"
    )
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "out" / "export.json").read_text())["proof"]["rows"]
    assert not canary.exists()
