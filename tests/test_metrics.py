from __future__ import annotations

import math
import random
import re
import string
import unicodedata
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import CHRF
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from kamerton.core import registry
from kamerton.core.contracts import Metric
from kamerton.core.records import Prediction
from kamerton.plugins.metrics.accuracy import Accuracy
from kamerton.plugins.metrics.chrf import Chrf
from kamerton.plugins.metrics.exact_match import ExactMatch
from kamerton.plugins.metrics.macro_f1 import MacroF1
from kamerton.plugins.metrics.mcc import Mcc
from kamerton.plugins.metrics.perplexity import Perplexity
from kamerton.plugins.metrics.rouge_l import RougeL
from kamerton.plugins.metrics.token_f1 import TokenF1
from kamerton.plugins.metrics.weighted_f1 import WeightedF1
from kamerton.text.words import answer_words, bare_answer, fold, words

CASES = range(200)
OF_LIKELIHOODS = {"bits-per-byte", "pass-at-k", "preference-margin", "feedback-auc", "feedback-margin"}
"""Metrics that do not compare texts; tested beside what they are about."""
OF_NUMBERS = {"spearman", "pearson", "mae", "rmse"}
"""Metrics that read numbers; tested in a file of their own."""
OF_PROBABILITIES = {"brier", "ece", "nll"}
"""Metrics that read probabilities; tested beside calibration."""
TEXTUAL = [name for name in registry.names("metrics") if name not in OF_LIKELIHOODS | OF_NUMBERS | OF_PROBABILITIES]
WORDS = ["cat", "Cat", "sat", "on", "the", "mat", "кошка", "Ёлка", "на", "ковре", "猫", "坐在", "قطة", "🎉", "3.5", "—"]
LANGUAGES = {
    "english": "The quick brown fox, 2nd of its name.",
    "russian": "Съешь ещё этих мягких булок, Ёжик!",
    "chinese": "我能吞下玻璃而不伤身体。",
    "arabic": "الْقِطَّةُ على السَّجّادة",
    "hindi": "हिन्दी में लिखा",
    "emoji": "🎉👩‍👩‍👧",
}


def answers(texts: Sequence[str]) -> list[Prediction]:
    return [Prediction(i, text, None, 0.0, len(text)) for i, text in enumerate(texts)]


def score(metric: Metric, golds: Sequence[str], texts: Sequence[str]) -> float:
    return float(metric.value(metric.statistics(golds, answers(texts)).sum(axis=0)))


def labels(case: int) -> tuple[list[str], list[str]]:
    chance = random.Random(case)
    known = [f"класс {i}" for i in range(chance.randint(1, 6))]
    rows = chance.randint(1, 60)
    golds = chance.choices(known, weights=[1 / (i + 1) for i in range(len(known))], k=rows)
    unknown = [*known, "чужой"]
    return golds, [g if chance.random() < 0.6 else chance.choice(unknown) for g in golds]


def sentences(case: int) -> tuple[list[str], list[str]]:
    chance = random.Random(case)

    def sentence() -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(1, 12)))

    golds = [sentence() for _ in range(chance.randint(1, 12))]
    return golds, [g if chance.random() < 0.2 else sentence() for g in golds]


# ── against other implementations ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("metric", "reference"),
    [
        (Accuracy(), accuracy_score),
        (MacroF1(), lambda g, p: f1_score(g, p, average="macro", zero_division=0)),
        (WeightedF1(), lambda g, p: f1_score(g, p, average="weighted", zero_division=0)),
    ],
    ids=["accuracy", "macro-f1", "weighted-f1"],
)
def test_classification_metrics_agree_with_sklearn_on_random_labels(metric: Metric, reference: object) -> None:
    for case in CASES:
        golds, texts = labels(case)
        assert score(metric, golds, texts) == pytest.approx(reference(golds, texts), abs=1e-12)


def test_mcc_agrees_with_sklearn_on_random_labels() -> None:
    for case in CASES:
        golds, texts = labels(case)
        if len({*golds, *texts}) > 1:  # sklearn warns of a single label
            assert score(Mcc(), golds, texts) == pytest.approx(matthews_corrcoef(golds, texts), abs=1e-12)


def test_macro_f1_of_a_resample_agrees_with_sklearn_on_its_rows() -> None:
    for case in CASES:
        golds, texts = labels(case)
        rows = np.random.default_rng(case).integers(len(golds), size=len(golds))
        resampled = MacroF1().statistics(golds, answers(texts))[rows].sum(axis=0)
        expected = f1_score([golds[i] for i in rows], [texts[i] for i in rows], average="macro", zero_division=0)
        assert float(MacroF1().value(resampled)) == pytest.approx(expected, abs=1e-12)


