from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss

from kamerton.core.records import Example, Place, Prediction
from kamerton.evaluate.calibration import calibrate, calibration_message, chance_error, fit_temperature, reliability
from kamerton.evaluate.temperature import at_temperature
from kamerton.plugins.metrics.brier import Brier
from kamerton.plugins.metrics.ece import Ece, bins
from kamerton.plugins.metrics.nll import Nll

NAMES = ("а", "б", "в")


def rows(golds: list[str]) -> list[Example]:
    return [Example(i, Place("rows.csv", i + 1), f"text {i}", gold) for i, gold in enumerate(golds)]


def drawn(seed: int, count: int, heat: float = 1.0) -> tuple[list[str], list[Prediction]]:
    """Draw right classes from a model's true probabilities; it says them as if its temperature were 1 / `heat`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, (count, len(NAMES)))
    true, said = softmax(logits, axis=1), softmax(heat * logits, axis=1)
    golds = [int(generator.choice(len(NAMES), p=row)) for row in true]
    predictions = [
        Prediction(i, NAMES[row.argmax()], float(row.max()), -math.log(row[gold]), 1, probabilities=tuple(row.tolist()))
        for i, (row, gold) in enumerate(zip(said, golds, strict=True))
    ]
    return [NAMES[gold] for gold in golds], predictions


def score(metric: object, golds: list[str], predictions: list[Prediction]) -> float:
    return float(metric.value(metric.statistics(golds, predictions).sum(axis=0)))


# ── metrics ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(20))
def test_brier_and_nll_agree_with_sklearn(seed: int) -> None:
    golds, predictions = drawn(seed, 50)
    probabilities = np.array([p.probabilities for p in predictions])
    assert score(Nll(), golds, predictions) == pytest.approx(log_loss(golds, probabilities, labels=NAMES), abs=1e-9)
    index = np.eye(3)[[NAMES.index(gold) for gold in golds]]
    brute = ((probabilities - index) ** 2).sum(axis=1).mean() / 2
    assert score(Brier(), golds, predictions) == pytest.approx(brute, abs=1e-12)


def test_brier_of_two_classes_is_sklearns() -> None:
    chances = np.random.default_rng(0).random(40)
    golds = ["да" if c > 0.4 else "нет" for c in np.random.default_rng(1).random(40)]
    predictions = [
        Prediction(i, "да" if c > 0.5 else "нет", max(c, 1 - c), -math.log(c if g == "да" else 1 - c), 1,
                   probabilities=(c, 1 - c))
        for i, (c, g) in enumerate(zip(chances, golds, strict=True))
    ]  # fmt: skip
    expected = brier_score_loss([gold == "да" for gold in golds], chances)
    assert score(Brier(), golds, predictions) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_ece_agrees_with_counting_in_bins_of_equally_many_rows(seed: int) -> None:
    golds, predictions = drawn(seed, 300, heat=2.0)
    order = sorted(range(300), key=lambda i: predictions[i].score)
    expected = 0.0
    for start in range(0, 300, 20):
        members = order[start : start + 20]
        sure = sum(predictions[i].score for i in members)
        right = sum(predictions[i].text == golds[i] for i in members)
        expected += abs(sure - right) / 300
    assert score(Ece(), golds, predictions) == pytest.approx(expected, abs=1e-12)


def test_equal_probabilities_share_a_bin() -> None:
    assert len(set(bins(np.array([0.5] * 40)))) == 1
    assert bins(np.array([0.9, 0.1, 0.5])).tolist() == [10, 0, 5]
    assert np.bincount(bins(np.random.default_rng(0).random(150)), minlength=15).tolist() == [10] * 15


@pytest.mark.parametrize("metric", [Ece(), Brier(), Nll()], ids=lambda m: type(m).__name__)
def test_rows_without_probabilities_are_not_counted(metric: object) -> None:
    golds, predictions = drawn(0, 30)
    more = [*predictions, Prediction(30, "а"), Prediction(31, "б")]
    assert score(metric, [*golds, "а", "а"], more) == pytest.approx(score(metric, golds, predictions), abs=1e-12)
    assert math.isnan(score(metric, ["а"], [Prediction(0, "а")]))


def test_a_sure_and_right_model_has_no_error_and_a_sure_and_wrong_one_has_all() -> None:
    right = [Prediction(i, "а", 1.0, 0.0, 1, probabilities=(1.0, 0.0)) for i in range(20)]
    wrong = [Prediction(i, "б", 1.0, 700.0, 1, probabilities=(0.0, 1.0)) for i in range(20)]
    assert [score(metric, ["а"] * 20, right) for metric in (Ece(), Brier(), Nll())] == [0, 0, 0]
    assert [score(metric, ["а"] * 20, wrong) for metric in (Ece(), Brier())] == [1, 1]


def test_what_chance_adds_to_the_error_is_told_and_exceeded_in_5_of_100() -> None:
    above, errors = 0, []
    for seed in range(200):
        golds, predictions = drawn(seed, 100)
        errors.append(score(Ece(), golds, predictions))
        above += errors[-1] > chance_error(predictions, 0.95, 400, seed)
    assert np.mean(errors) > 0.07  # though the probabilities are true
    assert above / 200 <= 0.08


# ── temperature ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_a_planted_temperature_is_found(heat: float) -> None:
    _, predictions = drawn(0, 4000, heat)
    assert fit_temperature(predictions) == pytest.approx(heat, rel=0.06)


def test_the_temperature_is_the_likeliest_one_beside_its_prior() -> None:
    golds, predictions = drawn(3, 80, heat=2.0)
    logs = np.log([p.probabilities for p in predictions])

    def loss(log_temperature: float) -> float:
        cooled = softmax(logs / math.exp(log_temperature), axis=1)
        return 80 * log_loss(golds, cooled, labels=NAMES) + (log_temperature / 0.5) ** 2 / 2

    expected = math.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x)
    assert fit_temperature(predictions) == pytest.approx(expected, rel=1e-4)


def test_a_few_right_rows_do_not_make_the_model_certain_of_everything() -> None:
    few = [Prediction(i, "а", 0.9, -math.log(0.9), 1, probabilities=(0.9, 0.1)) for i in range(10)]
    assert 0.4 < fit_temperature(few) < 1
    assert fit_temperature([Prediction(0, "а")]) == 1


def test_another_temperature_changes_probabilities_as_dividing_logits_does_and_no_answer() -> None:
    golds, predictions = drawn(1, 30)
    logits = np.log([p.probabilities for p in predictions]) + 5
    expected = softmax(logits / 1.7, axis=1)
    for i, (gold, before) in enumerate(zip(golds, predictions, strict=True)):
        after = at_temperature(before, 1.7)
        assert after.text == before.text
        assert after.probabilities == pytest.approx(expected[i], abs=1e-12)
        assert after.score == pytest.approx(expected[i].max(), abs=1e-12)
        assert after.loss == pytest.approx(-math.log(expected[i][NAMES.index(gold)]), abs=1e-9)
    assert at_temperature(Prediction(0, "а"), 1.7) == Prediction(0, "а")


def test_calibrating_an_overconfident_model_on_validation_rows_mends_test_rows() -> None:
    _, validation = drawn(0, 400, heat=3.0)
    golds, test = drawn(1, 600, heat=3.0)
    found = calibrate(validation, rows(golds), test, confidence=0.95, resamples=400, seed=0)
    assert found is not None
    assert (found.rows, found.temperature) == (400, fit_temperature(validation))
    assert found.before.ece.value > 0.1 > 2 * found.after.ece.value
    assert found.after.ece.value < found.before.ece.low
    assert found.after.nll.value < found.before.nll.low
    assert found.after.brier.value < found.before.brier.value
    assert "overconfident" in str(calibration_message(found))
    assert sum(bin.rows for bin in found.reliability) == 600
    assert found.reliability[-1].score > found.reliability[-1].right.high
    assert found.after.ece.value < found.chance < found.before.ece.value


def test_a_temperature_that_changes_nothing_is_not_spoken_of() -> None:
    _, validation = drawn(0, 400, heat=3.0)
    golds, test = drawn(1, 600, heat=3.0)
    found = calibrate(validation, rows(golds), test, confidence=0.95, resamples=100, seed=0)
    assert found is not None and calibration_message(found)
    assert calibration_message(replace(found, temperature=1.004)) is None
    assert calibration_message(replace(found, temperature=0.99, after=found.before)) is None


def test_answers_without_probabilities_are_not_calibrated() -> None:
    golds, test = drawn(1, 30)
    written = [Prediction(i, "text") for i in range(30)]
    once = {"confidence": 0.95, "resamples": 200, "seed": 0}
    assert calibrate([], rows(golds), test, **once) is None
    assert calibrate(test, rows(golds), written, **once) is None
    assert calibrate(written, rows(golds), test, **once) is None


def test_reliability_counts_right_answers_by_how_sure_they_were() -> None:
    predictions = [Prediction(i, "а", 0.6 if i < 10 else 0.9) for i in range(20)]
    low, high = reliability(rows(["а"] * 15 + ["б"] * 5), predictions, 0.95)
    assert (low.rows, low.score, low.right.value) == (10, pytest.approx(0.6), 1.0)
    assert (high.rows, high.score, high.right.value) == (10, pytest.approx(0.9), 0.5)
