"""Several labels a row: read from cells as people write them, trained and saved as transformers does, counted right."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import classification_report, f1_score, precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from kamerton.cli.actions.evaluate import print_classes
from kamerton.contenders.baselines import baselines
from kamerton.core.contracts import Metric
from kamerton.core.errors import DataError
from kamerton.core.outcomes import ClassResult
from kamerton.core.records import Example, Place, Prediction
from kamerton.data.read import read_table
from kamerton.data.recognize import recognize
from kamerton.engine.engine import TorchEngine
from kamerton.engine.layout import Plain
from kamerton.evaluate.score import class_results
from kamerton.forms.labels import best_threshold
from kamerton.models.load import load_model, load_tokenizer
from kamerton.models.saved import load_saved, save_model
from kamerton.plugins.metrics.macro_label_f1 import MacroLabelF1
from kamerton.plugins.metrics.micro_label_f1 import MicroLabelF1
from kamerton.plugins.metrics.sample_f1 import SampleF1
from kamerton.plugins.tasks._label_lists import labels_in
from kamerton.plugins.tasks.multi_label import MultiLabel
from kamerton.text.tags import write_tags
from tiny_engines import facts_of, tiny_engine

LABELS = ["комедия", "war", "love", "space"]
WORD = {"комедия": "клоун смеётся", "war": "the army marches", "love": "they kiss again", "space": "a rocket to Mars"}


def films(rows: int, seed: int = 0) -> list[Example]:
    chance = random.Random(seed)
    made = []
    for i in range(rows):
        own = [label for label in LABELS if chance.random() < 0.4]
        text = " ".join(["film", *(WORD[label] for label in own), chance.choice(["today", "вчера", "later"])])
        made.append(MultiLabel().example(i, Place("films.jsonl", i + 1), {"text": text, "labels": own}))
    return made


# ── cells ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        (["b", "a"], ["a", "b"]),
        (("b", 3, 4.0), ["3", "4", "b"]),
        ('["b", "a"]', ["a", "b"]),
        ("['b', \"it's\"]", ["b", "it's"]),
        ("[война, мир]", ["война", "мир"]),
        ("b; a;", ["a", "b"]),
        ("b|a|b", ["a", "b"]),
        ("b, a", ["a", "b"]),
        ("science fiction", ["science fiction"]),
        ([], []),
        ("[]", []),
        (7, ["7"]),
    ],
)
def test_labels_are_read_as_people_write_them(cell, labels):
    assert labels_in(cell) == labels


def test_a_comma_that_may_belong_to_a_label_is_asked_about():
    with pytest.raises(ValueError, match="name the one between labels"):
        labels_in("Arts, Culture; Sport")
    assert labels_in("Arts, Culture; Sport", ";") == ["Arts, Culture", "Sport"]


@pytest.mark.parametrize("cell", [[["a"]], [{"a": 1}], [None], ["", "a"], "[[1]]"])
def test_a_list_of_something_else_is_refused_with_a_reason(cell):
    with pytest.raises(ValueError, match="list of labels"):
        labels_in(cell)


@pytest.mark.parametrize("cell", ["[" * 2000 + "]" * 2000, "[[a]]", "[{a: 1}]", "['a' 'b']", "['a", "[,]", "[\\\\"])
def test_a_cell_that_only_looks_like_a_list_does_no_harm(cell):
    try:
        assert all(isinstance(label, str) for label in labels_in(cell))
    except ValueError as error:
        reasons = ("list of labels", "say what parts", "cannot be read", "its end is missing")
        assert any(reason in str(error) for reason in reasons)


def test_an_empty_list_is_no_label_and_an_empty_cell_is_missing():
    task, place = MultiLabel(), Place("f", 1)
    assert task.example(0, place, {"text": "a", "labels": []}).gold == "[]"
    assert task.example(0, place, {"text": "a", "labels": ""}).gold == ""
    assert task.example(0, place, {"text": "a"}).gold == ""


# ── recognition ───────────────────────────────────────────────────────────────────────────────

CELLS = [["war"], ["war", "love"], ["love"], [], ["комедия", "love"], ["комедия"]] * 4


def table(folder: Path, column: str, cells: list[object], **others: list[object]):
    path = folder / "rows.jsonl"
    columns = {"text": [f"Film number {i} of them all." for i in range(len(cells))], column: cells, **others}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return read_table(path)


@pytest.mark.parametrize("column", ["labels", "Genres", "categories", "topics", "жанры", "tags"])
@pytest.mark.parametrize(
    "write",
    [list, json.dumps, str, "; ".join, "|".join],
    ids=["lists", "JSON", "Python", "semicolons", "bars"],
)
def test_columns_of_several_labels_are_recognized(tmp_path, column, write):
    found = recognize(table(tmp_path, column, [write(cell) for cell in CELLS]), None, {})
    assert (found.task, found.columns["labels"]) == ("multi-label", column)


@pytest.mark.parametrize(
    "cells",
    [["good", "bad", "so so"] * 8, ["yes; sure", "no"] * 12, [["good"], ["bad"]] * 12, ["[spam]", "ham"] * 12],
)
def test_one_label_a_row_stays_text_classification(tmp_path, cells):
    assert recognize(table(tmp_path, "label", cells), None, {}).task == "text-classification"


def test_commas_that_part_labels_or_belong_to_them_become_a_question(tmp_path):
    with pytest.raises(DataError, match=r"several tasks.*multi-label"):
        recognize(table(tmp_path, "label", ["war, love", "war", "love", "комедия, war"] * 6), None, {})


# ── the form ──────────────────────────────────────────────────────────────────────────────────


def test_the_loss_is_that_of_transformers(encoder_folder):
    rows = films(12)
    form = MultiLabel().form("encoder", rows)
    model = load_model(encoder_folder, form.model_class, form.config, seed=0).model.eval()
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    items = form.encode(rows, tokenizer, 128)
    wanted = torch.tensor([[float(label in json.loads(e.gold)) for label in form.labels] for e in rows])
    with torch.no_grad():
        batch = tokenizer([e.text for e in rows], padding=True, return_tensors="pt")
        theirs = float(model(**batch, labels=wanted).loss)
        ours = float(form.losses(Plain().logits(model, items), items).mean()) / len(form.labels)
    assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.fixture(scope="module")
def tuned(encoder_folder):
    """A tiny model after some updates, with its form and rows."""
    rows = films(60)
    form, facts = MultiLabel().form("encoder", rows), facts_of(encoder_folder)
    model = load_model(encoder_folder, form.model_class, form.config, seed=0).model
    items = form.encode(rows, load_tokenizer(facts), facts.context)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        form.losses(Plain().logits(model, items), items).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return TorchEngine(model.eval(), load_tokenizer(facts), facts, Plain(), facts.context, 1, 512), form, rows


def test_the_saved_model_gives_the_same_labels_in_transformers_alone(tuned, tmp_path):
    engine, form, rows = tuned
    save_model(tmp_path / "model", engine.model, engine.tokenizer)
    alone = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    assert alone.config.problem_type == "multi_label_classification"
    batch = AutoTokenizer.from_pretrained(tmp_path / "model")([e.text for e in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        chances = alone(**batch).logits.sigmoid()
    theirs = [sorted(alone.config.id2label[int(i)] for i in (row > 0.5).nonzero()) for row in chances]
    predictions = form.predict(engine, rows)
    assert [json.loads(one.text) for one in predictions] == theirs
    again = load_saved(tmp_path / "model", form, facts_of(tmp_path / "model")).eval()
    assert again.config.id2label == alone.config.id2label


def test_training_learns_sets_of_labels(tuned):
    engine, form, rows = tuned
    assert score(MicroLabelF1(), [e.gold for e in rows], [p.text for p in form.predict(engine, rows)]) > 0.9


def test_nothing_asked_is_nothing_answered(tuned):
    engine, form, _ = tuned
    assert form.predict(engine, []) == []


def test_losses_of_predictions_are_those_of_training(tuned):
    engine, form, rows = tuned
    items = form.encode(rows, engine.tokenizer, engine.max_tokens)
    with torch.no_grad():
        wanted = form.losses(Plain().logits(engine.model, items), items).tolist()
    predictions = form.predict(engine, rows)
    assert [p.loss for p in predictions] == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    right = [p for p, e in zip(predictions, rows, strict=True) if p.text == e.gold]
    assert [p.score for p in right] == pytest.approx([np.exp(-p.loss) for p in right], rel=1e-6)


def test_more_labels_than_a_machine_word_has_bits_are_told_apart(encoder_folder):
    rows = [Example(i, Place("f", i + 1), f"text {i}", write_tags([f"{i:03}", f"{i + 1:03}"])) for i in range(100)]
    form = MultiLabel().form("encoder", rows)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    items = form.encode(rows, tokenizer, 128)
    assert [form.taught(item, tokenizer).words for item in items] == [(f"{i:03}, {i + 1:03}",) for i in range(100)]
    losses = form.losses(torch.zeros(100, 101), items)
    assert losses.tolist() == pytest.approx([101 * np.log(2)] * 100)


def test_a_row_with_a_label_never_seen_teaches_nothing(encoder_folder):
    form = MultiLabel().form("encoder", films(20))
    [item] = form.encode(
        [Example(0, Place("f", 1), "film", '["war", "western"]')], AutoTokenizer.from_pretrained(encoder_folder), 128
    )
    assert form.supervised(item) == 0
    assert form.losses(torch.ones(1, len(form.labels)), [item]).tolist() == [0.0]


def test_an_untuned_model_names_one_label_or_follows_its_neighbours(encoder_folder):
    rows = films(20)
    form = MultiLabel().form("encoder", rows)
    samples = form.encode(rows, AutoTokenizer.from_pretrained(encoder_folder), 128)
    engine = tiny_engine(encoder_folder, form.untuned_class, samples)
    assert all(len(json.loads(one.text)) == 1 for one in form.predict_untuned(engine, rows, ()))
    assert [one.text for one in form.predict_untuned(engine, rows[:5], rows[2:3])] == [rows[2].gold] * 5


# ── counting ──────────────────────────────────────────────────────────────────────────────────


def score(metric: Metric, golds: list[str], texts: list[str]) -> float:
    predictions = [Prediction(i, text) for i, text in enumerate(texts)]
    return float(metric.value(metric.statistics(golds, predictions).sum(axis=0)))


def random_sets(case: int) -> tuple[list[list[str]], list[list[str]]]:
    chance = random.Random(case)
    labels, rows = [f"метка {i}" for i in range(chance.randint(1, 6))], range(chance.randint(1, 30))
    golds = [[label for label in labels if chance.random() < 0.3] for _ in rows]
    given = [[label for label in labels if (label in gold) == (chance.random() < 0.7)] for gold in golds]
    return golds, given


@pytest.mark.parametrize(
    ("metric", "average"), [(MicroLabelF1(), "micro"), (MacroLabelF1(), "macro"), (SampleF1(), "samples")]
)
def test_f1_of_label_sets_agrees_with_sklearn_on_random_rows(metric, average):
    compared = 0
    for case in range(300):
        golds, given = random_sets(case)
        labels = sorted({label for row in (*golds, *given) for label in row})
        if len(labels) < 2:
            continue  # of one column scikit-learn thinks as of two classes
        binarizer = MultiLabelBinarizer(classes=labels)
        right, answered = binarizer.fit_transform(golds), binarizer.transform(given)
        theirs = f1_score(right, answered, average=average, zero_division=1 if average == "samples" else 0)
        ours = score(metric, [write_tags(row) for row in golds], [write_tags(row) for row in given])
        assert ours == pytest.approx(theirs, abs=1e-12)
        compared += 1
    assert compared >= 200


def test_results_per_class_agree_with_the_report_of_sklearn():
    for case in range(200):
        chance = random.Random(case)
        known = [f"класс {i}" for i in range(chance.randint(2, 6))]
        golds = chance.choices(known, k=30)
        given = [gold if chance.random() < 0.6 else chance.choice([*known, "чужой"]) for gold in golds]
        theirs = classification_report(golds, given, output_dict=True, zero_division=math.nan)
        rows = [Example(i, Place("f", i + 1), "", gold) for i, gold in enumerate(golds)]
        results = class_results(rows, [Prediction(i, text) for i, text in enumerate(given)], "class")
        assert [one.name for one in results] == sorted({*golds, *given})
        for one in results:
            ours = {"precision": one.precision, "recall": one.recall, "f1-score": one.f1, "support": one.support}
            if not one.support:  # scikit-learn says 0, though nothing could be found
                theirs[one.name]["f1-score"] = math.nan
            assert ours == pytest.approx(theirs[one.name], abs=1e-12, nan_ok=True)


def test_results_per_label_agree_with_sklearn():
    for case in range(100):
        golds, given = random_sets(case)
        labels = sorted({label for row in (*golds, *given) for label in row})
        rows = [Example(i, Place("f", i + 1), "", write_tags(row)) for i, row in enumerate(golds)]
        predictions = [Prediction(i, write_tags(row)) for i, row in enumerate(given)]
        results = class_results(rows, predictions, "classes")
        assert [one.name for one in results] == labels
        for one in results:
            sides = [[one.name in row for row in side] for side in (golds, given)]
            theirs = precision_recall_fscore_support(*sides, labels=[True], average=None, zero_division=math.nan)
            precision, recall, f1, support = (side[0] for side in theirs)
            wanted = (precision, recall, f1 if support else math.nan, support)
            assert (one.precision, one.recall, one.f1, one.support) == pytest.approx(wanted, abs=1e-12, nan_ok=True)


def test_results_per_class_are_printed_as_a_table(capsys):
    print_classes([ClassResult("комедия", 0.5, 1.0, 2 / 3, 1234)])
    assert capsys.readouterr().out == (
        "\nclass    precision     recall         f1       rows\nкомедия     0.5000     1.0000     0.6667      1,234\n"
    )


def test_free_answers_have_no_results_per_class():
    assert class_results(films(3), [Prediction(i, "x") for i in range(3)], "text") == ()


# ── simple contenders ─────────────────────────────────────────────────────────────────────────


def test_simple_contenders_answer_with_sets_and_words_tell_labels(recwarn):
    train, test = films(120), films(40, seed=1)
    answers = baselines(train, test, answers="classes", seed=0)
    scores = {
        one.name: score(MicroLabelF1(), [e.gold for e in test], [p.text for p in one.predictions]) for one in answers
    }
    assert [one.kind for one in answers] == ["trivial", "classic", "classic"]
    assert scores["TF-IDF + one-vs-rest logistic regression"] > 0.95 > scores["commonest set of labels"]
    assert not recwarn


@pytest.mark.parametrize("golds", [["[]", "[]"], ['["a"]', "[]"], ['["a"]', '["a"]'], ['["a", "b"]', '["a"]']])
def test_simple_contenders_manage_with_hardly_any_labels(golds):
    rows = [Example(i, Place("f", i + 1), f"text number {i}", gold) for i, gold in enumerate(golds)]
    for one in baselines(rows, rows, answers="classes", seed=0):
        assert all(isinstance(json.loads(prediction.text), list) for prediction in one.predictions)


@pytest.mark.parametrize("seed", range(20))
def test_the_fitted_threshold_gives_the_best_micro_f1_of_all(seed):
    draw = np.random.default_rng(seed)
    probabilities = draw.uniform(0.06, 0.94, size=(int(draw.integers(1, 30)), 4)).round(2)
    right = draw.random(probabilities.shape) < probabilities * draw.uniform(0.3, 1.5)
    threshold, score, even = best_threshold(probabilities, right)
    every = [_f1(right, probabilities > bar) for bar in np.arange(0.055, 0.95, 0.01)]
    assert score == pytest.approx(max(every))
    assert score == pytest.approx(_f1(right, probabilities > threshold))
    assert even == pytest.approx(_f1(right, probabilities > 0.5))


def test_a_half_stays_where_nothing_is_better():
    fitted = best_threshold(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[True, False], [False, True]]))
    assert fitted == (0.5, 1.0, 1.0)


def _f1(right: np.ndarray, given: np.ndarray) -> float:
    return float(f1_score(right, given, average="micro", zero_division=0))
