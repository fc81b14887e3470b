"""Groups of examples that must stay in one part of a split: equal or nearly equal texts, or those of one author."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from kamerton.core.records import Example


@dataclass(frozen=True)
class ExampleGroup:
    """Examples that stay together."""

    name: str
    """What its part is derived from: the value they share, else the hash of the first one's text."""
    examples: tuple[Example, ...]

    @property
    def majority(self) -> str:
        """The most frequent gold answer; of several, the first in alphabetical order."""
        counts = Counter(example.gold for example in self.examples)
        return min(counts, key=lambda gold: (-counts[gold], gold))


def make_groups(
    examples: Sequence[Example],
    *,
    marks: Mapping[int, str] | None = None,
    alike: Sequence[int] | None = None,
    most: float = float("inf"),
) -> list[ExampleGroup]:
    """Group examples of equal text, of equal mark, and near-duplicates, in the order of their first examples.

    Args:
        examples: with unique ids, in the order of the source.
        marks: a name by id; examples of one name stay together, those without a name are their own.
        alike: a number for each example, the same for near-duplicates.
        most: larger groups of near-duplicates are not kept together: rows written by one template are all alike, and
            would all go to one part.
    """
    bonds: list[list[Hashable]] = [[("key", example.key) for example in examples]]
    if marks is not None:
        bonds.append([("mark", marks[e.id]) if e.id in marks else ("id", e.id) for e in examples])
    if alike is not None:
        sizes = Counter(alike)
        bonds.append(
            [
                ("alike", number) if sizes[number] <= most else ("id", example.id)
                for example, number in zip(examples, alike, strict=True)
            ]
        )
    members: dict[int, list[Example]] = defaultdict(list)
    for number, example in zip(_bound(bonds), examples, strict=True):
        members[number].append(example)
    named = marks or {}
    return [ExampleGroup(named.get(some[0].id, some[0].key), tuple(some)) for some in members.values()]


def _bound(bonds: Sequence[Sequence[Hashable]]) -> list[int]:
    """Number the rows so that two with the same label in any list of labels have the same number."""
    rows = len(bonds[0])
    nodes: dict[Hashable, int] = {}
    ends = [rows + nodes.setdefault(label, len(nodes)) for labels in bonds for label in labels]
    starts = np.tile(np.arange(rows), len(bonds))
    size = rows + len(nodes)
    links = coo_array((np.ones(len(starts), np.int8), (starts, np.array(ends, int))), shape=(size, size))
    numbers: list[int] = connected_components(links, directed=False)[1][:rows].tolist()
    return numbers
