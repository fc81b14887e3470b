"""The base model's measurements, taken once per model and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from kamerton.core.files import cache_folder, replacing, sha256_of
from kamerton.forgetting.probe import FOLDER

Readings = TypeVar("Readings")
TEXTS = "texts"


def remembered(kind: type[Readings], circumstances: tuple[object, ...], read: Callable[[], Readings]) -> Readings:
    """Load what `read` returned under the same circumstances before, or read now and keep it.

    Args:
        kind: a dataclass of arrays and tuples of texts.
        circumstances: all that the measurements depend on beside the probe's own files: the model's fingerprint,
            sizes, versions. Their `repr` must tell them apart.
        read: measures the model.
    """
    path = cache_folder() / "forgetting" / f"{_key(kind.__name__, circumstances)}.safetensors"
    if path.exists():
        return _load(kind, path)
    readings = read()
    values = {field.name: getattr(readings, field.name) for field in fields(kind)}  # type: ignore[arg-type]
    arrays = {name: np.ascontiguousarray(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    texts = {name: value for name, value in values.items() if name not in arrays}
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={TEXTS: json.dumps(texts)})
    return readings


def _load(kind: type[Readings], path: Path) -> Readings:
    with safe_open(path, framework="numpy") as file:
        values: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        texts = json.loads(file.metadata()[TEXTS])
    return kind(**values, **{name: tuple(value) for name, value in texts.items()})


def _key(name: str, circumstances: tuple[object, ...]) -> str:
    probe = [sha256_of(path) for path in sorted(FOLDER.glob("*.jsonl"))]
    return hashlib.sha256(repr((name, probe, circumstances)).encode()).hexdigest()[:32]
