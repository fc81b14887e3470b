"""What a command imports: nothing that it does not need, and nothing that fetches code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from typer.main import get_group
from typer.testing import CliRunner

from kamerton.cli.app import app
from kamerton.core.errors import DataError
from kamerton.core.records import Example, Place
from kamerton.data.named import ARCHIVES, ENDINGS, PACKED, SHEETS, require_data, require_text_or_file
from kamerton.data.read import TABLE_READERS, TEXT_READERS
from kamerton.data.unpack import PACKERS
from kamerton.runs.tables import write_examples

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
    modules = imported("kamerton.cli.actions.predict")
    assert {"torch", "transformers"} <= modules
    assert not modules & {"sklearn", "pandas", "peft", "bitsandbytes", "kernels"}


def test_reading_a_run_imports_no_pandas_either(tmp_path):
    examples = [Example(7, Place("rows.csv", 3), "text", "gold", {"more": "fields"}, "group")]
    write_examples(tmp_path / "part.parquet", examples)
    code = f"""
import pathlib, sys
from kamerton.runs.tables import read_examples
print(read_examples(pathlib.Path({str(tmp_path)!r}, "part.parquet").read_bytes(), "part"), "pandas" in sys.modules)
"""
    assert run(code).strip() == f"{tuple(examples)} False"


def test_tuning_imports_neither_peft_nor_bitsandbytes_until_a_method_needs_them():
    assert not imported("kamerton.cli.actions.tune") & {"peft", "bitsandbytes"}


@pytest.mark.parametrize("first", ["kamerton", "kamerton.models.load"])
def test_no_code_is_fetched_where_the_package_that_fetches_it_is_installed(first, tmp_path):
    pytest.importorskip("bitsandbytes")
    note = tmp_path / "fetched"
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text(SPY.format(note=str(note)))
    (tmp_path / "kernels-0.12.0.dist-info").mkdir()
    (tmp_path / "kernels-0.12.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: kernels\nVersion: 0.12.0\n"
    )
    said = run(f"import {first}, peft, bitsandbytes", path=tmp_path)
    assert not said
    assert not note.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        *([command, "nowhere.csv"] for command in ("audit", "curve", "plan", "show", "tune")),
        ["tune", "nowhere.yaml"],
        ["evaluate", "runs/x", "nowhere.csv"],
        ["predict", "runs/x", "nowhere.JSONL.gz"],
    ],
    ids=" ".join,
)
def test_a_mistyped_file_is_told_before_anything_heavy_is_imported(arguments):
    code = f"""
import contextlib, io, json, sys
from kamerton.cli.start import main
sys.argv, told, status = ["kamerton", *{arguments!r}], io.StringIO(), 0
with contextlib.redirect_stderr(told):
    try:
        main()
    except SystemExit as end:
        status = end.code
print(json.dumps([status, told.getvalue(), [name for name in sys.modules if "." not in name]]))
"""
    status, told, modules = json.loads(run(code))
    assert (status, "there is no such file" in told) == (1, True), told
    assert arguments[-1] in told
    assert not {"torch", "transformers", "sklearn", "pyarrow", "huggingface_hub"} & set(modules)


@pytest.mark.parametrize("source", ["Is notes.txt there?", "a" * 300, "a\x00.csvx", "reviews"])
def test_a_text_is_no_file_unless_it_ends_like_one(source):
    require_text_or_file(source)
    with pytest.raises(DataError, match="no such file"):
        require_text_or_file(f"{source}.csv")


def test_the_ends_of_names_are_those_that_can_be_read():
    assert {*TEXT_READERS, *TABLE_READERS, *SHEETS, *ARCHIVES} == set(ENDINGS)
    assert set(PACKERS) == set(PACKED)


@pytest.mark.parametrize("words", [["--version"], ["-h"], ["--help"], ["tune", "-h"]], ids=" ".join)
def test_version_and_help_are_said(words):
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0
    assert (f"kamerton {metadata.version('kamerton')}" if words == ["--version"] else "Usage:") in said.output


def test_the_list_of_commands_says_each_one_whole():
    said = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    for name, command in get_group(app).commands.items():
        summary = command.callback.__doc__.partition("\n")[0]
        assert f"{name} {summary}" in said


@pytest.mark.parametrize("check", [require_data, lambda path: require_text_or_file(str(path))], ids=["data", "text"])
def test_a_pipe_is_neither_a_file_nor_a_text(tmp_path, check):
    os.mkfifo(tmp_path / "rows")
    with pytest.raises(DataError, match="this is a pipe or a device, not a file"):
        check(tmp_path / "rows")
