"""Every example of docs/layouts/ is read as its page says: the task, and the first row by its roles."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from broken_files import as_arrow, as_parquet, as_xlsx, zipped
from kamerton.data.cells import value_at
from kamerton.data.named import ENDINGS
from kamerton.data.read import read_table
from kamerton.data.shapes import SHAPES
from kamerton.pipeline.prepare import parse_data
from kamerton.runs.recipe import resolve

FOLDER = Path(__file__).parent.parent / "docs" / "layouts"
ALIKE = {".ndjson", ".xlsm", ".valid", ".dev", ".test", ".tbz2", ".txz"}
"""Ends of names that are read like others on the page."""
LAYOUTS = [
    layout
    for path in sorted(FOLDER.glob("*.yaml"))
    for layout in yaml.safe_load(path.read_text(encoding="utf-8"))["layouts"]
]


PACKED: Mapping[str, Callable[[str], bytes]] = {
    ".xlsx": lambda content: as_xlsx(rows_of(content)),
    ".parquet": lambda content: as_parquet(rows_of(content)),
    ".arrow": lambda content: as_arrow(rows_of(content)),
    ".zip": lambda content: zipped({"rows.csv": content}),
    ".gz": lambda content: gzip.compress(content.encode()),
}
"""How what the page shows as text is written, by the end of the name."""


def rows_of(content: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content)))


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write a layout's files; return the one, or the folder of several."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PACKED.get(path.suffix, str.encode)(content))
    return folder / next(iter(files)) if len(files) == 1 else folder


@pytest.mark.parametrize("layout", LAYOUTS, ids=[layout["layout"] for layout in LAYOUTS])
def test_an_example_is_read_as_the_page_says(layout: Mapping[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, layout["files"])
    found = parse_data(resolve(None, {"data.path": str(path), **layout.get("settings", {})}))
    row = next(iter(found.table.rows))
    columns = found.recipe.data.columns or {}
    assert found.recipe.data.task == layout["task"]
    first = {role: value_at(row.values, columns[role]) for role in layout["first"]}
    assert {role: [*cell] if isinstance(cell, tuple) else cell for role, cell in first.items()} == layout["first"]
    assert not found.table.rejected and not found.left_out


def test_every_ending_and_every_shape_is_on_the_page(tmp_path: Path) -> None:
    page = (FOLDER.parent / "data.md").read_text(encoding="utf-8")
    assert [ending for ending in ENDINGS if ending not in page and ending not in ALIKE] == []
    tables = [read_table(write(tmp_path / str(at), layout["files"])) for at, layout in enumerate(LAYOUTS)]
    seen = {note for table in tables for note in tuple(map(str, table.notes))}
    assert [shape.note for shape in SHAPES if str(shape.note) not in seen] == []
