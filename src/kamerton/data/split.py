"""Freeze the rows into training, validation and test.

Rows that belong together (see `make_groups`) stay on one side, whichever way the sides are found:

* At random, or by group: each group draws a number from 0 to 1, a hash of the seed and its own content.
  Below the test's share it is tested on, above one minus the validation's share it validates. The number
  and the borders depend on no other row: **rows that are added, removed or put in another order move no
  old one**, so that a later run never trains on what an earlier one was tested on. The price is that the
  shares are right on average only, to within the binomial error (of 1,000 rows, 100 ± 19 are tested on);
  cutting a shuffled list at its borders would be exact, and would move rows at every change of the file.
  Two exceptions, both for rows that are few: a class of three groups or more is in every part, so where
  none of its groups drew a part, the nearest to it goes there; and a group of more rows than a part should
  have in all trains.
* Folds turn the circle of those numbers by a k-th: over k runs each row is tested on exactly once.
* By time: the last rows are tested on, those before them validate. Rows of one moment stay together,
  and a text that comes again later counts where it came first.
* As given: the user's parts. What is not given is drawn from the training rows; a training row that the
  given test or validation rows repeat is left out of training, and the ledger says so.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import msg
from kamerton.core.records import Example, LedgerEntry, Split
from kamerton.data.parts import Part, Sides
from kamerton.runs.settings import SplitSettings

PARTS = 3
RANDOM = Sides("random", "", {}, {})


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


@dataclass(frozen=True)
class Parted:
    """The split, and the rows that are in no part of it."""

    split: Split
    dropped: tuple[LedgerEntry, ...]


def split_examples(
    examples: Sequence[Example],
    settings: SplitSettings,
    *,
    stratified: bool,
    seed: int,
    sides: Sides = RANDOM,
    alike: Sequence[int] | None = None,
) -> Parted:
    """Split examples with unique ids; each part is in the order of the ids.

    If `stratified`, each class (`gold`) with three groups or more is in every part, and one with fewer is at least in
    training. `sides` says which way to split; near-duplicates have the same number in `alike`.

    Raises:
        DataError: the shares leave nothing for training, or the rows are too few for three parts.
    """
    ordered = sorted(zip(examples, alike or range(len(examples)), strict=True), key=lambda pair: pair[0].id)
    rows, place = [example for example, _ in ordered], examples[0].place.file if examples else ""
    if settings.validation + settings.tested >= 1:
        rule = msg("validation {validation} and test {test} must leave rows for training",
                   validation=f"{settings.validation:g}", test=f"{settings.tested:g}")  # fmt: skip
        raise DataError(Fault(rule, place, msg("set split.validation and split.test, for example 0.1 each")))
    marks = sides.names if sides.by == "group" else None
    if marks:  # scores and verdicts will count rows of one group as one draw
        rows = [replace(example, group=marks.get(example.id, "")) for example in rows]
    groups = make_groups(
        rows,
        marks=marks,
        alike=[number for _, number in ordered] if alike is not None else None,
        most=settings.tested * len(rows),
    )
    if sides.by == "test":
        return _all_tested(rows, groups, sides.names, settings, seed, place)
    if sides.by == "given":
        return _parted(rows, _as_given(groups, sides.names, settings, seed), place, settings)
    if sides.by == "time":
        drawn = _by_time(groups, sides.times, settings, place)
    else:
        drawn = _at_random(groups, settings, stratified, seed)
    parts = {e.id: part for group, part in zip(groups, drawn, strict=True) for e in group.examples}
    return _parted(rows, parts, place, settings)


def _parted(rows: Sequence[Example], parts: Mapping[int, Part], place: str, settings: SplitSettings) -> Parted:
    split = Split(*(tuple(e for e in rows if parts.get(e.id) == part) for part in ("train", "validation", "test")))
    if not (split.train and split.validation and split.test):
        few = msg("{rows} {rows:row is|rows are} too few for training, validation and test", rows=len(rows))
        fold = msg("{few} (fold {fold} of {folds})", few=few, fold=settings.fold, folds=settings.folds or 0)
        remedy = msg("give at least three different texts, of each class if there are classes")
        raise DataError(Fault(fold if settings.folds else few, place, remedy))
    reason = msg("left out of training: the validation or test rows that were given say the same")
    dropped = tuple(LedgerEntry(e.id, e.place, "dropped", reason) for e in rows if e.id not in parts)
    return Parted(split, dropped)


# ── at random ─────────────────────────────────────────────────────────────────────────────────


def _at_random(groups: Sequence[ExampleGroup], settings: SplitSettings, stratified: bool, seed: int) -> list[Part]:
    """Draw each group's part from its own content; put small classes into every part.

    A group with several golds counts for its most frequent one.
    """
    rows = sum(len(group.examples) for group in groups)
    middle = (settings.tested + 1 - settings.validation) / 2
    turn = settings.fold / settings.folds if settings.folds else 0.0
    draws = [(_draw(f"{seed} {group.name}") - turn) % 1 for group in groups]
    if not settings.folds:
        most = min(max(1, rows * settings.test), max(1, rows * settings.validation))
        draws = [middle if len(g.examples) > most else draw for g, draw in zip(groups, draws, strict=True)]
    parts = [_part_at(draw, settings) for draw in draws]
    strata: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        strata[group.majority if stratified else ""].append(index)
    for members in strata.values():
        _require(parts, members, "train", lambda i: abs(draws[i] - middle))
        if len(members) >= PARTS and not settings.folds:
            _require(parts, members, "test", lambda i: draws[i])
            _require(parts, members, "validation", lambda i: -draws[i])
    return parts


def _part_at(draw: float, settings: SplitSettings) -> Part:
    if draw < settings.tested:
        return "test"
    return "validation" if draw >= 1 - settings.validation else "train"


def _require(parts: list[Part], members: Sequence[int], wanted: Part, distance: Callable[[int], float]) -> None:
    """If none of the members is in a part, put the nearest one there out of a part that can spare it."""
    if any(parts[i] == wanted for i in members):
        return
    counts = {part: sum(parts[i] == part for i in members) for part in parts}
    spare = [i for i in members if counts[parts[i]] > 1] or list(members)
    parts[min(spare, key=lambda i: (parts[i] != "train", distance(i)))] = wanted


def _draw(text: str) -> float:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).digest()) / 2**48


# ── by time, and as given ─────────────────────────────────────────────────────────────────────


def _by_time(
    groups: Sequence[ExampleGroup], times: Mapping[int, float], settings: SplitSettings, place: str
) -> list[Part]:
    """Test on the last groups and validate on those before, cut at the moments nearest to the shares."""
    moments = [min(times[example.id] for example in group.examples) for group in groups]
    sizes: dict[float, int] = dict.fromkeys(sorted(moments), 0)
    for moment, group in zip(moments, groups, strict=True):
        sizes[moment] += len(group.examples)
    if len(sizes) < PARTS:
        rule = msg("the rows have {times} different {times:time|times}: too few for training, validation and test",
                   times=len(sizes))  # fmt: skip
        column = msg("{place} column '{column}'", place=place, column=settings.column or "")
        raise DataError(Fault(rule, column, msg("name a column with finer times")))
    ends, distinct = list(accumulate(sizes.values())), list(sizes)

    def nearest(among: range, share: float) -> int:
        return min(among, key=lambda i: abs(ends[i] - ends[-1] * share))

    test = nearest(range(1, len(ends) - 1), 1 - settings.test)
    validation = nearest(range(test), 1 - settings.test - settings.validation)
    return [
        "train" if moment <= distinct[validation] else "validation" if moment <= distinct[test] else "test"
        for moment in moments
    ]


def _as_given(
    groups: Sequence[ExampleGroup], names: Mapping[int, str], settings: SplitSettings, seed: int
) -> dict[int, Part]:
    """Take the parts that are given, draw the others from training, and leave out of training what they repeat."""
    held_out: Mapping[str, Part] = {"test": "test", "validation": "validation"}
    given, parts = set(names.values()), dict[int, Part]()
    for group in groups:
        held = {e.id: held_out[names[e.id]] for e in group.examples if names.get(e.id) in held_out}
        drawn = _part_at(_draw(f"{seed} {group.name}"), settings)
        rest: Part = drawn if drawn not in given else "train"
        parts |= held or {e.id: rest for e in group.examples}
    return parts


def _all_tested(
    rows: Sequence[Example],
    groups: Sequence[ExampleGroup],
    trained: Mapping[int, str],
    settings: SplitSettings,
    seed: int,
    place: str,
) -> Parted:
    """Test on every row but those that a model was trained on, which train and validate other contenders."""
    parts: dict[int, Part] = {}
    for group in groups:
        validates = _draw(f"{seed} {group.name}") >= 1 - settings.validation
        own: Part = "validation" if validates else "train"
        parts |= {e.id: own if e.id in trained else "test" for e in group.examples}
    split = Split(*(tuple(e for e in rows if parts[e.id] == part) for part in ("train", "validation", "test")))
    if not split.test or (trained and not split.train):
        remedy = msg("give rows that the model was not trained on")
        raise DataError(Fault(msg("no row is left to test on"), place, remedy))
    return Parted(split, ())


# ── what stays together ───────────────────────────────────────────────────────────────────────


def make_groups(
    examples: Sequence[Example],
    *,
    marks: Mapping[int, str] | None = None,
    alike: Sequence[int] | None = None,
    most: float = float("inf"),
) -> list[ExampleGroup]:
    """Group examples of equal text, of equal mark (by id), and near-duplicates, in the order of their first examples.

    Near-duplicates have the same number in `alike`; more than `most` of them are not kept together: rows written by
    one template are all alike, and would all go to one part.
    """
    bonds: list[list[Hashable]] = [[("key", example.key) for example in examples]]
    if marks is not None:
        bonds.append([("mark", marks[e.id]) if e.id in marks else ("id", e.id) for e in examples])
    if alike is not None:
        sizes, pairs = Counter(alike), zip(examples, alike, strict=True)
        bonds.append([("alike", number) if sizes[number] <= most else ("id", e.id) for e, number in pairs])
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
