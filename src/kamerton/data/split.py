"""Freeze the rows into training, validation and test.

The scheme: rows of the same text form a group, which stays on one side. Each class's groups are
ordered by a hash of seed and text; the test rows are taken from one end of that order, the
validation rows from the other. So

* the order of the rows in the file means nothing, and no row is ever both trained and tested on;
* each class has its share, to within one row; it is rounded up or down by a number that the hash
  draws for the class, so that over many small classes the shares come out right;
* rows added later move few old ones: only where an end's border shifts, between it and training.
  A row never moves between validation and test. (A fixed threshold on the hash would move none, but
  then small classes would get their shares only on average.)
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from kamerton.errors import DataError, Fault
from kamerton.records import Example, Split

Group = tuple[Example, ...]
"""Examples with the same text."""
PARTS = 3


@dataclass(frozen=True)
class _Ends:
    """The texts, by their keys, at the two ends of a class's order; the rest trains."""

    validation: frozenset[str]
    test: frozenset[str]


def split_examples(
    examples: Sequence[Example], *, stratified: bool, validation: float, test: float, seed: int
) -> Split:
    """Split the examples; each part is in the order of the ids.

    Args:
        examples: with unique ids.
        stratified: whether `gold` is a class: then each class with three texts or more is in every part,
            and one with fewer is at least in training.
        validation: share of the rows, above 0.
        test: share of the rows, above 0; the two leave something for training.
        seed: chooses among the splits.

    Raises:
        DataError: the shares leave nothing for training, or the rows are too few for three parts.

    """
    place = examples[0].place.file if examples else ""
    if validation <= 0 or test <= 0 or validation + test >= 1:
        rule = f"validation {validation:g} and test {test:g} must be above 0 and leave rows for training"
        raise DataError(Fault(rule, place, "set data.validation and data.test, for example 0.1 each"))
    ends = [_ends(groups, validation, test, seed, name) for name, groups in _classes(examples, stratified).items()]
    validated = frozenset[str]().union(*(end.validation for end in ends))
    tested = frozenset[str]().union(*(end.test for end in ends))
    ordered = sorted(examples, key=lambda example: example.id)
    split = Split(
        tuple(e for e in ordered if e.key not in validated and e.key not in tested),
        tuple(e for e in ordered if e.key in validated),
        tuple(e for e in ordered if e.key in tested),
    )
    if not (split.train and split.validation and split.test):
        rule = f"{len(examples)} rows are too few for training, validation and test"
        raise DataError(Fault(rule, place, "give at least three different texts, of each class if there are classes"))
    return split


def _classes(examples: Sequence[Example], stratified: bool) -> dict[str, list[Group]]:
    """Collect the groups of each class; a group with several golds counts for its most frequent one."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.key].append(example)
    classes: dict[str, list[Group]] = defaultdict(list)
    for group in groups.values():
        classes[_majority(group) if stratified else ""].append(tuple(group))
    return classes


def _majority(group: Sequence[Example]) -> str:
    counts = Counter(example.gold for example in group)
    return min(counts, key=lambda gold: (-counts[gold], gold))


def _ends(groups: Sequence[Group], validation: float, test: float, seed: int, name: str) -> _Ends:
    """Choose the texts of the class `name` that are not trained on."""
    ranked = sorted(groups, key=lambda group: (_hash(f"{seed} {group[0].key}"), group[0].key))
    rows, least = sum(map(len, groups)), 1 if len(groups) >= PARTS else 0
    quotas = {
        part: max(least, math.floor(rows * share + _hash(f"{seed} {part} {name}")))
        for part, share in (("test", test), ("validation", validation))
    }
    tested = _take(ranked, quotas["test"], len(ranked) - 1 - least)
    rest = [group for group in reversed(ranked) if group[0].key not in tested]
    return _Ends(_take(rest, quotas["validation"], len(rest) - 1), tested)


def _hash(text: str) -> float:
    """Draw a number from 0 to below 1."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48


def _take(ranked: Sequence[Group], quota: int, most: int) -> frozenset[str]:
    """Take at most `most` groups in order, up to `quota` rows; what does not fit is passed over, unless all is."""
    taken, rows = set[str](), 0
    for group in ranked:
        if rows + len(group) <= quota and len(taken) < most:
            taken.add(group[0].key)
            rows += len(group)
    if not taken and quota > 0 and most > 0:
        taken.add(min(ranked, key=len)[0].key)
    return frozenset(taken)
