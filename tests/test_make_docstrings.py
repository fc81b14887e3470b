"""The data files that are made out of Python's own library."""

from __future__ import annotations

import importlib.util
import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "examples" / "make_docstrings.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("make_docstrings", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def library(script, tmp_path_factory) -> Path:
    """A third of the standard library's modules: all of them take seconds to parse."""
    folder = tmp_path_factory.mktemp("library")
    for path in sorted(script.standard_modules().glob("*.py"))[::3]:
        (folder / path.name).symlink_to(path)
    return folder


def test_functions_of_packages_have_skewed_lengths_and_no_docstrings(script):
    rows = list(script.packages(script.standard_modules()))
    labels = Counter(row["label"] for row in rows)
    assert len(labels) == script.PACKAGES
    assert min(labels.values()) > 50
    lengths = sorted(len(row["text"]) for row in rows)
    assert lengths[len(lengths) * 9 // 10] > 2 * statistics.median(lengths)
    assert all(row["text"].startswith(("def ", "@")) and row.keys() == {"text", "label"} for row in rows)


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("instruction", {"instruction", "input", "output"}),
        ("modules", {"instruction", "input", "output"}),
        ("summarization", {"text", "summary"}),
        ("code-completion", {"prompt", "completion"}),
        ("preference", {"prompt", "chosen", "rejected"}),
        ("feedback", {"prompt", "completion", "label"}),
    ],
)
def test_every_kind_of_file_has_rows_of_its_columns(script, library, tmp_path, monkeypatch, task, columns):
    path = tmp_path / "rows.jsonl"
    monkeypatch.setattr(script, "standard_modules", lambda: library)
    monkeypatch.setattr("sys.argv", ["make_docstrings.py", "--as", task, "--out", str(path)])
    script.main()
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(rows) > 20
    assert all(row.keys() == columns and all(row.values()) for row in rows)


def test_the_same_rows_are_made_again(script, library):
    assert [*script.MAKERS["feedback"](library)] == [*script.MAKERS["feedback"](library)]
