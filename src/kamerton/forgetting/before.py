"""The base model's measurements, taken once per model and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kamerton.core.files import DAMAGED, cache_folder, optional, replacing, sha256_of
from kamerton.forgetting.probe import FOLDER

Readings = TypeVar("Readings")
TEXTS = "texts"


def remembered(kind: type[Readings], circumstances: tuple[object, ...], read: Callable[[], Readings]) -> Readings:
    """Load what `read` measured under the same circumstances before, or measure now and keep it.

    The `kind` is a dataclass of arrays and tuples of texts. The circumstances are all that they depend on beside the
    probe's own files: the model's fingerprint, sizes, versions. Their `repr` must tell them apart.
    """
    probe = [sha256_of(path) for path in sorted(FOLDER.glob("*.jsonl"))]
    key = hashlib.sha256(repr((kind.__name__, probe, circumstances)).encode()).hexdigest()[:32]
    path = cache_folder() / "forgetting" / f"{key}.safetensors"
    with suppress(SafetensorError, *DAMAGED):
        with safe_open(path, framework="numpy") as file:
            kept: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            texts = json.loads(file.metadata()[TEXTS])
        return kind(**kept, **{name: tuple(value) for name, value in texts.items()})
    readings = read()
    values = {field.name: getattr(readings, field.name) for field in fields(kind)}  # type: ignore[arg-type]
    arrays = {name: np.ascontiguousarray(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    texts = {name: value for name, value in values.items() if name not in arrays}
    with optional(), replacing(path) as temporary:
        save_file(arrays, temporary, metadata={TEXTS: json.dumps(texts)})
    return readings
