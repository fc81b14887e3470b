"""The base model's measurements, taken once per model and kept in the user's cache folder."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from safetensors.numpy import load, save

from kamerton.core.files import cache_folder, cached, sha256_of
from kamerton.forgetting.probe import FOLDER

Readings = TypeVar("Readings")
TEXTS = ".texts"
"""The fields that hold texts, as one array."""


def remembered(kind: type[Readings], circumstances: tuple[object, ...], read: Callable[[], Readings]) -> Readings:
    """Load what `read` measured under the same circumstances before, or measure now and keep it.

    The `kind` is a dataclass of arrays and tuples of texts. The circumstances are all that they depend on beside the
    probe's own files: the model's fingerprint, sizes, versions. Their `repr` must tell them apart.
    """
    probe = [sha256_of(path) for path in sorted(FOLDER.glob("*.jsonl"))]
    key = hashlib.sha256(repr((kind.__name__, TEXTS, probe, circumstances)).encode()).hexdigest()[:32]
    kept: dict[str, Any] = load(cached(cache_folder() / "forgetting" / key, lambda: _written(read())))
    texts = json.loads(kept.pop(TEXTS).tobytes())
    return kind(**kept, **{name: tuple(value) for name, value in texts.items()})


def _written(readings: Any) -> bytes:
    values = {field.name: getattr(readings, field.name) for field in fields(readings)}
    arrays = {name: np.ascontiguousarray(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    texts = json.dumps({name: value for name, value in values.items() if name not in arrays})
    return save({**arrays, TEXTS: np.frombuffer(texts.encode(), np.uint8)})
