"""Weights that are no numbers: found by their bits in the file, before a model is made of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from kamerton.core.errors import Fault

EXPONENTS: dict[str, tuple[type[np.unsignedinteger], int]] = {
    "F64": (np.uint64, 0x7FF << 52),
    "F32": (np.uint32, 0xFF << 23),
    "BF16": (np.uint16, 0xFF << 7),
    "F16": (np.uint16, 0x1F << 10),
}
"""The bits of the exponent, which all are set in infinity and NaN and in no other number (IEEE 754; bfloat16 is the
upper half of float32)."""
MASKS = re.compile(r"mask", re.IGNORECASE)
"""Names of buffers that may hold minus infinity: what attention must not see."""
AT_ONCE = 1 << 22
"""Numbers looked at together."""
SHOWN = 3


def not_finite(path: Path) -> dict[str, int]:
    """Count the values that are NaN or infinite in each tensor of a safetensors file that has some."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    data = np.memmap(path, np.uint8, "r", offset=8 + size) if path.stat().st_size > 8 + size else np.empty(0, np.uint8)
    found = {}
    for name, tensor in header.items():
        kind, ends = tensor.get("dtype"), tensor.get("data_offsets")
        if kind in EXPONENTS and not MASKS.search(name) and (count := _count(data[slice(*ends)], *EXPONENTS[kind])):
            found[name] = count
    return found


def _count(raw: np.ndarray, kind: type[np.unsignedinteger], exponent: int) -> int:
    values, mask = raw.view(kind), kind(exponent)
    parts = (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))
    return sum(int(np.count_nonzero((part & mask) == mask)) for part in parts)


def fault_of(path: Path, found: dict[str, int]) -> Fault:
    """Word what `not_finite` found."""
    named = ", ".join(f"{name} ({count:,})" for name, count in list(found.items())[:SHOWN])
    more = f" and {len(found) - SHOWN} more tensors" if len(found) > SHOWN else ""
    rule = f"weights are NaN or infinite, so every answer would be NaN: {named}{more}"
    remedy = "get the file again from where it came, or choose another model: half precision may have overflowed"
    return Fault(rule, str(path), remedy)
