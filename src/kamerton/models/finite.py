"""Check weight files before a model is made of them: whole, and without NaN or infinity, which their bits show."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from kamerton.core.errors import Fault
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Value, msg
from kamerton.models.naming import DOWNLOAD_AGAIN

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
LARGEST_HEADER = 100_000_000
"""Bytes; safetensors refuses longer ones."""


def not_finite(path: Path) -> dict[str, int]:
    """Count the values that are NaN or infinite in each tensor of a safetensors file that has some."""
    size, header = _header(path)
    data = np.memmap(path, np.uint8, "r", offset=size) if path.stat().st_size > size else np.empty(0, np.uint8)
    found = {}
    for name, tensor in header.items():
        kind, ends = tensor.get("dtype"), tensor.get("data_offsets")
        if kind in EXPONENTS and not MASKS.search(name) and (count := _count(data[slice(*ends)], *EXPONENTS[kind])):
            found[name] = count
    return found


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Read a safetensors header; return its bytes, too."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return 8 + size, json.loads(file.read(min(size, LARGEST_HEADER)))


def _count(raw: np.ndarray, kind: type[np.unsignedinteger], exponent: int) -> int:
    values, mask = raw.view(kind), kind(exponent)
    parts = (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))
    return sum(int(np.count_nonzero((part & mask) == mask)) for part in parts)


def fault_of(path: Path, found: dict[str, int]) -> Fault:
    """Return the fault of a file in which `not_finite` found values."""
    named: list[Value] = [msg("{tensor} ({count})", tensor=name, count=count) for name, count in found.items()]
    if len(named) > SHOWN:
        named[SHOWN:] = [msg("{count} more {count:tensor|tensors}", count=len(named) - SHOWN)]
    rule = msg("weights are NaN or infinite, so every answer would be NaN: {tensors}", tensors=Joined(named, ", "))
    remedy = msg("download the file again, or choose another model: half precision may have overflowed")
    return Fault(rule, str(path), remedy)


def damage_of(path: Path) -> Fault:
    """Return the fault of a safetensors file that the library cannot read: how much of it there is."""
    size = path.stat().st_size
    rule = msg("the file is damaged: its header cannot be read; it has {size}", size=Figure(size, "memory"))
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        start, header = _header(path)
        whole = start + max(int(tensor["data_offsets"][1]) for name, tensor in header.items() if name != "__metadata__")
        if whole > size:
            sizes = {"size": Figure(size, "memory"), "whole": Figure(whole, "memory")}
            rule = msg("the file is cut off: it has {size} of {whole}", **sizes)
    return Fault(rule, str(path), DOWNLOAD_AGAIN)
