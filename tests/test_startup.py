"""What a command imports: nothing that it does not need, and nothing that fetches code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SPY = """
import pathlib
def get_kernel(*args, **kwargs):
    pathlib.Path({note!r}).write_text(str(args))
    raise RuntimeError("fetched")
def __getattr__(name):
    return get_kernel
"""


def run(code: str, *, path: Path | None = None) -> str:
    """Run code in a fresh process that may not reach the network."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if path:
        environment["PYTHONPATH"] = os.pathsep.join([str(path), environment.get("PYTHONPATH", "")])
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    return child.stdout


def imported(module: str) -> set[str]:
    """Name the packages that are there after a module was imported."""
    listed = "print(json.dumps([name for name, found in sys.modules.items() if found]))"
    return {name.partition(".")[0] for name in json.loads(run(f"import json, sys, {module}\n{listed}"))}


def test_asking_a_run_imports_neither_scikit_learn_nor_pandas_nor_peft_nor_bitsandbytes():
    modules = imported("kamerton.cli.work.predict")
    assert {"torch", "transformers"} <= modules
    assert not modules & {"sklearn", "pandas", "peft", "bitsandbytes", "kernels"}


def test_tuning_imports_neither_peft_nor_bitsandbytes_until_a_method_needs_them():
    assert not imported("kamerton.cli.work.tune") & {"peft", "bitsandbytes"}


def test_no_code_is_fetched_where_the_package_that_fetches_it_is_installed(tmp_path):
    pytest.importorskip("bitsandbytes")
    note = tmp_path / "fetched"
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text(SPY.format(note=str(note)))
    (tmp_path / "kernels-0.12.0.dist-info").mkdir()
    (tmp_path / "kernels-0.12.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: kernels\nVersion: 0.12.0\n"
    )
    run("import kamerton.models.load, peft, bitsandbytes", path=tmp_path)
    assert not note.exists()
