import datetime
import random
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from kamerton.core.errors import DataError, RecipeError
from kamerton.core.records import Example, Finding, LedgerEntry, Place, Split
from kamerton.data.fates import check_complete, make_ledger
from kamerton.data.parts import Sides, find_sides, moment_of
from kamerton.data.split import RANDOM, Parted, make_groups, split_examples
from kamerton.data.table import Collector, Table, joined
from kamerton.runs.recipe import resolve
from kamerton.runs.settings import SplitSettings

PARTS = ("train", "validation", "test")


def example(id: int, text: str, gold: str = "x") -> Example:
    return Example(id, Place("rows.csv", id + 2), text, gold)


def rows_of(sizes: dict[str, int], first: int = 0) -> list[Example]:
    pairs = [(f"{gold} {i}", gold) for gold, size in sizes.items() for i in range(size)]
    return [example(first + i, text, gold) for i, (text, gold) in enumerate(pairs)]


def parted(
    examples: list[Example],
    *,
    stratified: bool = True,
    seed: int = 0,
    sides: Sides = RANDOM,
    alike: list[int] | None = None,
    **shares: object,
) -> Parted:
    return split_examples(examples, SplitSettings(**shares), stratified=stratified, seed=seed, sides=sides, alike=alike)


def split(examples: list[Example], **how: object) -> Split:
    return parted(examples, **how).split  # type: ignore[arg-type]


def sides(split: Split) -> dict[str, str]:
    return {e.text: part for part in PARTS for e in getattr(split, part)}


SIZES = st.dictionaries(st.sampled_from("абвгдежз"), st.integers(3, 60), min_size=1)
SHARES = st.floats(0.02, 0.45)


@given(SIZES, SHARES, SHARES, st.integers(0, 99))
def test_every_row_is_in_one_part_and_every_class_in_every_part(
    sizes: dict[str, int], validation: float, test: float, seed: int
) -> None:
    examples = rows_of(sizes)
    parts = split(examples, validation=validation, test=test, seed=seed)
    assert sorted(e.id for part in PARTS for e in getattr(parts, part)) == [e.id for e in examples]
    for part in PARTS:
        assert {e.gold for e in getattr(parts, part)} == set(sizes)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_shares_are_right_to_within_the_binomial_error(share: float) -> None:
    sizes = {"a": 700, "b": 200, "в": 40}
    outside = trials = 0
    for seed in range(30):
        parts = split(rows_of(sizes), validation=share, test=share, seed=seed)
        for part in (parts.validation, parts.test):
            counts = Counter(e.gold for e in part)
            for gold, size in sizes.items():
                low, high = binom.interval(0.99, size, share)
                outside += not max(1, low) <= counts[gold] <= max(1, high)
                trials += 1
    assert outside <= binom.ppf(0.999, trials, 0.01), "of 99% intervals, about one in a hundred is left"


@given(SIZES, st.randoms())
def test_the_order_of_the_file_means_nothing(sizes: dict[str, int], random_: object) -> None:
    examples = rows_of(sizes)
    shuffled = list(examples)
    random_.shuffle(shuffled)  # type: ignore[attr-defined]
    assert split(shuffled) == split(examples)
    renumbered = [example(i, e.text, e.gold) for i, e in enumerate(shuffled)]
    assert sides(split(renumbered)) == sides(split(examples))


def test_the_seed_chooses_and_repeats() -> None:
    examples = rows_of({"a": 100, "b": 100})
    assert split(examples, seed=1) == split(examples, seed=1)
    assert sides(split(examples, seed=1)) != sides(split(examples, seed=2))


def test_parts_are_in_the_order_of_the_ids() -> None:
    parts = split(rows_of({"a": 100, "b": 50}))
    for part in PARTS:
        numbers = [e.id for e in getattr(parts, part)]
        assert numbers == sorted(numbers)


