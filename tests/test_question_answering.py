"""Question answering: metrics against SQuAD's own script, every way of writing answers, and spans in windows."""

from __future__ import annotations

import collections
import json
import random
import re
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from kamerton.contenders.baselines import baselines
from kamerton.core.records import Example, Place, Prediction
from kamerton.forms.span import SpanReader, answers_of
from kamerton.models.load import load_model
from kamerton.plugins.metrics.squad_exact_match import SquadExactMatch
from kamerton.plugins.metrics.squad_f1 import SquadF1
from kamerton.plugins.tasks.question_answering import QuestionAnswering
from tiny_engines import tiny_engine

TASK = QuestionAnswering()
CONTEXT = "The train leaves at 7:45 from platform 12. Our neighbour repairs clocks, radios and old bicycles."


def example(answer: object, context: str = CONTEXT, start: object = None, question: str = "When?") -> Example:
    values = {"context": context, "question": question, "answer": answer, "start": start}
    return TASK.example(0, Place("f", 1), values)


# ── metrics, against the semantics of the official script (evaluate-v2.0.py) ───────────────────


def normalize_answer(text: str) -> str:
    bare = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def compute_exact(gold: str, given: str) -> int:
    return int(normalize_answer(gold) == normalize_answer(given))


def compute_f1(gold: str, given: str) -> float:
    golds, words = normalize_answer(gold).split(), normalize_answer(given).split()
    shared = sum((collections.Counter(golds) & collections.Counter(words)).values())
    if not golds or not words:
        return float(golds == words)
    if not shared:
        return 0.0
    precision, recall = shared / len(words), shared / len(golds)
    return 2 * precision * recall / (precision + recall)


def english(chance: random.Random) -> str:
    """Draw a phrase as answers are: articles before words, punctuation beside them."""
    words = ["the cat", "A dog,", "an", "old", '"house"', "well-known", "Oslo.", "U.S.", "1984", "(river)", "it's"]
    return " ".join([*chance.choices(words, k=chance.randint(0, 4)), chance.choice(["Paris", "mat.", "water", "12"])])


def test_both_metrics_equal_squads_own_script_on_a_thousand_english_cases() -> None:
    for seed in range(1000):
        chance = random.Random(seed)
        golds = [english(chance) for _ in range(chance.randint(1, 3))] if chance.random() < 0.8 else [""]
        given = chance.choice([golds[0], english(chance), "", f"the {golds[-1]}" if golds[-1] else ""])
        row = ([json.dumps(golds)], [Prediction(0, given)])
        exact, f1 = SquadExactMatch().statistics(*row)[0, 0], SquadF1().statistics(*row)[0, 0]
        assert exact == max(compute_exact(gold, given) for gold in golds)
        assert f1 == pytest.approx(max(compute_f1(gold, given) for gold in golds), abs=1e-12)


@pytest.mark.parametrize(
    ("golds", "given", "exact", "f1"),
    [
        (["Война и мир"], "«Война и мир»", 1, 1),
        (["Омск", "в Омске"], "в Омске.", 1, 1),
        (["в городе Омске"], "городе Омске", 0, 0.8),
        (["北京"], "北京。", 1, 1),
        (["我在北京"], "他在北京", 0, 0.75),
        (["القاهرة"], "القاهرة.", 1, 1),
        (["👍"], "👍", 1, 1),
        (["👍"], "👎", 0, 0),
        (["no answer", ""], "", 1, 1),
        (["no answer", ""], "No answer.", 1, 1),
        (["no answer", ""], "Paris", 0, 0),
        (["Paris"], "", 0, 0),
    ],
)
def test_golden_answers(golds: list[str], given: str, exact: float, f1: float) -> None:
    row = ([json.dumps(golds, ensure_ascii=False)], [Prediction(0, given)])
    assert SquadExactMatch().statistics(*row)[0, 0] == exact
    assert SquadF1().statistics(*row)[0, 0] == pytest.approx(f1)


# ── how answers are written down ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "answer",
    [
        "7:45",
        ["7:45"],
        {"text": ["7:45"], "answer_start": [20]},
        {"text": "7:45", "answer_start": 20},
        [{"text": "7:45", "start": 20}],
        '{"text": ["7:45"], "answer_start": [20]}',
        {"text": ["7:45"], "answer_start": [3]},  # a wrong place is mended
    ],
)
def test_every_way_of_writing_an_answer_gives_the_same_example(answer: object) -> None:
    made = example(answer)
    assert made.gold == '["7:45"]'
    assert made.fields["answer"] == [{"text": "7:45", "answer_start": 20}]
    assert example(made.fields["answer"]).gold == made.gold


def test_of_two_places_the_one_that_is_said_counts() -> None:
    assert example("12", context="12 or 12", start=6).fields["answer"] == [{"text": "12", "answer_start": 6}]


@pytest.mark.parametrize("nothing", ["", [], {"text": [], "answer_start": []}, "[]"])
def test_an_empty_answer_means_that_there_is_none_and_null_that_it_is_not_known(nothing: object) -> None:
    assert example(nothing).gold == '["no answer", ""]'
    assert example(None).gold == ""


# ── spans in windows ──────────────────────────────────────────────────────────────────────────


def form_of(*examples: Example) -> SpanReader:
    form = TASK.form("encoder", examples)
    assert isinstance(form, SpanReader)
    return form


