"""Every example of docs/layouts/ is read as its page says: the task, and the first row by its roles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kamerton.data.cells import value_at
from kamerton.prepare import understand
from kamerton.recipe import resolve

FOLDER = Path(__file__).parent.parent / "docs" / "layouts"
LAYOUTS = [
    layout
    for path in sorted(FOLDER.glob("*.yaml"))
    for layout in yaml.safe_load(path.read_text(encoding="utf-8"))["layouts"]
]


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write a layout's files; return the one, or the folder of several."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    return folder / next(iter(files)) if len(files) == 1 else folder


@pytest.mark.parametrize("layout", LAYOUTS, ids=[layout["layout"] for layout in LAYOUTS])
def test_an_example_is_read_as_the_page_says(layout: Mapping[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, layout["files"])
    found = understand(resolve(None, {"data.path": str(path), **layout.get("settings", {})}))
    row = next(iter(found.table.rows))
    columns = found.recipe.data.columns or {}
    assert found.recipe.data.task == layout["task"]
    first = {role: value_at(row.values, columns[role]) for role in layout["first"]}
    assert {role: [*cell] if isinstance(cell, tuple) else cell for role, cell in first.items()} == layout["first"]
    assert not found.table.rejected and not found.left_out
