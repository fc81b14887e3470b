"""Errors carry every fault, each with its place and remedy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.core import errors
from kamerton.core.errors import DataError, Fault, KamertonError, Unusable, nearest, reason_of
from kamerton.core.messages import msg


def test_a_fault_reads_as_place_then_rule_then_remedy():
    fault = Fault("a label is empty", "отзывы.csv:12 column 'label'", "fill it, or drop the row")
    assert str(fault) == "отзывы.csv:12 column 'label': a label is empty\n    → fill it, or drop the row"


def test_a_fault_without_place_and_remedy_is_its_rule():
    assert str(Fault("no rows are left")) == "no rows are left"


def test_one_error_tells_all_faults_in_order():
    error = DataError([Fault("first", "a.csv:1"), Fault("second", "a.csv:9")])
    assert [fault.rule for fault in error.faults] == ["first", "second"]
    assert str(error) == "a.csv:1: first\na.csv:9: second"


def test_a_single_fault_needs_no_list():
    assert DataError(Fault("alone")).faults == (Fault("alone"),)


def test_every_error_is_drawn_in_the_tree_and_caught_as_one():
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    classes = [value for value in found if value is not Unusable]
    assert len(classes) > 1
    for cls in classes:
        assert cls.__name__ in str(errors.__doc__)
        with pytest.raises(KamertonError):
            raise cls(Fault("rule"))


@pytest.mark.parametrize(
    ("word", "meant"), [("lorra", "lora"), ("Lora", "lora"), ("ful", "full"), ("тональнсть", "тональность")]
)
def test_the_nearest_word_is_proposed(word, meant):
    assert str(nearest(word, ["full", "head", "lora", "тональность"])).startswith(f"did you mean '{meant}'? ")


def test_nothing_is_proposed_for_a_word_that_is_like_none():
    assert str(nearest("qqqqqqqq", ["lora", "full"])) == "Known: full, lora"


@given(st.text(), st.lists(st.text(min_size=1), max_size=5))
def test_nearest_lists_all_known_words_and_never_invents_one(word, known):
    message = str(nearest(word, known))
    assert message.endswith(f"Known: {', '.join(sorted(known))}" if known else "remove it: no name is accepted here")
    if message.startswith("did you mean"):
        assert any(message.startswith(f"did you mean '{name}'? ") for name in known)


def test_the_reason_of_an_unusable_row_stays_a_message():
    reason = msg("{rows} {rows:row|rows}", rows=2)
    assert (str(Unusable(reason)), reason_of(Unusable(reason)), reason_of(ValueError("as it is"))) == (
        "2 rows", reason, "as it is",
    )  # fmt: skip
