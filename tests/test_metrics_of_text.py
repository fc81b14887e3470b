"""Metrics of written answers agree with the libraries of the field, in every script."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

from kamerton.core.contracts import Metric
from kamerton.core.records import Prediction
from kamerton.plugins.metrics.bits_per_byte import BitsPerByte
from kamerton.plugins.metrics.bleu import Bleu
from kamerton.plugins.metrics.edit_similarity import EditSimilarity, distance
from kamerton.plugins.metrics.pass_at_k import PassAtK
from kamerton.plugins.metrics.preference_accuracy import PreferenceAccuracy
from kamerton.plugins.metrics.preference_margin import PreferenceMargin
from kamerton.plugins.metrics.rouge_1 import Rouge1
from kamerton.plugins.metrics.rouge_2 import Rouge2
from kamerton.text.words import words

CASES = range(250)
WORDS = ["cat", "Cat", "sat,", "(on)", "the", "mat.", "«кошка»", "Ёлка", "на", "—", "ковре", "3.5", "قطة", "🎉", "x_1"]
LATIN = ["cat", "sat", "on", "the", "mat", "x1", "dog"]


def answers(texts: Sequence[str]) -> list[Prediction]:
    return [Prediction(i, text) for i, text in enumerate(texts)]


def score(metric: Metric, golds: Sequence[str], predictions: Sequence[Prediction]) -> float:
    return float(metric.value(metric.statistics(golds, predictions).sum(axis=0)))


def pairs(case: int, known: Sequence[str], longest: int = 14) -> tuple[list[str], list[str]]:
    chance = random.Random(case)
    golds = [" ".join(chance.choices(known, k=chance.randint(1, longest))) for _ in range(chance.randint(1, 8))]
    texts = []
    for gold in golds:
        parts = [part for part in gold.split() if chance.random() < 0.8]
        texts.append(" ".join(parts or chance.choices(known, k=3)))
    return golds, texts


def test_bleu_agrees_with_sacrebleu_on_random_corpora():
    reference = BLEU(tokenize="intl", effective_order=True)
    for case in CASES:
        golds, texts = pairs(case, WORDS)
        expected = reference.corpus_score(texts, [golds]).score / 100
        assert score(Bleu(), golds, answers(texts)) == pytest.approx(expected, abs=1e-12)


def test_bleu_is_sacrebleus_default_where_a_text_has_four_words():
    reference = BLEU(tokenize="intl")
    for case in CASES:
        golds, texts = ([f"{part} a b c d" for part in side] for side in pairs(case, WORDS))
        expected = reference.corpus_score(texts, [golds]).score / 100
        assert score(Bleu(), golds, answers(texts)) == pytest.approx(expected, abs=1e-12)


def test_bleu_is_what_its_signature_says():
    reference = BLEU(tokenize="intl", effective_order=True)
    reference.corpus_score(["a"], [["a"]])
    assert Bleu.signature == f"{reference.get_signature()}|unspaced:letters"


@pytest.mark.parametrize(
    ("gold", "text", "apart"),
    [("我能吞下玻璃而不伤身体。", "我能吞下玻璃。", True), ("ฉันกินข้าว", "ฉันกินปลา", True)],
)
def test_bleu_of_scripts_without_spaces_is_that_of_their_letters_set_apart(gold, text, apart):
    spaced = [" ".join(words(part)) + ("。" if part.endswith("。") else "") for part in (gold, text)]
    reference = BLEU(tokenize="intl", effective_order=True).corpus_score([spaced[1]], [[spaced[0]]])
    assert score(Bleu(), [gold], answers([text])) == pytest.approx(reference.score / 100, abs=1e-12)
    assert 0 < score(Bleu(), [gold], answers([text])) < 1


@pytest.mark.parametrize(("metric", "kind"), [(Rouge1(), "rouge1"), (Rouge2(), "rouge2")])
def test_rouge_agrees_with_rouge_score_on_random_latin_sentences(metric, kind):
    reference = RougeScorer([kind])
    for case in CASES:
        golds, texts = pairs(case, LATIN)
        texts = [f"{text} {gold.split()[0]}" for gold, text in zip(golds, texts, strict=True)]
        expected = np.mean([reference.score(g, t)[kind].fmeasure for g, t in zip(golds, texts, strict=True)])
        assert score(metric, golds, answers(texts)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("metric", "order"), [(Rouge1(), 1), (Rouge2(), 2)])
def test_rouge_agrees_with_counting_by_hand_in_any_script(metric, order):
    for case in CASES:
        golds, texts = ([f"кот и {part}" for part in side] for side in pairs(case, WORDS))
        expected = []
        for gold, text in zip(golds, texts, strict=True):
            sides = [
                [tuple(words(part)[i : i + order]) for i in range(len(words(part)) - order + 1)]
                for part in (gold, text)
            ]
            left, shared = list(sides[0]), 0
            for ngram in sides[1]:
                if ngram in left:
                    left.remove(ngram)
                    shared += 1
            expected.append(2 * shared / (len(sides[0]) + len(sides[1])) if all(sides) else 0.0)
        assert score(metric, golds, answers(texts)) == pytest.approx(np.mean(expected), abs=1e-12)


def test_distance_agrees_with_the_recursive_definition_on_random_texts():
    for case in CASES:
        chance = random.Random(case)
        first, second = ("".join(chance.choices("абв猫🎉 ", k=chance.randint(0, 9))) for _ in range(2))

        @cache
        def steps(i: int, j: int, first: str = first, second: str = second) -> int:
            if not i or not j:
                return i + j
            return min(
                steps(i - 1, j) + 1,
                steps(i, j - 1) + 1,
                steps(i - 1, j - 1) + (first[i - 1] != second[j - 1]),
            )

        expected = steps(len(first), len(second))
        assert distance(first, second) == distance(second, first) == expected
        similarity = 1 - expected / max(1, len(first), len(second))
        assert score(EditSimilarity(), [first], answers([second])) == pytest.approx(similarity, abs=1e-12)


def test_bits_per_byte_counts_bytes_of_any_script():
    for case in CASES:
        chance = random.Random(case)
        golds, _ = pairs(case, WORDS)
        losses = [chance.expovariate(0.01) for _ in golds]
        predictions = [Prediction(i, "", None, loss, 1) for i, loss in enumerate(losses)]
        expected = sum(math.log2(math.e) * loss for loss in losses) / len("".join(golds).encode())
        assert score(BitsPerByte(), golds, predictions) == pytest.approx(expected, rel=1e-12)
    assert score(BitsPerByte(), ["кот"], [Prediction(0, "", None, 6 * math.log(2), 2)]) == pytest.approx(1)
    assert math.isnan(score(BitsPerByte(), ["кот"], [Prediction(0, "")]))


def test_the_margin_is_the_one_whose_loss_was_noted():
    for case in CASES:
        chance = random.Random(case)
        margins = [chance.uniform(-400, 400) for _ in range(chance.randint(1, 9))]
        predictions = [Prediction(i, "", None, float(np.logaddexp(0, -margin)), 1) for i, margin in enumerate(margins)]
        golds = [""] * len(margins)
        assert score(PreferenceMargin(), golds, predictions) == pytest.approx(np.mean(margins), rel=1e-12)
    assert math.isnan(score(PreferenceMargin(), ["a"], [Prediction(0, "a")]))


def test_preference_accuracy_is_the_share_of_chosen_answers():
    for case in CASES:
        chance = random.Random(case)
        right = [chance.random() < 0.6 for _ in range(chance.randint(1, 20))]
        golds = [f"ответ {i}" for i in range(len(right))]
        texts = [gold if good else "другой" for gold, good in zip(golds, right, strict=True)]
        assert score(PreferenceAccuracy(), golds, answers(texts)) == pytest.approx(np.mean(right), abs=1e-12)


def test_pass_at_k_is_the_mean_over_the_rows_whose_tests_ran():
    ran = [Prediction(0, "", passed=1.0), Prediction(1, "", passed=0.25), Prediction(2, "")]
    assert score(PassAtK(), ["", "", ""], ran) == pytest.approx(0.625)
    assert math.isnan(score(PassAtK(), [""], [Prediction(0, "")]))


@pytest.mark.parametrize("metric", [Bleu(), Rouge1(), Rouge2(), EditSimilarity()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize(
    "text", ["cat", "Съешь ещё этих мягких булок", "кот", "我能吞下玻璃", "猫", "الْقِطَّةُ على", "🎉", "🎉👩‍👩‍👧 да"]
)
def test_the_same_text_is_perfect_and_another_is_not(metric, text):
    assert score(metric, [text], answers([text])) == pytest.approx(1, abs=1e-12)
    assert score(metric, [text], answers(["zzz"])) < 0.3


def test_russian_quotation_marks_are_words_of_their_own_in_bleu():
    gold, text = "«Привет», — сказал он «тихо».", "Привет, — сказал он тихо."
    assert score(Bleu(), [gold], answers([text])) > 0.25
