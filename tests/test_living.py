from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.special import beta

from kamerton.core.errors import DataError, RecipeError
from kamerton.feedback.living import judge_log
from kamerton.feedback.simulate import simulate
from kamerton.statistics import sequential
from kamerton.statistics.sequential import confidence_sequence, log_e_values, match_arms

SIMULATED = {"disagreement": 0.2, "looks": 1000, "trials": 2000, "confidence": 0.95, "seed": 0}


def write(path: Path, lines: list[object]) -> Path:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


# ── e-values ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 2), (30, 31), (200, 150)])
def test_e_value_of_wins_and_losses_is_the_beta_binomial_one(wins: int, losses: int) -> None:
    outcomes = np.random.default_rng(0).permutation([1.0] * wins + [-1.0] * losses + [0.0] * 7)
    expected = 2.0 ** (wins + losses) * beta(1 + wins, 1 + losses) / beta(1, 1)
    assert math.exp(log_e_values(outcomes)[-1]) == pytest.approx(expected, rel=1e-9)


def test_e_value_of_scores_is_the_integral_over_all_stakes() -> None:
    differences = np.random.default_rng(0).uniform(-0.6, 1, 12)
    expected, _ = quad(lambda stake: np.prod(1 + stake * differences) / 2, -1, 1)
    assert math.exp(log_e_values(differences)[-1]) == pytest.approx(expected, rel=1e-9)


def test_the_table_of_stakes_agrees_with_the_closed_form_however_it_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = np.random.default_rng(0).choice([1.0, 0.0, -1.0], 200, p=[0.3, 0.5, 0.2])
    exact = log_e_values(outcomes)
    assert sequential._log_path(outcomes) == pytest.approx(exact, abs=1e-9)
    monkeypatch.setattr(sequential, "ELEMENTS", 5000)
    assert sequential._log_path(outcomes) == pytest.approx(exact, abs=1e-9)


def test_an_e_value_is_fair_its_mean_under_the_claim_is_1() -> None:
    paths = np.array(np.meshgrid(*[[1.0, -1.0]] * 10)).reshape(10, -1).T
    assert np.exp(log_e_values(paths)).mean(axis=0) == pytest.approx(np.ones(10), abs=1e-12)
    scores = np.array(np.meshgrid(*[[0.5, -0.25, -0.25]] * 6)).reshape(6, -1).T
    assert np.exp(log_e_values(scores)).mean(axis=0) == pytest.approx(np.ones(6), abs=1e-9)


# ── confidence sequences ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["wins", "scores"])
def test_the_interval_holds_exactly_the_means_that_no_gambler_grew_rich_against(kind: str) -> None:
    generator = np.random.default_rng(0)
    differences = generator.choice([1.0, 0.0, -1.0], 60) if kind == "wins" else generator.uniform(-0.5, 0.9, 60)
    found = confidence_sequence(differences, 0.95)
    assert found.value == pytest.approx(differences.mean())

    def wealth(mean: float) -> float:
        up, _ = quad(lambda t: np.prod(1 + t / (1 + mean) * (differences - mean)), 0, 1)
        down, _ = quad(lambda t: np.prod(1 - t / (1 - mean) * (differences - mean)), 0, 1)
        return (up + down) / 2

    assert (wealth(found.low), wealth(found.high)) == pytest.approx((20, 20), rel=1e-6)
    assert wealth(found.value) < 20


def test_the_interval_covers_the_truth_at_all_looks_at_once() -> None:
    generator, missed = np.random.default_rng(0), 0
    for _ in range(50):
        differences = generator.choice([1.0, 0.0, -1.0], 300, p=[0.3, 0.5, 0.2])
        looks = [confidence_sequence(differences[:n], 0.95) for n in (5, 20, 80, 300)]
        missed += any(not one.low <= 0.1 <= one.high for one in looks)
    assert missed / 50 <= 0.05


@pytest.mark.parametrize("differences", [[1.0], [-1.0] * 5, [0.0] * 9, [1.0] * 40, [0.3]])
def test_intervals_of_outcomes_that_are_all_alike_are_finite_and_hold_them(differences: list[float]) -> None:
    found = confidence_sequence(np.array(differences), 0.95)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0.1