def test_chrf_agrees_with_sacrebleu_on_random_sentences() -> None:
    for case in CASES:
        golds, texts = sentences(case)
        assert score(Chrf(), golds, texts) == pytest.approx(CHRF().corpus_score(texts, [golds]).score / 100, abs=1e-9)


def test_chrf_is_what_its_signature_says() -> None:
    reference = CHRF()
    reference.corpus_score(["a"], [["a"]])
    assert Chrf.signature == str(reference.get_signature())


def test_metrics_of_words_say_how_they_are_computed_and_those_of_labels_need_not() -> None:
    signed = {name: registry.choose("metrics", name).signature for name in registry.names("metrics")}
    assert {name for name in signed if name.startswith(("rouge", "token-f1", "squad"))} | {
        "bleu", "chrf", "exact-match", "edit-similarity",
    } == {name for name, signature in signed.items() if signature}  # fmt: skip
    assert f"rouge_score:{version('rouge_score')}" in signed["rouge-l"]
    assert f"kamerton:{version('kamerton')}" in signed["token-f1"]
    assert len({signature for signature in signed.values() if signature}) == sum(map(bool, signed.values()))


def test_rouge_l_agrees_with_rouge_score_on_random_latin_sentences() -> None:
    reference = RougeScorer(["rougeL"])
    for case in CASES:
        golds, texts = ([s.replace("3.5", "35") for s in part] for part in sentences(case))
        latin = [["".join(c for c in s if c.isascii()) or "x" for s in part] for part in (golds, texts)]
        latin = [[s if s.strip() else "x" for s in part] for part in latin]
        expected = np.mean([reference.score(g, t)["rougeL"].fmeasure for g, t in zip(*latin, strict=True)])
        assert score(RougeL(), *latin) == pytest.approx(expected, abs=1e-12)


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    row = [0] * (len(second) + 1)
    for word in first:
        new = [0]
        for j, other in enumerate(second):
            new.append(row[j] + 1 if word == other else max(new[-1], row[j + 1]))
        row = new
    return row[-1]


def test_rouge_l_agrees_with_brute_force_in_any_script() -> None:
    for case in CASES:
        golds, texts = sentences(case)
        expected = []
        for gold, text in zip(golds, texts, strict=True):
            wanted, given = words(gold), words(text)
            expected.append(2 * longest_common(wanted, given) / (len(wanted) + len(given)))
        assert score(RougeL(), golds, texts) == pytest.approx(np.mean(expected), abs=1e-12)


def test_token_f1_agrees_with_precision_and_recall_counted_by_hand() -> None:
    for case in CASES:
        golds, texts = sentences(case)
        expected = []
        for gold, text in zip(golds, texts, strict=True):
            wanted, given = answer_words(gold, gold), answer_words(text, gold)
            left = list(wanted)
            shared = sum(1 for word in given if word in left and not left.remove(word))
            precision, recall = shared / len(given), shared / len(wanted)
            expected.append(2 * precision * recall / (precision + recall) if shared else 0.0)
        assert score(TokenF1(), golds, texts) == pytest.approx(np.mean(expected), abs=1e-12)


def squad_answer(text: str) -> str:
    """What SQuAD's official script makes of an answer: lower case, no punctuation, no articles."""
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def test_english_answers_are_reduced_as_squad_does() -> None:
    for case in CASES:
        chance = random.Random(case)
        parts = ["The", "the", "a", "An", "cat", "Cat's", "dog,", "(sat)", '"mat"', "well-known", "U.S."]
        golds, texts = ([" ".join([*chance.choices(parts, k=chance.randint(0, 3)), "end."])] for _ in range(2))
        assert squad_answer(golds[0]) == bare_answer(golds[0], golds[0])
        assert score(ExactMatch(), golds, texts) == (squad_answer(golds[0]) == squad_answer(texts[0]))


def test_perplexity_is_the_exponential_of_the_mean_loss_over_tokens() -> None:
    for case in CASES:
        chance = random.Random(case)
        losses = [[chance.expovariate(1) for _ in range(chance.randint(1, 9))] for _ in range(chance.randint(1, 20))]
        predictions = [Prediction(i, "", None, sum(row), len(row)) for i, row in enumerate(losses)]
        predictions.append(Prediction(-1, "", None, None, None))
        metric = Perplexity()
        value = float(metric.value(metric.statistics([""] * len(predictions), predictions).sum(axis=0)))
        flat = [loss for row in losses for loss in row]
        assert value == pytest.approx(math.prod(math.exp(loss / len(flat)) for loss in flat), rel=1e-12)


