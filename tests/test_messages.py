"""Messages: a template and its values, rendered in the reader's language, and kept in files as both."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.core.figures import Figure
from kamerton.core.message_json import from_json, message_from_json, message_to_json, to_json, without_templates
from kamerton.core.messages import Joined, Message, Wording, verbatim
from kamerton.i18n.voice import Voice, voice

ROWS = Message("{rows} {rows:row|rows}", {"rows": 2503})
CATALOGUE = {"{rows} {rows:row|rows}": "{rows} {rows:строка|строки|строк}", "{a} of {b}": "{b}: {a}"}
RUSSIAN = Voice("ru", lambda template: CATALOGUE.get(template, template))


@pytest.mark.parametrize(
    ("said", "english", "russian"),
    [
        (ROWS, "2,503 rows", "2\u202f503 строки"),
        (Message("{rows} {rows:row|rows}", {"rows": 1}), "1 row", "1 строка"),
        (Message("{rows} {rows:row|rows}", {"rows": 111}), "111 rows", "111 строк"),
        (Message("{a} of {b}", {"a": Figure(0.0412, "percent"), "b": "x.csv"}), "4.1% of x.csv", "x.csv: 4,1%"),
        (Message("{a} of {b}", {"a": ROWS, "b": "x"}), "2,503 rows of x", "x: 2\u202f503 строки"),
        (Joined((ROWS, verbatim("{not a hole}"))), "2,503 rows; {not a hole}", "2\u202f503 строки; {not a hole}"),
        (Message("{a} of {b}", {"a": Figure(75, "duration"), "b": Figure(1.5 * 2**30, "memory")}),
         "1 min 15 s of 1.5 GB", "1,5\xa0ГБ: 1\xa0мин 15\xa0с"),
    ],
)  # fmt: skip
def test_a_message_is_rendered_in_the_readers_language(said: Wording, english: str, russian: str) -> None:
    assert (str(said), voice("en").render(said), RUSSIAN.render(said)) == (english, english, russian)


def test_a_value_that_the_template_names_and_the_message_lacks_is_an_error() -> None:
    with pytest.raises(KeyError):
        str(Message("{rows} rows"))


VALUES = st.recursive(
    st.text()
    | st.integers()
    | st.builds(Figure, st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["number", "share"])),
    lambda inner: (
        st.builds(lambda one: Message("{one}", {"one": one}), inner)
        | st.builds(lambda parts: Joined(tuple(parts)), st.lists(inner, max_size=3))
    ),
    max_leaves=5,
)


@given(VALUES)
def test_a_message_survives_its_file(value: object) -> None:
    message = Message("{value}", {"value": value})
    assert message_from_json(json.loads(json.dumps(message_to_json(message)))) == message


@dataclass(frozen=True)
class Record:
    title: Wording
    samples: tuple[Wording, ...] = ()


def test_a_record_keeps_the_text_for_programs_and_the_template_for_faces() -> None:
    record = Record(ROWS, (ROWS, "as it is"))
    written = json.loads(json.dumps(to_json(record)))
    assert (written["title"], written["samples"]) == ("2,503 rows", ["2,503 rows", "as it is"])
    assert Record(**from_json(written)) == record
    assert without_templates(record) == {"title": "2,503 rows", "samples": ["2,503 rows", "as it is"]}


def test_what_older_runs_wrote_is_read_as_it_is() -> None:
    old = {"title": "2,503 rows", "said": "a column's name, no template"}
    assert from_json(old) == old
