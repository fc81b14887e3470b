"""The cache of frozen layers' states: in memory, or mapped from a file that a resumed run and other seeds share."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from kamerton.core.files import read_json, replacing, sha256_of, write_json

BUDGET = 2 * 1024**3
"""Most bytes of states to cache. SmolLM2 (hidden 576) fills it with 930,000 tokens."""
FORMAT = 1
"""Of the files; it is part of their fingerprint."""
SPARE = 2
"""How many times the states' bytes a disk must have free."""
KINDS = {str(kind): kind for kind in (torch.float32, torch.bfloat16, torch.float16, torch.float64)}
"""Types of states by their names in a file's description."""

Key = tuple[tuple[int, ...], ...]


@dataclass
class ActivationCache:
    """States by row. Once one does not fit, no other is added: the content must not depend on the order of use."""

    budget: int = BUDGET
    states: dict[Key, Tensor] = field(default_factory=dict)
    bytes: int = 0
    full: bool = False

    def add(self, key: Key, states: Tensor) -> None:
        """Add the states of a row if they fit."""
        self.full = self.full or self.bytes + states.nbytes > self.budget
        if not self.full:
            self.states[key] = states.clone()
            self.bytes += states.nbytes

    def store(self, place: Path, keys: Sequence[Key]) -> None:
        """Write the cached states of rows to a file, with a description beside it, and map them from there.

        Does nothing if the disk lacks room. `restore` needs the keys in the same order.
        """
        place.parent.mkdir(parents=True, exist_ok=True)
        rows = [row for row, key in enumerate(keys) if key in self.states]
        if not rows or shutil.disk_usage(place.parent).free < SPARE * self.bytes:
            return
        with replacing(place) as temporary, temporary.open("wb") as file:
            for row in rows:
                file.write(_bytes_of(self.states[keys[row]]))
        some = self.states[keys[rows[0]]]
        about = {
            "sha256": sha256_of(place),
            "type": str(some.dtype),
            "width": some.shape[-1],
            "rows": rows,
            "lengths": [len(self.states[keys[row]]) for row in rows],
            "exhausted": self.full,
        }
        write_json(place.with_suffix(".json"), about)
        self.restore(place, keys)

    def restore(self, place: Path, keys: Sequence[Key]) -> bool:
        """Replace the states by those of an intact file that `store` wrote; return whether there was one."""
        description = place.with_suffix(".json")
        if not description.exists() or not place.exists():
            return False
        about = read_json(description)
        if sha256_of(place) != about["sha256"]:
            return False
        width, lengths = about["width"], about["lengths"]
        size, kind = sum(lengths) * width, KINDS[about["type"]]
        mapped = torch.from_file(str(place), shared=False, size=size, dtype=kind).view(-1, width)
        self.states = {keys[row]: part for row, part in zip(about["rows"], mapped.split(lengths), strict=True)}
        self.bytes, self.full = mapped.nbytes, about["exhausted"]
        return True


def fingerprint_of(model: nn.Module, passes: Iterable[Sequence[Key]], circumstances: Sequence[object]) -> str:
    """Hash all that the states of frozen layers depend on: frozen weights, the rows in their passes, and the rest."""
    digest = hashlib.sha256(repr([FORMAT, torch.__version__, torch.get_num_threads(), *circumstances]).encode())
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, tensor in model.state_dict().items():  # with what quantized weights are decoded by
        if isinstance(tensor, Tensor) and name not in trained:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_bytes_of(tensor))
    for rows in passes:
        digest.update(repr(list(rows)).encode())
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