def test_perplexity_is_unknown_without_losses_and_finite_however_large_they_are() -> None:
    metric = Perplexity()
    nothing = metric.statistics(["a"], [Prediction(0, "a")]).sum(axis=0)
    assert math.isnan(float(metric.value(nothing)))
    assert math.isfinite(float(metric.value(np.array([1e9, 1.0]))))


# ── properties ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", TEXTUAL)
@pytest.mark.parametrize("text", LANGUAGES.values(), ids=LANGUAGES.keys())
def test_the_gold_answer_gets_the_perfect_score_in_any_language(name: str, text: str) -> None:
    metric = registry.choose("metrics", name)()
    golds = [text, f"{text} 2"]
    assert score(metric, golds, golds) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", TEXTUAL)
@given(pairs=st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_scores_of_any_text_keep_their_bounds_and_ignore_the_order_of_rows(
    name: str, pairs: list[tuple[str, str]]
) -> None:
    metric = registry.choose("metrics", name)()
    golds, texts = [g or "∅" for g, _ in pairs], [t or "∅" for _, t in pairs]
    value = score(metric, golds, texts)
    low, high = (0, 1) if metric.unit_interval else (-1, math.inf)
    assert low - 1e-12 <= value <= high + 1e-12
    assert score(metric, golds[::-1], texts[::-1]) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("name", registry.names("metrics"))
def test_values_of_many_sums_are_the_values_of_each(name: str) -> None:
    metric = registry.choose("metrics", name)()
    golds, texts = labels(3)
    statistics = metric.statistics(golds, answers(texts))
    totals = np.stack([statistics[: i + 1].sum(axis=0) for i in range(len(golds))])
    assert metric.value(totals) == pytest.approx([float(metric.value(row)) for row in totals], abs=1e-12, nan_ok=True)
    assert statistics.dtype == np.float64
    assert statistics.shape[0] == len(golds)


# ── golden cases ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("Война и мир", "«Война и мир»"),
        ("Ёлка", "елка"),
        ("Москва — столица", "Москва, столица."),
        ("cat", "“The cat”"),
        ("A", "a"),
        ("план A", "План A!"),
        ("10-20", "10–20"),
        ("北京", "北京。"),
        ("القاهرة", "القاهرة."),
        ("👍", "👍"),
        ("Straße", "STRASSE"),
        ("é", unicodedata.normalize("NFD", "É")),
    ],
)
def test_answers_that_say_the_same_match(gold: str, text: str) -> None:
    assert score(ExactMatch(), [gold], [text]) == 1
    assert score(TokenF1(), [gold], [text]) == 1


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("план A", "план"),
        ("plan A", "plan"),
        ("A", "B"),
        ("A", "the"),
        ("3.5", "35"),
        ("-5", "5"),
        ("10:30", "1030"),
        ("C++", "C"),
        ("x < 5", "x > 5"),
        ("👍", "👎"),
        ("北京", "东京"),
        ("кит", "кот"),
    ],
)
def test_answers_that_say_something_else_do_not_match(gold: str, text: str) -> None:
    assert score(ExactMatch(), [gold], [text]) == 0


def test_russian_rouge_l_sees_the_words() -> None:
    assert score(RougeL(), ["Модель GPT-2 весит 548 МБ"], ["Ошибка: GPT-2, 548 котов"]) == pytest.approx(6 / 11)


def test_chinese_words_are_compared_letter_by_letter() -> None:
    assert score(TokenF1(), ["我在北京"], ["他在北京"]) == pytest.approx(3 / 4)
    assert score(RougeL(), ["GPT模型好"], ["GPT模型坏"]) == pytest.approx(3 / 4)


def test_marks_do_not_split_words() -> None:
    assert words("الْقِطَّةُ هنا") == [unicodedata.normalize("NFKC", "الْقِطَّةُ"), "هنا"]
    assert words("हिन्दी") == ["हिन्दी"]


def test_a_class_that_is_only_predicted_lowers_macro_f1() -> None:
    assert score(MacroF1(), ["a", "a", "b"], ["a", "c", "b"]) == pytest.approx((2 / 3 + 1 + 0) / 3)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)
