"""Metrics of numbers, against scipy and scikit-learn."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from kamerton.core import registry
from kamerton.core.contracts import Metric
from kamerton.core.records import Prediction
from kamerton.plugins.metrics.mae import Mae
from kamerton.plugins.metrics.pearson import Pearson
from kamerton.plugins.metrics.rmse import Rmse
from kamerton.plugins.metrics.spearman import Spearman
from kamerton.statistics.comparison import pair

METRICS = [registry.choose("metrics", name)() for name in ("spearman", "pearson", "mae", "rmse")]
CORRELATIONS = [Spearman(), Pearson()]


def answers(numbers: Sequence[float]) -> list[Prediction]:
    return [Prediction(i, repr(float(number))) for i, number in enumerate(numbers)]


def golds(numbers: Sequence[float]) -> list[str]:
    return [repr(float(number)) for number in numbers]


def score(metric: Metric, wanted: Sequence[float], given: Sequence[float]) -> float:
    return float(metric.value(metric.statistics(golds(wanted), answers(given)).sum(axis=0)))


def case(seed: int) -> tuple[list[float], list[float]]:
    """Draw numbers that go together more or less, with many ties in every third case."""
    chance = random.Random(seed)
    rows, scale, shift = chance.randint(3, 80), 10 ** chance.uniform(-3, 5), chance.uniform(-1, 1) * 10
    wanted = [chance.gauss(0, 1) for _ in range(rows)]
    given = [number + chance.gauss(0, chance.choice([0.1, 1, 5])) for number in wanted]
    if seed % 3 == 0:
        wanted, given = ([float(round(number)) for number in part] for part in (wanted, given))
    wanted, given = [*wanted, 7.0, 8.0], [*given, 9.0, 6.0]  # never constant
    return [scale * (n + shift) for n in wanted], [scale * (n + shift) for n in given]


@pytest.mark.parametrize(
    ("metric", "reference"),
    [
        (Spearman(), lambda g, p: stats.spearmanr(g, p).statistic),
        (Pearson(), lambda g, p: stats.pearsonr(g, p).statistic),
        (Mae(), mean_absolute_error),
        (Rmse(), root_mean_squared_error),
    ],
    ids=["spearman", "pearson", "mae", "rmse"],
)
def test_metrics_of_numbers_agree_with_scipy_and_sklearn(metric: Metric, reference: object) -> None:
    for seed in range(250):
        wanted, given = case(seed)
        assert score(metric, wanted, given) == pytest.approx(reference(wanted, given), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_the_gold_numbers_are_perfect_and_order_means_nothing(metric: Metric) -> None:
    wanted, given = case(5)
    assert score(metric, wanted, wanted) == pytest.approx(1 if metric.higher_is_better else 0, abs=1e-12)
    assert score(metric, wanted[::-1], given[::-1]) == pytest.approx(score(metric, wanted, given), rel=1e-12)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_an_answer_that_is_no_number_leaves_no_score(metric: Metric) -> None:
    predictions = [*answers([1.0, 2.0]), Prediction(2, "много")]
    assert math.isnan(float(metric.value(metric.statistics(golds([1, 2, 3]), predictions).sum(axis=0))))


@pytest.mark.parametrize("metric", CORRELATIONS, ids=lambda metric: type(metric).__name__)
@pytest.mark.parametrize("constant", [0.1, -3.0, 1e6])
def test_a_constant_answer_has_no_correlation(metric: Metric, constant: float) -> None:
    assert score(metric, [1.1, 2.2, 3.3, 4.7], [constant] * 4) == 0


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_a_comparison_of_two_contenders_gives_the_difference_of_their_own_scores(metric: Metric) -> None:
    for seed in range(20):
        wanted, given = case(seed)
        other = [number + random.Random(seed).gauss(0, 30) for number in given]
        [pairing] = pair(metric, golds(wanted), answers(given), [answers(other)], resamples=200, seed=0)
        expected = score(metric, wanted, given) - score(metric, wanted, other)
        assert pairing.at(0.95).difference == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_spearman_of_resamples_lies_about_as_that_of_ranks_counted_anew() -> None:
    wanted = np.random.default_rng(0).normal(size=150)
    given = wanted + np.random.default_rng(1).normal(size=150)
    statistics, chance = Spearman().statistics(golds(wanted), answers(given)), np.random.default_rng(2)
    drawn = chance.integers(150, size=(500, 150))
    kept = Spearman().value(statistics[drawn].sum(axis=1))
    anew = np.array([stats.spearmanr(wanted[rows], given[rows]).statistic for rows in drawn])
    assert np.abs(kept - anew).max() < 0.05
    assert kept.std() == pytest.approx(anew.std(), rel=0.1)
