"""A question's own options are compared as answers; every usual way to name the right one is parsed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from kamerton.core.contracts import Engine
from kamerton.core.records import Example, Place
from kamerton.models.load import load_tokenizer
from kamerton.plugins.tasks.multiple_choice import MultipleChoice
from tiny_engines import TEXT, facts_of, tiny_engine

ROWS = MultipleChoice().example_rows()
EXAMPLES = [MultipleChoice().example(id, Place("rows.jsonl", id + 1), row) for id, row in enumerate(ROWS)]
FORM = MultipleChoice().form("decoder", EXAMPLES)


@pytest.fixture(scope="module")
def engine(decoder_folder: Path) -> Engine:
    """An engine over the tiny decoder."""
    return tiny_engine(decoder_folder, TEXT, FORM.encode(EXAMPLES[:3], load_tokenizer(facts_of(decoder_folder)), 256))


@pytest.mark.parametrize(
    ("options", "answer", "gold"),
    [
        (["a", "b", "c"], 2, "c"),
        (["a", "b", "c"], "2", "c"),
        (["a", "b", "c"], "B", "b"),
        (["3", "2", "1"], "1", "1"),
        ({"text": ["x", "y"], "label": ["1", "2"]}, "2", "y"),
        ([{"text": "x", "label": "k"}, {"text": "y", "label": "n"}], "n", "y"),
        ('["да", "нет"]', "нет", "нет"),
        (["a", "b"], None, ""),
    ],
)
def test_an_answer_is_an_option_by_its_number_letter_name_or_text(options, answer, gold):
    row = {"question": "Which?", "options": options, "answer": answer}
    assert MultipleChoice().example(0, Place("rows.jsonl", 1), row).gold == gold


@pytest.mark.parametrize("answer", [3, "D", "something else", -1, 1.5])
def test_an_answer_that_names_no_option_is_no_row(answer):
    with pytest.raises(ValueError, match="is none of the 3 options"):
        MultipleChoice().example(
            0, Place("rows.jsonl", 1), {"question": "?", "options": ["a", "b", "c"], "answer": answer}
        )


def test_numbers_may_begin_with_one():
    row = {"question": "?", "options": ["a", "b", "c"], "answer": 3}
    assert MultipleChoice(first=1).example(0, Place("rows.jsonl", 1), row).gold == "c"


def test_the_likeliest_option_by_token_is_chosen(engine, decoder_folder):
    """Against the model's own log-probabilities over whole conversations, one by one."""
    model = AutoModelForCausalLM.from_pretrained(decoder_folder).eval()
    for example, prediction in zip(EXAMPLES, FORM.predict(engine, EXAMPLES), strict=True):
        options = example.fields["options"]
        means = []
        for option in options:
            fields = {**example.fields, "answer": option}
            one = Example(example.id, example.place, example.text, option, fields)
            [item] = FORM.encode([one], engine.tokenizer, 256)
            with torch.no_grad():
                logs = model(torch.tensor([item.tokens])).logits[0].log_softmax(-1)
            means.append(np.mean([float(logs[r, t]) for r, t in zip(item.output_positions, item.targets, strict=True)]))
        shares = np.exp(means) / np.exp(means).sum()
        assert prediction.text == options[int(np.argmax(means))]
        assert prediction.score == pytest.approx(shares.max(), abs=1e-4)
        assert prediction.loss == pytest.approx(-np.log(shares[options.index(example.gold)]), abs=1e-4)


def test_options_are_in_the_request_unless_it_is_to_be_the_question_alone():
    row = {"question": "The capital of France is", "options": ["Paris", "Rome"], "answer": 0}
    listed, alone = (MultipleChoice(listed=way).example(0, Place("r", 1), row).text for way in (True, False))
    assert listed == "The capital of France is\n\n- Paris\n- Rome"
    assert alone == "The capital of France is"
