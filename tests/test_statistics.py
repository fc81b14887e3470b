from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from kamerton.core.contracts import Metric
from kamerton.core.outcomes import Comparison
from kamerton.core.records import Prediction
from kamerton.plugins.metrics.accuracy import Accuracy
from kamerton.plugins.metrics.macro_f1 import MacroF1
from kamerton.plugins.metrics.mcc import Mcc
from kamerton.plugins.metrics.perplexity import Perplexity
from kamerton.statistics.comparison import holm, mcnemar_p, pair, paired_share_interval
from kamerton.statistics.intervals import Scored, bootstrap_interval, effective_rows, measures, wilson_interval
from kamerton.statistics.power import detectable_share, rows_for_score, rows_for_share, rows_needed
from kamerton.statistics.resampling import Block, bootstrap_values, grouped, swapped_p
from kamerton.statistics.seeds import repeated_difference

ONCE = {"confidence": 0.95, "resamples": 1000, "seed": 0}


class MeanScore:
    """The answers are numbers from 0 to 1, and the score is their mean."""

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        return np.array([[float(p.text), 1.0] for p in predictions])

    def value(self, totals: np.ndarray) -> np.ndarray:
        return totals[..., 0] / totals[..., 1]


def answers(texts: Sequence[object]) -> list[Prediction]:
    return [Prediction(i, str(text)) for i, text in enumerate(texts)]


def compare(
    metric: Metric,
    golds: Sequence[str],
    first: Sequence[Prediction],
    second: Sequence[Prediction],
    *,
    groups: Sequence[str] = (),
    confidence: float,
    resamples: int,
    seed: int,
) -> Comparison:
    [pairing] = pair(metric, golds, first, [second], groups=groups, resamples=resamples, seed=seed)
    return pairing.at(confidence)


def with_ones(scores: np.ndarray) -> np.ndarray:
    return np.stack([scores, np.ones(len(scores))], axis=1)


def mean_of(scores: np.ndarray) -> Block:
    return Block(with_ones(scores), MeanScore().value)


def permutation_p(first: Block, second: Block, resamples: int, seed: int) -> float:
    [p_value] = swapped_p(first, [second], resamples, seed)
    return p_value


# ── resampling ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rows", [1, 2, 7, 300])
def test_bootstrap_sums_equal_those_of_rows_drawn_one_by_one(rows: int) -> None:
    statistics = np.random.default_rng(1).normal(size=(rows, 5))
    weights = np.arange(5.0)
    [values] = bootstrap_values([Block(statistics, lambda totals: totals @ weights)], 40, seed=3)
    drawn = np.random.default_rng(3).integers(rows, size=(40, rows))
    assert values == pytest.approx([statistics[row].sum(axis=0) @ weights for row in drawn], abs=1e-10)


def test_bootstrap_draws_do_not_depend_on_how_they_are_split_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = with_ones(np.random.default_rng(1).random(50))
    whole = bootstrap_values([Block(statistics, MeanScore().value)], 300, seed=3)
    monkeypatch.setattr("kamerton.statistics.resampling.ELEMENTS", 777)
    assert whole == pytest.approx(bootstrap_values([Block(statistics, MeanScore().value)], 300, seed=3), abs=1e-12)