# ── arms that are not paired ──────────────────────────────────────────────────────────────────


def test_arms_of_one_size_are_matched_in_order() -> None:
    assert match_arms([True, False, False, True], [1, 0, 0.5, 0.25]).tolist() == [1, -0.25]


def test_many_outcomes_of_one_arm_are_matched_by_their_mean_with_each_of_the_other() -> None:
    in_first = [True, True, True, False] * 20
    differences = match_arms(in_first, [1, 0.5, 0, 0.25] * 20)
    assert len(differences) == 20
    assert differences == pytest.approx(np.full(20, 0.25), abs=0.26)
    assert differences.mean() == pytest.approx(0.25, abs=0.02)


def test_matched_differences_of_uneven_arms_are_fair() -> None:
    generator, means = np.random.default_rng(0), []
    for _ in range(300):
        in_first = generator.random(200) < 0.8
        means.append(match_arms(in_first.tolist(), (generator.random(200) < 0.6).astype(float).tolist()).mean())
    assert np.mean(means) == pytest.approx(0, abs=4 * np.std(means) / math.sqrt(300))


def test_peeking_at_unpaired_arms_seldom_cries_wolf() -> None:
    generator, alarms = np.random.default_rng(0), 0
    for _ in range(400):
        in_first = generator.random(400) < 0.7
        differences = match_arms(in_first.tolist(), (generator.random(400) < 0.3).astype(float).tolist())
        alarms += log_e_values(differences).max() >= math.log(20)
    assert alarms / 400 <= 0.05


# ── the simulator ─────────────────────────────────────────────────────────────────────────────


def test_a_thousand_looks_in_two_thousand_logs_cry_wolf_in_at_most_5_of_100() -> None:
    nothing = simulate(0.0, **SIMULATED)
    assert nothing.found <= 0.05
    assert nothing.found_fixed <= 0.05
    assert nothing.found_peeking > 0.2


def test_a_fixed_test_finds_what_counting_all_its_outcomes_gives() -> None:
    looks, disagreement = SIMULATED["looks"], SIMULATED["disagreement"]
    region = {}
    for pairs in range(150, 251):  # all but one log in ten thousand
        wins = np.arange(pairs + 1)
        region[pairs] = wins[2 * stats.binom.cdf(np.minimum(wins, pairs - wins), pairs, 0.5) < 0.05]
    for difference in (0.0, 0.03, 0.06):
        win = (1 + difference / disagreement) / 2
        power = sum(
            stats.binom.pmf(pairs, looks, disagreement) * stats.binom.pmf(wins, pairs, win).sum()
            for pairs, wins in region.items()
        )
        assert simulate(difference, **SIMULATED).found_fixed == pytest.approx(power, abs=0.03)


def test_power_is_that_of_the_published_simulation() -> None:
    """6, 8 and 12 points of 20 that disagree: found in 89, 100 and 100 of 100, half of them by 438, 236 and 97."""
    found = [simulate(difference, **SIMULATED) for difference in (0.06, 0.08, 0.12)]
    assert [one.found for one in found] == pytest.approx([0.89, 1.0, 1.0], abs=0.03)
    assert [one.median_look for one in found] == pytest.approx([438, 236, 97], rel=0.12)


def test_a_difference_larger_than_the_disagreement_cannot_be_simulated() -> None:
    with pytest.raises(RecipeError, match="cannot differ by"):
        simulate(0.3, **SIMULATED)


# ── logs ──────────────────────────────────────────────────────────────────────────────────────


