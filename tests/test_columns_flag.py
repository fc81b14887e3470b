"""`--columns`: how roles and columns are written."""

from __future__ import annotations

import shlex

import pytest
import typer

from kamerton.cli.options import parse_columns
from kamerton.data.reading import named


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("text=review,label=stars", {"text": "review", "label": "stars"}),
        (" text = review , label = stars ", {"text": "review", "label": "stars"}),
        ("text=Оценка, баллы", {"text": "Оценка, баллы"}),
        ("text=Оценка, баллы,label=Тип", {"text": "Оценка, баллы", "label": "Тип"}),
        ("question=q,options=A+B+C,answer=key", {"question": "q", "options": "A+B+C", "answer": "key"}),
    ],
)
def test_a_comma_parts_columns_only_before_a_role(text, columns):
    assert parse_columns(text) == columns


@pytest.mark.parametrize("text", ["review", "=review", "text=", "text=,label=stars"])
def test_what_names_no_column_is_refused(text):
    with pytest.raises(typer.BadParameter, match="takes ROLE=NAME"):
        parse_columns(text)


@pytest.mark.parametrize(
    "columns",
    [
        {"text": "review", "label": "stars"},
        {"text": "Review Text", "label": "Star Rating"},
        {"text": "текст", "labels": "war|love|crime"},
        {"text": "what's up", "label": "Оценка, баллы"},
    ],
)
def test_what_a_question_says_is_read_from_a_shell_as_it_was_meant(columns):
    [word] = shlex.split(named(columns))
    assert parse_columns(word) == columns