@pytest.mark.parametrize("max_tokens", [128, 40, 24])
@pytest.mark.parametrize("answer", ["7:45", "clocks, radios", "The train", "bicycles."])
def test_targets_mark_the_answers_tokens_in_the_windows_that_hold_it(encoder_folder: Path, answer, max_tokens) -> None:
    tokenizer, made = AutoTokenizer.from_pretrained(encoder_folder), example(answer)
    [item] = form_of(made).encode([made], tokenizer, max_tokens)
    found = []
    for sequence in item.sequences:
        assert len(sequence.tokens) <= max_tokens
        marked = [read for read, target in zip(sequence.output_positions, sequence.targets, strict=True) if target]
        assert sum(sequence.targets) == 3
        if marked != [0]:
            found.append(tokenizer.decode(sequence.tokens[marked[0] : marked[-1] + 1]))
    plain = tokenizer.decode(tokenizer(answer, add_special_tokens=False)["input_ids"])
    assert found and set(found) == {plain}
    assert bool(item.extra) == (max_tokens < 128)


def test_an_answer_that_is_not_in_the_context_teaches_nothing_and_none_teaches_the_first_token(encoder_folder) -> None:
    tokenizer, absent, strange = AutoTokenizer.from_pretrained(encoder_folder), example(""), example("Oslo")
    form = form_of(absent, strange)
    one, other = form.encode([absent, strange], tokenizer, 128)
    assert (form.supervised(one), one.targets[0], sum(one.targets)) == (1, 3, 3)
    assert form.supervised(other) == 0


def test_the_loss_is_transformers_own_where_only_the_context_may_answer(encoder_folder) -> None:
    made = example("7:45")
    form, tokenizer = form_of(made), AutoTokenizer.from_pretrained(encoder_folder)
    [item] = form.encode([made], tokenizer, 128)
    model = load_model(encoder_folder, form.model_class, form.config, seed=0).model.eval()
    with torch.no_grad():
        output = model(input_ids=torch.tensor([item.tokens]))
    read = torch.stack([output.start_logits[0], output.end_logits[0]], dim=1)[list(item.output_positions)]
    begin, end = item.targets.index(1), item.targets.index(2)
    expected = (read.log_softmax(dim=0)[begin, 0] + read.log_softmax(dim=0)[end, 1]) / -2
    assert float(form.losses(read, [item])[0]) == pytest.approx(float(expected), rel=1e-6)


def test_the_context_has_the_second_token_type_where_the_tokenizer_knows_types(encoder_folder) -> None:
    made, tokenizer = example("7:45"), AutoTokenizer.from_pretrained(encoder_folder)
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    form = form_of(made)
    [item] = form.encode([made], tokenizer, 128)
    whole = tokenizer("When?", CONTEXT)
    assert (list(item.tokens), list(item.segments)) == (whole["input_ids"], whole["token_type_ids"])
    engine = tiny_engine(encoder_folder, form.model_class, [item])
    model = load_model(encoder_folder, form.model_class, form.config, seed=0).model.eval()
    with torch.no_grad():
        output = model(**tokenizer("When?", CONTEXT, return_tensors="pt"))
    both = torch.stack([output.start_logits[0], output.end_logits[0]], dim=1)[list(item.output_positions)]
    np.testing.assert_allclose(engine.read([item])[0], both.numpy(), atol=1e-5)


class Oracle:
    """Reads the very logits that the targets ask for."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        self.tokenizer, self.max_tokens = AutoTokenizer.from_pretrained(folder), max_tokens

    def read(self, items):
        return [np.array([[9.0 * (t & 1), 4.5 * (t & 2)] for t in item.targets], np.float32) for item in items]


@pytest.mark.parametrize("max_tokens", [128, 30])
@pytest.mark.parametrize("answer", ["7:45", "clocks, radios and old bicycles", ""])
def test_who_reads_what_is_taught_answers_right_word_for_word(encoder_folder, answer, max_tokens) -> None:
    made = example(answer)
    form = form_of(made, example(""))
    [prediction] = form.predict(Oracle(encoder_folder, max_tokens), [made])
    assert prediction.text == answer
    assert prediction.score > 0.9


def test_no_answer_is_given_only_where_training_had_none(encoder_folder) -> None:
    made = example("7:45")
    form = form_of(made)
    engine = tiny_engine(
        encoder_folder, form.model_class, form.encode([made], AutoTokenizer.from_pretrained(encoder_folder), 128)
    )
    [prediction] = form.predict(engine, [made])
    assert prediction.text and prediction.text in CONTEXT
    assert prediction.loss > 0


def test_an_untuned_model_takes_a_piece_of_the_context(encoder_folder) -> None:
    made = example("7:45")
    form = form_of(made)
    samples = form.encode([made], AutoTokenizer.from_pretrained(encoder_folder), 128)
    engine = tiny_engine(encoder_folder, form.untuned_class, samples)
    [whole], [piece] = form.predict_untuned(engine, [made], ()), form.predict_untuned(engine, [made], [made])
    assert whole.text in CONTEXT and piece.text in CONTEXT
    assert len(piece.text) < len(whole.text)


def test_simple_contenders_give_the_first_sentence_and_the_nearest_one() -> None:
    made = [example("clocks", question="What does our neighbour repair?")] * 2
    answers = {one.name: one.predictions[0].text for one in baselines(made, made, answers="span", seed=0)}
    assert answers["first sentence"].startswith("The train")
    assert answers["sentence nearest to the question by TF-IDF"].startswith("Our neighbour")


def test_a_decoder_is_taught_to_say_that_there_is_no_answer() -> None:
    form = TASK.form("decoder", [example("7:45"), example("")])
    assert [form.answer(one) for one in (example("7:45"), example(""))] == ["7:45", "no answer"]
    assert "no answer" in form.ask(example("7:45")) and answers_of(example("")) == [""]
