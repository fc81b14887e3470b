from __future__ import annotations

import math
import random
import time
import warnings

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from kamerton.contenders.baselines import baselines
from kamerton.core.outcomes import Answers
from kamerton.core.records import Example, Place
from kamerton.evaluate.score import measure

GOOD = ["тёплый фильм", "прекрасная игра", "смешно и умно", "great fun", "a warm story", "lovely cast"]
BAD = ["скучный фильм", "ужасная игра", "глупо и долго", "awful mess", "a cold story", "dull cast"]
FILLER = ["сегодня", "вчера", "really", "quite", "кино", "evening", "снова", "again", "весь", "whole"]


def example(id: int, text: str, gold: str, **fields: object) -> Example:
    return Example(id, Place("rows.csv", id + 1), text, gold, fields)


def reviews(rows: int, seed: int) -> list[Example]:
    chance = random.Random(seed)
    examples = []
    for i in range(rows):
        gold = "good" if chance.random() < 0.6 else "bad"
        text = f"{' '.join(chance.choices(FILLER, k=6))} {chance.choice(GOOD if gold == 'good' else BAD)}"
        examples.append(example(i, text, gold))
    return examples


def named(contenders: list[Answers]) -> dict[str, Answers]:
    return {one.name: one for one in contenders}


def texts(answers: Answers) -> list[str]:
    return [prediction.text for prediction in answers.predictions]


def test_classes_get_a_trivial_and_two_classic_contenders() -> None:
    contenders = baselines(reviews(80, 0), reviews(20, 1), answers="class", seed=0)
    assert [(one.name, one.kind) for one in contenders] == [
        ("majority class", "trivial"),
        ("TF-IDF + logistic regression", "classic"),
        ("nearest training example", "classic"),
    ]
    assert all([p.id for p in one.predictions] == list(range(20)) for one in contenders)


def test_free_answers_get_a_trivial_and_a_classic_contender() -> None:
    train = [example(0, "Say hi", "hi"), example(1, "Скажи привет", "привет")]
    test = [
        example(5, "Upper: abc", "ABC", input="abc"),
        example(6, "скажи Привет!", "привет", input=""),
    ]
    contenders = baselines(train, test, answers="text", seed=0)
    assert [(one.name, one.kind) for one in contenders] == [
        ("copy of the input", "trivial"),
        ("nearest training example", "classic"),
    ]
    assert texts(contenders[0]) == ["abc", "скажи Привет!"]
    assert texts(contenders[1])[1] == "привет"


def test_majority_class_answers_the_commonest_with_its_share_as_probability() -> None:
    train = [example(0, "a", "x"), example(1, "b", "y"), example(2, "c", "y"), example(3, "d", "y")]
    test = [example(9, "e", "x"), example(10, "f", "new")]
    first, second = named(baselines(train, test, answers="class", seed=0))["majority class"].predictions
    assert (first.text, first.score, first.tokens) == ("y", 0.75, 1)
    assert first.loss == pytest.approx(math.log(4))
    assert (second.text, second.loss, second.tokens) == ("y", None, None)


def test_regression_learns_words_in_two_languages_and_is_sure_of_them() -> None:
    test = reviews(100, 7)
    found = named(baselines(reviews(300, 3), test, answers="class", seed=0))
    regression = found["TF-IDF + logistic regression"]
    assert measure(test, regression.predictions, ["accuracy"])["accuracy"] > 0.95
    assert measure(test, found["majority class"].predictions, ["accuracy"])["accuracy"] < 0.8
    assert measure(test, regression.predictions, ["perplexity"])["perplexity"] < 1.3
    for row, prediction in zip(test, regression.predictions, strict=True):
        assert prediction.score is not None
        assert prediction.loss is not None
        gold_chance = math.exp(-prediction.loss)
        assert gold_chance == pytest.approx(prediction.score if row.gold == prediction.text else 1 - prediction.score)


def test_nearest_training_example_is_the_one_sklearn_calls_most_similar() -> None:
    train, test = reviews(60, 3), reviews(30, 8)
    # ties and features differ little: where one training text is the same up to a word, both agree
    test = [example(i, f"{train[i].text} кино", "?") for i in range(30)]
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5)).fit([e.text for e in train])
    similar = cosine_similarity(vectors.transform(e.text for e in test), vectors.transform(e.text for e in train))
    nearest = named(baselines(train, test, answers="class", seed=0))["nearest training example"]
    assert texts(nearest) == [train[row.argmax()].gold for row in similar]


def test_answers_are_the_same_every_time() -> None:
    train, test = reviews(150, 0), reviews(40, 1)
    first, second = (baselines(train, test, answers="class", seed=4) for _ in range(2))
    assert [one.predictions for one in first] == [one.predictions for one in second]


def test_gold_answers_of_the_test_rows_change_no_answer() -> None:
    train, test = reviews(80, 0), reviews(30, 1)
    other = [example(e.id, e.text, "bad") for e in test]
    first, second = (baselines(train, rows, answers="class", seed=0) for rows in (test, other))
    assert [texts(one) for one in first] == [texts(one) for one in second]


def test_rare_classes_single_classes_and_strange_texts_are_answered_without_warnings() -> None:
    strange = ["🎉", "я", "猫", "   ", "\u200b", "x" * 50_000, "!!!", "a"]
    many = [example(i, f"{strange[i % 8]} {i % 13}", "rare" if i == 5 else "ab"[i % 2]) for i in range(70)]
    lonely = [example(i, f"text {i}", str(i)) for i in range(70)]
    alike = [example(i, text, "same") for i, text in enumerate(strange)]
    odd_one = [example(i, f"text {i}", "odd" if i == 3 else "even") for i in range(70)]
    test = [example(i, text, "a") for i, text in enumerate(strange)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for train in (many, lonely, alike, odd_one, many[:2]):
            for answers in ("class", "text"):
                for one in baselines(train, test, answers=answers, seed=0):
                    assert len(one.predictions) == len(test)


def test_two_thousand_short_rows_take_seconds() -> None:
    train, test = reviews(2000, 0), reviews(300, 1)
    start = time.process_time()
    baselines(train, test, answers="class", seed=0)
    assert time.process_time() - start < 16  # about 3 on an idle core
