from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.data.ledger import check_complete, make_ledger
from kamerton.data.split import split_examples
from kamerton.errors import DataError
from kamerton.records import Example, Finding, LedgerEntry, Place, Split

PARTS = ("train", "validation", "test")


def example(id: int, text: str, gold: str = "x") -> Example:
    return Example(id, Place("rows.csv", id + 2), text, gold)


def rows_of(sizes: dict[str, int], first: int = 0) -> list[Example]:
    pairs = [(f"{gold} {i}", gold) for gold, size in sizes.items() for i in range(size)]
    return [example(first + i, text, gold) for i, (text, gold) in enumerate(pairs)]


def split(
    examples: list[Example], *, stratified: bool = True, validation: float = 0.1, test: float = 0.1, seed: int = 0
) -> Split:
    return split_examples(examples, stratified=stratified, validation=validation, test=test, seed=seed)


def sides(split: Split) -> dict[str, str]:
    return {e.text: part for part in PARTS for e in getattr(split, part)}


SIZES = st.dictionaries(st.sampled_from("абвгдежз"), st.integers(3, 60), min_size=1)
SHARES = st.floats(0.02, 0.45)


@given(SIZES, SHARES, SHARES, st.integers(0, 99))
def test_each_class_has_its_share_to_within_one_row_and_is_in_every_part(
    sizes: dict[str, int], validation: float, test: float, seed: int
) -> None:
    examples = rows_of(sizes)
    parts = split(examples, validation=validation, test=test, seed=seed)
    assert sorted(e.id for part in PARTS for e in getattr(parts, part)) == [e.id for e in examples]
    for part, share in (("validation", validation), ("test", test)):
        counts = Counter(e.gold for e in getattr(parts, part))
        for gold, size in sizes.items():
            assert counts[gold] >= 1
            assert counts[gold] == 1 or abs(counts[gold] - size * share) <= 1
    assert set(sizes) == {e.gold for e in parts.train}


@given(st.integers(3, 500), SHARES, SHARES)
def test_rows_without_classes_get_their_shares_to_within_one_row(rows: int, validation: float, test: float) -> None:
    parts = split(rows_of({"x": rows}), stratified=False, validation=validation, test=test)
    assert len(parts.test) == 1 or abs(len(parts.test) - rows * test) <= 1
    assert len(parts.validation) == 1 or abs(len(parts.validation) - rows * validation) <= 1


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


def test_added_rows_move_few_old_ones_and_none_between_validation_and_test() -> None:
    old = rows_of({"a": 500, "b": 300})
    new = [example(800 + i, f"new {i}", "ab"[i % 2]) for i in range(200)]
    before, after = sides(split(old)), sides(split([*old, *new]))
    moved = [text for text, side in before.items() if after[text] != side]
    assert len(moved) <= 0.03 * len(old)
    assert not any({before[text], after[text]} == {"validation", "test"} for text in moved)


def test_a_corrected_label_moves_no_other_row_far() -> None:
    old = rows_of({"a": 200, "b": 200})
    mended = [example(e.id, e.text, "b") if e.id == 7 else e for e in old]
    before, after = sides(split(old)), sides(split(mended))
    assert sum(before[text] != after[text] for text in before) <= 4


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


def test_a_group_larger_than_the_quota_trains() -> None:
    big = [example(i, "the same question", f"answer {i}") for i in range(50)]
    parts = split([*big, *rows_of({"x": 50}, first=50)], stratified=False)
    assert "the same question" not in {e.text for e in (*parts.validation, *parts.test)}
    assert len(parts.test) == len(parts.validation) == 10


def test_a_class_with_one_or_two_texts_is_in_training() -> None:
    parts = split(rows_of({"a": 40, "b": 1, "c": 2}), validation=0.3, test=0.3)
    assert {"b", "c"} <= {e.gold for e in parts.train}


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_rows_are_refused(rows: int) -> None:
    with pytest.raises(DataError, match="too few for training, validation and test") as caught:
        split(rows_of({"a": rows}), stratified=False)
    assert caught.value.faults[0].remedy
    assert len(split(rows_of({"a": 3}), stratified=False).train) == 1


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (0.0, 0.1), (0.1, -0.1), (0.9, 0.3)])
def test_shares_that_leave_nothing_are_refused(validation: float, test: float) -> None:
    with pytest.raises(DataError, match="must be above 0 and leave rows for training"):
        split(rows_of({"a": 50}), validation=validation, test=test)


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
    reasons = {e.id: e.reason for e in ledger if e.fate == "dropped"}
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