def test_bootstrap_interval_agrees_with_scipy_on_many_rows() -> None:
    scores = np.random.default_rng(2).beta(2, 5, 1500)
    ours = bootstrap_interval(mean_of(scores), 0.95, 10_000, 0)
    theirs = scipy_stats.bootstrap(
        (scores,), np.mean, n_resamples=10_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.05 * width
    assert abs(ours.high - theirs.high) < 0.05 * width


def test_bootstrap_interval_of_skewed_scores_leans_as_scipys_does_and_is_a_little_wider() -> None:
    scores = np.random.default_rng(2).lognormal(0, 1, 40)
    ours = bootstrap_interval(mean_of(scores), 0.95, 20_000, 0)
    theirs = scipy_stats.bootstrap(
        (scores,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    lean = (theirs.high - scores.mean()) / (scores.mean() - theirs.low)
    assert lean > 1.5
    assert (ours.high - ours.value) / (ours.value - ours.low) == pytest.approx(lean, rel=0.15)
    assert 1 < (ours.high - ours.low) / (theirs.high - theirs.low) < 1.15


def test_bootstrap_interval_of_a_biased_score_agrees_with_scipy() -> None:
    scores = np.random.default_rng(2).lognormal(0, 1, 60)
    statistics = np.stack([scores, scores**2, np.ones(60)], axis=1)

    def variance(totals: np.ndarray) -> np.ndarray:
        return totals[..., 1] / totals[..., 2] - (totals[..., 0] / totals[..., 2]) ** 2

    ours = bootstrap_interval(Block(statistics, variance), 0.95, 20_000, 0)
    theirs = scipy_stats.bootstrap(
        (scores,), np.var, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.value == pytest.approx(np.var(scores))
    assert ours.low == pytest.approx(theirs.low, rel=0.03)
    assert ours.high == pytest.approx(theirs.high, rel=0.08)


def test_bootstrap_interval_of_few_symmetric_scores_is_as_wide_as_students_t() -> None:
    scores = np.linspace(0, 1, 10)
    ours = bootstrap_interval(mean_of(scores), 0.95, 40_000, 0)
    student = 2 * scipy_stats.t.isf(0.025, 9) * scores.std(ddof=1) / math.sqrt(10)
    assert ours.high - ours.low == pytest.approx(student, rel=0.05)


def test_ten_thousand_resamples_of_two_thousand_rows_take_seconds() -> None:
    golds = [str(i % 20) for i in range(2000)]
    generator = np.random.default_rng(0)
    first, second = (answers([g if generator.random() < p else "0" for g in golds]) for p in (0.8, 0.7))
    start = time.process_time()
    compare(MacroF1(), golds, first, second, confidence=0.95, resamples=10_000, seed=0)
    assert time.process_time() - start < 8


# ── intervals ─────────────────────────────────────────────────────────────────────────────────


@given(rows=st.integers(1, 500), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=200, deadline=None)
def test_wilson_interval_agrees_with_statsmodels(rows: int, share: float, confidence: float) -> None:
    successes = round(share * rows)
    low, high = proportion_confint(successes, rows, alpha=1 - confidence, method="wilson")
    measure = wilson_interval(successes, rows, confidence)
    assert (measure.low, measure.high) == pytest.approx((low, high), abs=1e-12)


def test_intervals_of_right_or_wrong_rows_are_wilsons_even_when_all_are_right() -> None:
    golds = ["a"] * 30
    [measure] = measures([Scored(Accuracy(), Accuracy().statistics(golds, answers(golds)))], **ONCE)
    assert measure == wilson_interval(30, 30, 0.95)
    assert measure.low == pytest.approx(0.886, abs=5e-4)


@pytest.mark.parametrize(("rows", "share"), [(30, 0.5), (30, 0.9), (30, 0.95), (100, 0.95), (300, 0.8)])
def test_wilson_interval_covers_the_truth_at_least_93_times_in_100(rows: int, share: float) -> None:
    chances = scipy_stats.binom.pmf(np.arange(rows + 1), rows, share)
    intervals = [wilson_interval(k, rows, 0.95) for k in range(rows + 1)]
    assert sum(p for p, m in zip(chances, intervals, strict=True) if m.low <= share <= m.high) >= 0.93


@pytest.mark.parametrize("rows", [30, 100])
def test_bootstrap_interval_of_macro_f1_covers_the_truth(rows: int) -> None:
    metric, generator, hits, trials = MacroF1(), np.random.default_rng(0), 0, 300
    for trial in range(trials):
        golds = [str(g) for g in generator.integers(0, 2, rows)]
        texts = [g if generator.random() < 0.9 else str(1 - int(g)) for g in golds]
        scored = Scored(metric, metric.statistics(golds, answers(texts)))
        [measure] = measures([scored], confidence=0.95, resamples=500, seed=trial)
        hits += measure.low <= 0.9 <= measure.high
    assert hits / trials >= 0.93


@pytest.mark.parametrize(("rows", "first", "second", "both"), [(30, 0.1, 0.1, 0.7), (50, 0.02, 0.2, 0.7)])
def test_paired_share_interval_covers_the_true_difference(rows: int, first: float, second: float, both: float) -> None:
    table = np.random.default_rng(0).multinomial(rows, [first, second, 1 - first - second], size=4000)
    intervals = [paired_share_interval(int(b), int(c), rows, 0.95) for b, c, _ in table]
    assert np.mean([m.low <= first - second <= m.high for m in intervals]) >= 0.93


def test_paired_bootstrap_covers_the_true_difference() -> None:
    generator, hits, trials = np.random.default_rng(0), 0, 300
    for trial in range(trials):
        ease = generator.random(40)
        first, second = (answers(list(np.clip(ease + generator.normal(0, 0.2, 40), -1, 2))) for _ in range(2))
        found = compare(MeanScore(), [""] * 40, first, second, confidence=0.95, resamples=500, seed=trial)
        hits += found.low <= 0 <= found.high
    assert hits / trials >= 0.93


# ── rows in groups ────────────────────────────────────────────────────────────────────────────


def test_rows_of_one_group_are_summed_and_rows_without_one_stand_alone() -> None:
    statistics = np.arange(10.0).reshape(5, 2)
    sums = grouped(statistics, ["b", "", "a", "b", ""])
    assert sorted(map(tuple, sums)) == sorted([(0 + 6, 1 + 7), (4, 5), (2, 3), (8, 9)])
    assert grouped(statistics, ["a", "b", "", "", "c"]) is statistics
    assert grouped(statistics, []) is statistics


@pytest.mark.parametrize("metric", [Accuracy(), MacroF1(), MeanScore()], ids=lambda m: type(m).__name__)
def test_groups_of_one_row_change_nothing(metric: object) -> None:
    generator = np.random.default_rng(0)
    golds = [str(g) for g in generator.integers(0, 2, 50)]
    first, second = (answers([g if generator.random() < p else "0" for g in golds]) for p in (0.9, 0.7))
    alone = [str(i) for i in range(50)]
    assert compare(metric, golds, first, second, groups=alone, **ONCE) == compare(metric, golds, first, second, **ONCE)
    scored = [Scored(metric, metric.statistics(golds, first))]
    assert measures(scored, groups=alone, **ONCE) == measures(scored, **ONCE)


def documents(generator: np.random.Generator, count: int, size: int, share: float, alike: float) -> np.ndarray:
    """Draw rows that are right with a common `share`, and alike within each of `count` documents: `[count * size]`."""
    chances = generator.beta(share * (1 / alike - 1), (1 - share) * (1 / alike - 1), count)
    return (generator.random((count, size)) < chances[:, None]).ravel()


@pytest.mark.parametrize(("count", "share"), [(30, 0.7), (40, 0.9)])
def test_interval_of_a_share_in_groups_covers_the_truth_where_wilsons_of_the_rows_does_not(
    count: int, share: float
) -> None:
    generator, hits, naive = np.random.default_rng(0), 0, 0
    groups = [str(i // 5) for i in range(count * 5)]
    for _ in range(600):
        statistics = with_ones(documents(generator, count, 5, share, 0.5).astype(float))
        [found] = measures([Scored(Accuracy(), statistics)], groups=groups, **ONCE)
        [alone] = measures([Scored(Accuracy(), statistics)], **ONCE)
        hits, naive = hits + (found.low <= share <= found.high), naive + (alone.low <= share <= alone.high)
    assert hits / 600 >= 0.93
    assert naive / 600 < 0.85


def test_a_difference_in_groups_is_covered_and_seldom_called_proven_where_there_is_none() -> None:
    generator, hits, proven = np.random.default_rng(0), 0, 0
    groups, golds = [str(i // 5) for i in range(150)], ["1"] * 150
    for trial in range(200):
        first, second = (answers([str(int(x)) for x in documents(generator, 30, 5, 0.7, 0.5)]) for _ in range(2))
        found = compare(Accuracy(), golds, first, second, groups=groups, confidence=0.95, resamples=500, seed=trial)
        hits, proven = hits + (found.low <= 0 <= found.high), proven + (found.p_value < 0.05)
    assert hits / 200 >= 0.92
    assert proven / 200 <= 0.08


def test_effective_rows_are_all_of_them_without_likeness_and_the_groups_where_all_are_alike() -> None:
    assert effective_rows(0.5, math.sqrt(0.25 / 1000), 1000, 999, 0.95) == pytest.approx(1000, rel=0.01)
    assert effective_rows(0.5, math.sqrt(0.25 / 50), 1000, 50, 0.95) == pytest.approx(50, rel=0.06)
    assert effective_rows(1.0, 0.0, 1000, 50, 0.95) == 50


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("metric", [Accuracy(), MacroF1(), Mcc(), Perplexity()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("right", ["none", "all", "first"])
def test_a_handful_of_rows_gives_finite_and_honest_intervals(rows: int, metric: object, right: str) -> None:
    golds = ["ab"[i % 2] for i in range(rows)]
    correct = [right == "all" or (right == "first" and i == 0) for i in range(rows)]
    texts = [g if ok else "z" for g, ok in zip(golds, correct, strict=True)]
    first = [Prediction(i, t, 0.5, 0.3 + 0.1 * i, 1) for i, t in enumerate(texts)]
    second = [Prediction(i, "a", 0.5, 0.9, 1) for i in range(rows)]
    [measure] = measures([Scored(metric, metric.statistics(golds, first))], **ONCE)
    comparison = compare(metric, golds, first, second, **ONCE)
    figures = [measure.low, measure.value, measure.high, *vars(comparison).values()]
    assert all(map(math.isfinite, figures))
    assert measure.low <= measure.value <= measure.high
    assert comparison.low <= comparison.difference <= comparison.high
    if metric.unit_interval:
        assert measure.low >= 0
        assert measure.high <= 1
        assert measure.high - measure.low > 0.2
        assert comparison.high - comparison.low > 0.2
        assert comparison.minimum_detectable > 0.5


# ── tests ─────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_mcnemar_agrees_with_statsmodels(first_only: int, second_only: int) -> None:
    expected = mcnemar([[5, first_only], [second_only, 5]], exact=True).pvalue if first_only + second_only else 1.0
    assert mcnemar_p(first_only, second_only) == pytest.approx(min(1.0, expected), abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_permutation_p_agrees_with_scipys_exact_one(shift: float) -> None:
    generator = np.random.default_rng(5)
    first, second = generator.random(12) + shift, generator.random(12)
    exact = scipy_stats.permutation_test(
        (first, second), lambda x, y: np.mean(x) - np.mean(y), permutation_type="samples", n_resamples=10_000
    ).pvalue
    ours = permutation_p(mean_of(first), mean_of(second), 20_000, 0)
    assert ours == pytest.approx(exact, abs=0.015)


def test_permutation_p_of_macro_f1_agrees_with_swapping_answers_one_by_one() -> None:
    generator = np.random.default_rng(0)
    golds = [str(g) for g in generator.integers(0, 3, 25)]
    texts = [[g if generator.random() < p else "0" for g in golds] for p in (0.9, 0.5)]
    metric = MacroF1()

    def difference(first: Sequence[str], second: Sequence[str]) -> float:
        scores = [float(metric.value(metric.statistics(golds, answers(t)).sum(axis=0))) for t in (first, second)]
        return abs(scores[0] - scores[1])

    observed, extreme = difference(*texts), 0
    for _ in range(2000):
        swap = generator.integers(0, 2, len(golds))
        pairs = [(b, a) if s else (a, b) for a, b, s in zip(*texts, swap, strict=True)]
        extreme += difference([a for a, _ in pairs], [b for _, b in pairs]) >= observed - 1e-12
    ours = compare(metric, golds, answers(texts[0]), answers(texts[1]), **{**ONCE, "resamples": 5000}).p_value
    assert ours == pytest.approx((extreme + 1) / 2001, abs=0.02)


def test_permutation_rejects_a_true_null_hypothesis_in_about_5_of_100() -> None:
    generator = np.random.default_rng(0)
    pairs = [(mean_of(generator.random(30)), mean_of(generator.random(30))) for _ in range(400)]
    rejected = np.mean([permutation_p(a, b, 400, i) < 0.05 for i, (a, b) in enumerate(pairs)])
    assert rejected <= 0.08


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_holm_agrees_with_statsmodels(count: int) -> None:
    p_values = list(np.random.default_rng(count).random(count) ** 3)
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


@pytest.mark.parametrize("metric", [Accuracy(), MacroF1(), MeanScore(), Mcc()], ids=lambda m: type(m).__name__)
def test_identical_answers_differ_by_nothing_with_p_of_1(metric: object) -> None:
    golds = [str(i % 2) for i in range(60)]
    same = answers([str(int(i % 3 == 0)) for i in range(60)])
    comparison = compare(metric, golds, same, same, **ONCE)
    assert comparison.difference == 0
    assert comparison.p_value == 1
    assert comparison.low <= 0 <= comparison.high


def test_comparison_is_the_same_seen_from_the_other_side() -> None:
    golds = [str(i % 2) for i in range(80)]
    generator = np.random.default_rng(4)
    one, two = (answers([g if generator.random() < p else "0" for g in golds]) for p in (0.9, 0.6))
    there, back = (compare(Accuracy(), golds, *pair, **ONCE) for pair in ((one, two), (two, one)))
    assert (there.difference, there.low, there.high) == pytest.approx((-back.difference, -back.high, -back.low))
    assert there.p_value == back.p_value


# ── seeds ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("spread", "rows"), [(0.0, 100), (0.03, 300), (0.05, 300)])
def test_interval_over_seeds_covers_the_mean_of_the_recipe(spread: float, rows: int) -> None:
    """Trainings with other seeds are 80% right on average, with an SD of `spread`; the other contender 75%."""
    generator, hits = np.random.default_rng(0), 0
    for _ in range(400):
        ease = generator.random(rows)
        levels = np.clip(0.8 + generator.normal(0, spread, 3), 0, 1)
        repeats = [answers([str(int(x)) for x in ease < level]) for level in levels]
        other = answers([str(int(x)) for x in generator.random(rows) < 0.75])
        found = repeated_difference(Accuracy(), ["1"] * rows, repeats, other, confidence=0.95)
        hits += found.low <= 0.05 <= found.high
    assert hits / 400 >= 0.93


def test_interval_over_seeds_that_all_agree_is_that_of_one_training() -> None:
    generator, golds = np.random.default_rng(0), ["1"] * 300
    trained, other = (answers([str(int(x)) for x in generator.random(300) < p]) for p in (0.9, 0.7))
    found = repeated_difference(Accuracy(), golds, [trained] * 3, other, confidence=0.95)
    alone = compare(Accuracy(), golds, trained, other, **ONCE)
    assert (found.value, found.low, found.high) == pytest.approx((alone.difference, alone.low, alone.high), abs=0.005)


# ── power ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("disagreement", "difference", "rows"),
    [(0.05, 0.02, 979), (0.1, 0.05, 312), (0.2, 0.03, 1742), (0.2, 0.1, 155), (0.3, 0.1, 234)],
)
def test_detectable_share_reproduces_connors_sample_sizes(disagreement: float, difference: float, rows: int) -> None:
    assert detectable_share(disagreement, rows) == pytest.approx(difference, rel=5e-3)


def test_a_detectable_share_is_shown_in_about_80_of_100_sets() -> None:
    rows, disagreement = 400, 0.2
    difference = detectable_share(disagreement, rows)
    chances = [(disagreement + difference) / 2, (disagreement - difference) / 2, 1 - disagreement]
    table = np.random.default_rng(0).multinomial(rows, chances, size=1500)
    assert np.mean([mcnemar_p(int(b), int(c)) < 0.05 for b, c, _ in table]) == pytest.approx(0.8, abs=0.05)


def test_without_any_disagreement_only_a_large_difference_could_be_shown() -> None:
    difference = detectable_share(0.0, 100)
    assert 0.06 < difference < 0.1  # six rows all one way are the fewest that give p < 0.05
    assert detectable_share(0.0, 3) == 1


def test_a_detectable_difference_of_means_is_shown_in_about_80_of_100_sets() -> None:
    generator, metric, golds = np.random.default_rng(0), MeanScore(), [""] * 60
    scores = generator.normal(0.5, 0.1, (2, 60))
    planned = compare(metric, golds, *(answers(row) for row in scores), **ONCE).minimum_detectable
    shown = 0
    for trial in range(300):
        first, second = generator.normal(0.5, 0.1, (2, 60))
        shown += permutation_p(mean_of(first + planned), mean_of(second), 400, trial) < 0.05
    assert shown / 300 == pytest.approx(0.8, abs=0.15)


@pytest.mark.parametrize(
    ("disagreement", "difference", "rows"),
    [(0.05, 0.02, 979), (0.1, 0.05, 312), (0.2, 0.03, 1742), (0.2, 0.1, 155), (0.3, 0.1, 234)],
)
def test_rows_for_a_share_are_connors_and_undo_what_is_detectable(
    disagreement: float, difference: float, rows: int
) -> None:
    assert rows_for_share(difference, disagreement) == pytest.approx(rows, abs=1)
    assert detectable_share(disagreement, rows_for_share(difference, disagreement)) <= difference
    assert rows_for_share(-difference, disagreement) == rows_for_share(difference, disagreement)


def test_half_the_difference_needs_four_times_the_rows() -> None:
    assert rows_for_score(0.04, 0.04, 500) == 500
    assert rows_for_score(0.02, 0.04, 500) == 2000


def test_rows_needed_grows_with_the_square_of_what_is_missing() -> None:
    golds = ["a"] * 100
    first = answers(["a"] * 90 + ["b"] * 10)
    second = answers(["b"] * 7 + ["a"] * 80 + ["b"] * 13)
    comparison = compare(Accuracy(), golds, first, second, **ONCE)
    needed = rows_needed(comparison, 100)
    assert needed is not None
    assert detectable_share(0.1 + 0.03, needed) <= comparison.difference * 1.1
    assert rows_needed(compare(Accuracy(), golds, first, first, **ONCE), 100) is None