def test_a_log_of_winners_is_decided_at_the_pair_where_the_e_value_reaches_20(tmp_path: Path) -> None:
    lines = [{"winner": "новая"}] * 12 + [{"winner": "tie", "id": 7}] + [{"winner": "старая"}]
    verdict = judge_log(write(tmp_path / "log.jsonl", lines))
    assert (verdict.first, verdict.second) == ("новая", "старая")
    assert (verdict.wins, verdict.losses, verdict.ties, verdict.pairs) == (12, 1, 1, 14)
    first = next(n for n in range(1, 20) if 2**n / (n + 1) >= 20)
    assert (verdict.decision, verdict.decided_at) == ("first is better", first)
    assert verdict.p_value == pytest.approx(13 / 2**12)
    assert verdict.standing == "better"
    swapped = judge_log(tmp_path / "log.jsonl", first="старая")
    assert (swapped.decision, swapped.difference) == ("second is better", -verdict.difference)


def test_one_arm_may_win_always(tmp_path: Path) -> None:
    verdict = judge_log(write(tmp_path / "log.jsonl", [{"winner": "a"}] * 20))
    assert (verdict.decision, verdict.second, verdict.difference) == ("first is better", "the other", 1)


def test_the_arm_that_is_asked_for_must_be_in_the_log(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", [{"winner": "new"}, {"winner": "old"}])
    with pytest.raises(DataError, match=r"no arm 'nosuch'\s+→ name one of its arms: 'new', 'old'"):
        judge_log(path, first="nosuch")
    never_won = judge_log(write(tmp_path / "one.jsonl", [{"winner": "new"}] * 3), first="old")
    assert (never_won.first, never_won.second, never_won.losses) == ("old", "new", 3)


def test_scores_and_outcomes_of_arms_are_judged(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    scores = [{"scores": {"a": s, "b": min(1.0, s + 0.2)}} for s in generator.random(300) * 0.8]
    verdict = judge_log(write(tmp_path / "scores.jsonl", scores))
    assert (verdict.decision, verdict.pairs) == ("second is better", 300)
    arms = [
        {"arm": arm, "outcome": bool(generator.random() < {"a": 0.6, "b": 0.3}[arm])}
        for arm in generator.choice(["a", "b"], 600)
    ]
    verdict = judge_log(write(tmp_path / "arms.jsonl", arms), first="b")
    assert (verdict.first, verdict.decision) == ("b", "second is better")
    assert verdict.low < -0.3 < verdict.high < 0


def test_no_difference_within_the_margin_is_equivalence_in_time(tmp_path: Path) -> None:
    lines = [{"winner": name} for name in ["a", "b", *["tie"] * 38] * 200]
    verdict = judge_log(write(tmp_path / "log.jsonl", lines))
    assert (verdict.decision, verdict.standing) == ("not decided", "equivalent")


def test_every_wrong_line_is_told_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"winner": "a"}\n{"winner": 3}\n\nnot json\n{"arm": "a", "outcome": 1}\n{"winner": "b"}\n'
        '{"winner": "c"}\n[1]\n',
        encoding="utf-8",
    )
    with pytest.raises(DataError) as refused:
        judge_log(path)
    told = {str(fault.place).removeprefix(f"{path}:"): str(fault.rule) for fault in refused.value.faults}
    assert told.keys() == {"2", "4:1", "5", "7", "8"}
    assert "got 3" in told["2"]
    assert "the lines before have 'winner', this one has 'arm'" in told["5"]
    assert "a third name beside 'a' and 'b'" in told["7"]


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [{"winner": "tie"}],
        [{"arm": "a", "outcome": 1}],
        [{"arm": "a", "outcome": 2}, {"arm": "b", "outcome": 1}],
        [{"arm": "a"}],
        [{"scores": {"a": 1}}],
        [{"scores": {"a": 1, "b": "x"}}],
        [{"scores": {"a": 1, "b": float("nan")}}],
        [{"winner": "a", "arm": "b", "outcome": 1}],
    ],
)
def test_a_log_that_cannot_be_judged_is_refused(tmp_path: Path, lines: list[object]) -> None:
    with pytest.raises(DataError, match="→"):
        judge_log(write(tmp_path / "log.jsonl", lines))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        judge_log(tmp_path / "none.jsonl")
    (tmp_path / "latin").write_bytes(b'{"winner": "\xe9"}')
    with pytest.raises(DataError, match="UTF-8"):
        judge_log(tmp_path / "latin")