@settings(max_examples=25)
@given(st.integers(3, 300), st.integers(1, 300), st.booleans(), st.randoms())
def test_rows_added_removed_or_shuffled_move_no_old_one(
    rows: int, more: int, stratified: bool, random_: random.Random
) -> None:
    old = rows_of({"a": rows, "b": 300})
    new = [example(1000 + i, f"new {i}", "ab"[i % 2]) for i in range(more)]
    everything = random_.sample([*old, *new], len(old) + len(new))
    before, after = sides(split(old, stratified=stratified)), sides(split(everything, stratified=stratified))
    moved = {text for text, side in before.items() if after[text] != side}
    assert not {text for text in moved if text.startswith("b") or not stratified}
    kept = random_.sample(old, len(old) * 3 // 4)
    remaining = sides(split(kept, stratified=stratified))
    moved |= {text for text, side in remaining.items() if before[text] != side}
    assert len({text for text in moved if text.startswith("a")}) <= 4, "only where a class had no row in a part"
    assert rows < 120 or not moved


def test_added_rows_keep_groups_where_they_were() -> None:
    authors = {i: f"author {i % 40}" for i in range(1200)}
    old = [example(i, f"text {i}") for i in range(600)]
    new = [example(i, f"text {i}") for i in range(600, 1200)]
    by_author = Sides("group", "", authors, {})
    before, after = sides(split(old, sides=by_author)), sides(split([*old, *new], sides=by_author))
    assert all(after[text] == side for text, side in before.items())
    near = [i // 3 for i in range(600)]
    before = sides(split(old, alike=near))
    after = sides(split([*old, *new], alike=[*near, *(i // 3 for i in range(600))]))
    assert all(after[text] == side for text, side in before.items())


def test_examples_carry_their_group_where_the_split_is_by_group() -> None:
    authors = {i: f"author {i % 40}" for i in range(300) if i % 7}
    rows = [example(i, f"text {i}") for i in range(300)]
    parts = split(rows, sides=Sides("group", "", authors, {}))
    for row in (*parts.train, *parts.validation, *parts.test):
        assert row.group == authors.get(row.id, "")
    assert {row.group for row in split(rows).test} == {""}


def test_a_corrected_label_moves_no_other_row() -> None:
    old = rows_of({"a": 200, "b": 200})
    mended = [example(e.id, e.text, "b") if e.id == 7 else e for e in old]
    assert sides(split(old)) == sides(split(mended))


@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from("xyz")), min_size=20, max_size=80), st.booleans())
def test_rows_of_one_text_are_on_one_side(pairs: list[tuple[int, str]], stratified: bool) -> None:
    examples = [example(i, f"Text {n}".upper() if i % 2 else f"text  {n}", gold) for i, (n, gold) in enumerate(pairs)]
    try:
        parts = split(examples, stratified=stratified, validation=0.2, test=0.2)
    except DataError:
        assert len({e.key for e in examples}) < 3 or stratified
        return
    keys = [{e.key for e in getattr(parts, part)} for part in PARTS]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    assert sum(len(getattr(parts, part)) for part in PARTS) == len(examples)


def test_a_text_with_several_labels_counts_for_the_most_frequent_one() -> None:
    torn = [example(100 + i, "torn", gold) for i, gold in enumerate("bba")]
    parts = split([*rows_of({"a": 20}), *torn], validation=0.2, test=0.2)
    assert "torn" in {e.text for e in parts.train}, "the only text of class b is trained on"


def test_a_group_larger_than_a_part_trains() -> None:
    big = [example(i, "the same question", f"answer {i}") for i in range(50)]
    for seed in range(30):
        parts = split([*big, *rows_of({"x": 50}, first=50)], stratified=False, seed=seed)
        assert "the same question" not in {e.text for e in (*parts.validation, *parts.test)}


def test_a_class_with_one_or_two_texts_is_in_training() -> None:
    parts = split(rows_of({"a": 40, "b": 1, "c": 2}), validation=0.3, test=0.3)
    assert {"b", "c"} <= {e.gold for e in parts.train}


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_rows_are_refused(rows: int) -> None:
    with pytest.raises(DataError, match="too few for training, validation and test") as caught:
        split(rows_of({"a": rows}), stratified=False)
    assert str(caught.value.faults[0].remedy)
    assert len(split(rows_of({"a": 3}), stratified=False).train) == 1


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (0.9, 0.3)])
def test_shares_that_leave_nothing_are_refused(validation: float, test: float) -> None:
    with pytest.raises(DataError, match="must leave rows for training"):
        split(rows_of({"a": 50}), validation=validation, test=test)


# ── groups and near-duplicates ────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=40, max_size=120))
def test_rows_bound_by_text_author_or_likeness_are_on_one_side(labels: list[tuple[int, int, int]]) -> None:
    examples = [example(i, f"text {text} of {i % 30}") for i, (text, _, _) in enumerate(labels)]
    authors = {i: f"author {author} {i % 25}" for i, (_, author, _) in enumerate(labels) if author}
    alike = [number * 30 + i % 30 for i, (_, _, number) in enumerate(labels)]
    groups = make_groups(examples, marks=authors, alike=alike)
    graph = Graph(len(examples))
    for first, second in combinations(range(len(examples)), 2):
        if (
            examples[first].key == examples[second].key
            or (first in authors and authors[first] == authors.get(second))
            or alike[first] == alike[second]
        ):
            graph.join(first, second)
    assert {frozenset(e.id for e in group.examples) for group in groups} == graph.parts()


class Graph:
    """Connected components by brute force."""

    def __init__(self, nodes: int) -> None:
        self.sets = [{node} for node in range(nodes)]

    def join(self, first: int, second: int) -> None:
        merged = self.sets[first] | self.sets[second]
        for node in merged:
            self.sets[node] = merged

    def parts(self) -> set[frozenset[int]]:
        return {frozenset(part) for part in self.sets}


def test_a_family_of_near_duplicates_too_large_for_a_part_is_parted() -> None:
    examples = rows_of({"a": 200})
    parts = split(examples, alike=[0] * 100 + list(range(1, 101)))
    written_by_template = {f"a {i}" for i in range(100)}
    assert all(written_by_template & {e.text for e in getattr(parts, part)} for part in PARTS)


@pytest.mark.parametrize("by_author", [False, True])
def test_over_all_folds_every_row_is_tested_on_once(by_author: bool) -> None:
    examples = rows_of({"a": 150, "b": 100})
    marks = Sides("group", "", {e.id: f"author {e.id % 31}" for e in examples}, {}) if by_author else RANDOM
    runs = [split(examples, folds=5, fold=fold, sides=marks) for fold in range(5)]
    assert sorted(e.id for run in runs for e in run.test) == list(range(250))
    assert all(len(run.train) > len(run.test) > 15 for run in runs)
    if by_author:
        for run in runs:
            authors = [{e.id % 31 for e in getattr(run, part)} for part in PARTS]
            assert not (authors[0] & authors[1] or authors[0] & authors[2] or authors[1] & authors[2])


# ── by time, and as given ─────────────────────────────────────────────────────────────────────


def test_by_time_the_last_rows_are_tested_on_and_a_moment_is_not_parted() -> None:
    examples = rows_of({"a": 200})
    days = {e.id: float((e.id * 37 % 200) // 4) for e in examples}
    parts = split(examples, sides=Sides("time", "", {}, days), test=0.2)
    latest = {part: max(days[e.id] for e in getattr(parts, part)) for part in PARTS}
    earliest = {part: min(days[e.id] for e in getattr(parts, part)) for part in PARTS}
    assert latest["train"] < earliest["validation"] <= latest["validation"] < earliest["test"]
    assert (len(parts.validation), len(parts.test)) == (20, 40)


def test_by_time_a_text_that_comes_again_counts_where_it_came_first() -> None:
    examples = [*rows_of({"a": 100}), example(100, "a 3")]
    parts = split(examples, sides=Sides("time", "", {}, {e.id: float(e.id) for e in examples}))
    assert {3, 100} <= {e.id for e in parts.train}
    assert max(e.id for e in parts.test) == 99


def test_by_time_three_moments_are_enough_and_two_are_not() -> None:
    examples = rows_of({"a": 90})
    years = Sides("time", "", {}, {e.id: 2018.0 + e.id % 3 for e in examples})
    parts = split(examples, sides=years)
    assert [{e.id % 3 for e in getattr(parts, part)} for part in PARTS] == [{0}, {1}, {2}]
    with pytest.raises(DataError, match="2 different times"):
        split(examples, sides=Sides("time", "", {}, {e.id: float(e.id % 2) for e in examples}))


def test_given_parts_are_taken_and_training_rows_that_repeat_them_are_left_out() -> None:
    examples = [*rows_of({"a": 60}), example(60, "A  7"), example(61, "almost a 50")]
    names = {e.id: "test" if 50 <= e.id < 60 else "validation" if 45 <= e.id < 50 else "train" for e in examples}
    names[7] = "test"
    result = parted(examples, sides=Sides("given", "", names, {}), alike=[*range(61), 50])
    assert {e.id for e in result.split.test} == {7, *range(50, 60)}
    assert {e.id for e in result.split.validation} == set(range(45, 50))
    assert [entry.id for entry in result.dropped] == [60, 61]
    assert "say the same" in str(result.dropped[0].reason)


def test_a_part_that_is_not_given_is_drawn_from_training_and_stays_where_it_was() -> None:
    examples = rows_of({"a": 400})
    names = {e.id: "test" for e in examples if e.id >= 350}
    first = parted(examples, sides=Sides("given", "", names, {})).split
    assert {e.id for e in first.test} == set(range(350, 400))
    assert 15 <= len(first.validation) <= 60
    fewer = parted(examples[50:], sides=Sides("given", "", names, {})).split
    assert {e.id for e in fewer.validation} == {e.id for e in first.validation if e.id >= 50}


# ── what the user says of the split ───────────────────────────────────────────────────────────


def table_of(*rows: dict[str, object], file: str = "rows.csv") -> Table:
    collector = Collector(file)
    for line, row in enumerate(rows, 2):
        collector.accept(line, row)
    return collector.table(rows[0], "csv", "utf-8", ())


def test_a_column_called_split_is_taken_if_it_holds_nothing_but_parts() -> None:
    words = ("Train", "dev", "TEST", "обучение", "проверка", "тест")
    table = table_of(*({"text": f"{i}", "split": word} for i, word in enumerate(words)))
    found = find_sides(table, SplitSettings())
    assert found.by == "given" and list(found.names.values()) == ["train", "validation", "test"] * 2
    assert find_sides(table, SplitSettings(by="random")).by == "random"
    other = table_of({"text": "a", "split": "train"}, {"text": "b", "split": "banana"})
    assert find_sides(other, SplitSettings()).by == "random"
    with pytest.raises(DataError, match="'banana' names no part") as caught:
        find_sides(other, SplitSettings(column="split"))
    assert str(caught.value.faults[0].place) == "rows.csv:3 column 'split'"


def test_files_named_after_parts_are_taken_for_them() -> None:
    first = table_of({"text": "a"}, {"text": "b"}, file="corpus/train-00000-of-00001.csv")
    second = table_of({"text": "c"}, file="corpus/valid.csv")
    third = table_of({"text": "d"}, file="corpus/test/part1.csv")
    table = joined([first, second, third])
    assert [row.id for row in table.rows] == [0, 1, 2, 3]
    found = find_sides(table, SplitSettings())
    assert dict(found.names) == {0: "train", 1: "train", 2: "validation", 3: "test"}
    assert find_sides(joined([first, table_of({"text": "d"}, file="corpus/more.csv")]), SplitSettings()).by == "random"
    assert find_sides(first, SplitSettings()).by == "random"


def test_a_test_file_of_its_own_is_tested_on() -> None:
    table = joined([table_of({"text": "a"}, {"text": "b"}), table_of({"text": "c"}, file="held.csv")])
    found = find_sides(table, SplitSettings(test_path="held.csv"))
    assert (found.by, dict(found.names)) == ("given", {2: "test"})


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-03-01", 1772323200.0),
        ("01.03.2026", 1772323200.0),
        ("1.3.2026 06:30", 1772346600.0),
        ("2026-03-01T06:30:00+03:00", 1772335800.0),
        (datetime.date(2026, 3, 1), 1772323200.0),
        (datetime.datetime(2026, 3, 1, 6, 30), 1772346600.0),
        (2019, 2019.0),
        ("2019.5", 2019.5),
        (True, None),
        ("nan", None),
        ("31.02.2026", None),
        ("soon", None),
        (None, None),
    ],
)
def test_times_are_read_as_they_are_written(written: object, moment: float | None) -> None:
    assert moment_of(written) == moment


def test_rows_without_a_time_are_named() -> None:
    table = table_of(*({"day": day} for day in ("2026-03-01", "soon", "")))
    with pytest.raises(DataError) as caught:
        find_sides(table, SplitSettings(by="time", column="day"))
    assert [str(fault.place) for fault in caught.value.faults] == ["rows.csv:3 column 'day'", "rows.csv:4 column 'day'"]
    with pytest.raises(DataError, match="did you mean 'day'"):
        find_sides(table, SplitSettings(by="time", column="dya"))


def test_a_row_without_a_group_is_its_own() -> None:
    table = table_of(*({"meta": {"author": author}} for author in ("a", "b", "", "c", None, "a")))
    found = find_sides(table, SplitSettings(by="group", column="meta.author"))
    assert dict(found.names) == {0: "a", 1: "b", 3: "c", 5: "a"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"by": "group"},
        {"by": "time"},
        {"by": "random", "column": "x"},
        {"by": "time", "column": "x", "folds": 5},
        {"by": "group", "column": "x", "test_path": "t.csv"},
        {"test_path": "t.csv", "folds": 3},
        {"folds": 5, "fold": 5},
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        resolve(None, {f"split.{name}": value for name, value in wrong.items()})


# ── the ledger ────────────────────────────────────────────────────────────────────────────────


def entry(id: int, fate: str, reason: str) -> LedgerEntry:
    return LedgerEntry(id, Place("rows.csv", id + 2), fate, reason)  # type: ignore[arg-type]


def test_every_row_has_one_fate_and_cut_rows_a_second_entry() -> None:
    examples = rows_of({"a": 30})
    dropped = Finding("empty-fields", "warning", "2 rows", "", rows=(3, 5), drop=(3, 5))
    again = Finding("exact-duplicates", "warning", "2 rows repeat", "", rows=(5, 6), drop=(5, 6))
    parts = split([e for e in examples if e.id not in (3, 5, 6)])
    cut = [entry(parts.train[0].id, "cut", "7 tokens did not fit")]
    unread, left_out = [entry(31, "dropped", "not JSON")], [entry(30, "dropped", "left out by max_rows=30")]
    ledger = make_ledger(unread, left_out, [dropped, again], parts, cut, examples)
    check_complete(32, ledger)
    assert [e.id for e in ledger] == sorted(e.id for e in ledger)
    assert Counter(e.fate for e in ledger) == {
        "dropped": 5,
        "cut": 1,
        **{part: len(getattr(parts, part)) for part in PARTS},
    }
    reasons = {e.id: str(e.reason) for e in ledger if e.fate == "dropped"}
    assert reasons[5] == "empty-fields: 2 rows" and reasons[6] == "exact-duplicates: 2 rows repeat"


@pytest.mark.parametrize(
    "ledger",
    [
        [entry(0, "train", "")],
        [entry(0, "train", ""), entry(1, "test", ""), entry(1, "dropped", "x")],
        [entry(0, "train", ""), entry(1, "test", ""), entry(2, "test", "")],
        [entry(0, "train", ""), entry(1, "dropped", ""), entry(1, "cut", "x")],
    ],
)
def test_a_row_lost_or_counted_twice_is_noticed(ledger: list[LedgerEntry]) -> None:
    with pytest.raises(AssertionError, match="the ledger is wrong"):
        check_complete(2, ledger)
