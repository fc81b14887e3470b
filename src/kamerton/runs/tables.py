"""Tables of a run as Parquet: examples, answers, dynamics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kamerton.core.errors import Fault, RunError
from kamerton.core.files import BAD_JSON
from kamerton.core.messages import msg
from kamerton.core.readers import RESTORE
from kamerton.core.records import Example, Place, Prediction
from kamerton.runs.parquet import parse_parquet

EXAMPLES = ("id", "file", "line", "text", "gold", "fields", "group")
DYNAMICS = ("id", "visits", "confidence", "variability", "correctness")
MEASURED = ("score", "loss", "tokens", "passed", "probabilities")
ANSWERS = ("id", "contender", "kind", "gold", "prediction", *MEASURED, "seconds", "wanted", "title")
TYPES = {
    **dict.fromkeys(("id", "line", "tokens", "visits"), pa.int64()),
    **dict.fromkeys(("score", "loss", "passed", "seconds", *DYNAMICS[2:]), pa.float64()),
    "wanted": pa.bool_(),
    "probabilities": pa.list_(pa.float64()),
}
"""Types of columns; all others are texts."""


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write examples as Parquet, their roles as JSON."""
    rows = [
        (e.id, e.place.file, e.place.line, e.text, e.gold, json.dumps(dict(e.fields), ensure_ascii=False), e.group)
        for e in examples
    ]
    write_table(path, EXAMPLES, rows)


def read_examples(data: bytes, place: Path | str) -> tuple[Example, ...]:
    """Read examples that `write_examples` wrote; older runs have no groups.

    Raises:
        RunError: the file is damaged, or another table.
    """
    rows = read_table(data, place, EXAMPLES[:-1])
    try:
        return tuple(
            Example(
                e["id"], Place(e["file"], e["line"]), e["text"], e["gold"], json.loads(e["fields"]), e.get("group", "")
            )
            for e in rows
        )
    except BAD_JSON:
        raise RunError(Fault(msg("the column {name} holds no JSON", name="fields"), str(place), RESTORE)) from None


def read_prediction(row: dict[str, Any]) -> Prediction:
    """Build a prediction from a row; older runs lack the last columns."""
    known: dict[str, Any] = {name: row.get(name) for name in (*MEASURED, "wanted")}
    chances = known.pop("probabilities")
    return Prediction(row["id"], row["prediction"], **known, probabilities=None if chances is None else tuple(chances))


def read_table(data: bytes, place: Path | str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Parse the rows of a table that has these columns.

    Raises:
        RunError: the file is damaged, or lacks columns.
    """
    rows = parse_parquet(data, place)
    if lacking := [name for name in columns if rows and name not in rows[0]]:
        rule = msg("the table lacks {columns}", columns=", ".join(lacking))
        raise RunError(Fault(rule, str(place), msg("use the version of Kamerton that made the run")))
    return rows


def write_table(path: Path, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Write rows as a table with these columns."""
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    schema = pa.schema([(name, TYPES.get(name, pa.string())) for name in names])
    pq.write_table(pa.Table.from_pydict(dict(zip(names, columns, strict=True)), schema), path)
