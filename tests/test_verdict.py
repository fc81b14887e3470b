from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.stats import binomtest, triang

from kamerton.core.errors import RunError
from kamerton.core.outcomes import Answers, Comparison, ContenderKind, Verdict
from kamerton.core.records import Example, Place, Prediction
from kamerton.evaluate.score import measure, score
from kamerton.evaluate.verdict import decide, judge, stand
from kamerton.report.verdict_text import Found, reason

ONCE = {"confidence": 0.95, "resamples": 2000, "seed": 0}


def rows(golds: Sequence[str]) -> list[Example]:
    return [Example(i, Place("rows.csv", i + 1), f"text {i}", gold) for i, gold in enumerate(golds)]


def contender(name: str, kind: ContenderKind, texts: Sequence[str], losses: Sequence[float] | None = None) -> Answers:
    known = losses or [None] * len(texts)
    predictions = (
        Prediction(i, text, None, loss, None if loss is None else 1)
        for i, (text, loss) in enumerate(zip(texts, known, strict=True))
    )
    return Answers(name, kind, tuple(predictions), 1.5)


def right(count: int, total: int, start: int = 0) -> list[str]:
    """Answers to rows that are all "a": `count` right ones from `start` on."""
    return ["a" if start <= i < start + count else "b" for i in range(total)]


def verdict_on(examples: Sequence[Example], answers: Sequence[Answers], metric: str) -> Verdict:
    contenders = score(examples, answers, [metric], **ONCE)
    verdict = judge(examples, answers, contenders, metric, **ONCE)
    return replace(verdict, reason=reason(Found(verdict, contenders, metric, len(examples), ONCE["confidence"])))


# ── scores ────────────────────────────────────────────────────────────────────────────────────


def test_every_contender_is_scored_in_every_metric_it_allows() -> None:
    examples = rows(["a", "b"] * 20)
    answers = [
        contender("tuned model", "tuned", ["a", "b"] * 20, [0.1] * 40),
        contender("majority class", "trivial", ["a"] * 40),
    ]
    tuned, trivial = score(examples, answers, ["macro-f1", "accuracy", "perplexity"], **ONCE)
    assert list(tuned.metrics) == ["macro-f1", "accuracy", "perplexity"]
    assert list(trivial.metrics) == ["macro-f1", "accuracy"]
    assert (trivial.name, trivial.kind, trivial.seconds) == ("majority class", "trivial", 1.5)
    assert trivial.metrics["macro-f1"].value == pytest.approx(1 / 3)
    wilson = binomtest(20, 40).proportion_ci(method="wilson")
    assert (trivial.metrics["accuracy"].low, trivial.metrics["accuracy"].high) == pytest.approx(tuple(wilson))


def test_scores_while_training_are_those_of_the_test_without_intervals() -> None:
    examples = rows(["a", "b", "c"] * 10)
    one = contender("tuned model", "tuned", ["a", "b", "b"] * 10)
    [final] = score(examples, [one], ["macro-f1", "mcc", "perplexity"], **ONCE)
    plain = measure(examples, one.predictions, ["macro-f1", "mcc", "perplexity"])
    assert plain == {name: m.value for name, m in final.metrics.items()}
    assert "perplexity" not in plain


# ── verdicts ──────────────────────────────────────────────────────────────────────────────────


def test_a_planted_gain_ships() -> None:
    answers = [
        contender("TF-IDF + logistic regression", "classic", right(168, 200)),
        contender("majority class", "trivial", right(100, 200)),
        contender("tuned model", "tuned", right(183, 200)),
    ]
    verdict = verdict_on(rows(["a"] * 200), answers, "accuracy")
    assert verdict.decision == "ship"
    assert verdict.against == "TF-IDF + logistic regression"
    assert verdict.difference == pytest.approx(0.075)
    assert verdict.p_value == pytest.approx(binomtest(0, 15).pvalue)
    assert str(verdict.reason) == (
        "On 200 test rows the tuned model is right 91.5% of the time against 84.0% for TF-IDF + logistic regression: "
        f"7.5 points better (95% interval {100 * verdict.low:.1f} to {100 * verdict.high:.1f}, p < 0.001), so use it."
    )


def test_a_gain_that_chance_could_make_is_not_proven_and_says_what_would_prove_it() -> None:
    answers = [
        contender("tuned model", "tuned", right(160, 200, 20)),
        contender("base model", "base", right(154, 200, 0)),
    ]
    verdict = verdict_on(rows(["a"] * 200), answers, "accuracy")
    assert verdict.decision == "not proven"
    assert verdict.low < 0 < verdict.high
    assert "3.0 points better" in str(verdict.reason)
    assert f"show a difference of {100 * verdict.minimum_detectable:.1f} points or more" in str(verdict.reason)
    assert "proving 3.0 points takes about 2," in str(verdict.reason)


@pytest.mark.parametrize("tuned", [60, 120, 150])
def test_a_tuned_model_that_is_no_better_does_not_ship(tuned: int) -> None:
    answers = [
        contender("tuned model", "tuned", right(tuned, 200)),
        contender("few-shot prompt", "prompt", right(150, 200)),
    ]
    verdict = verdict_on(rows(["a"] * 200), answers, "accuracy")
    assert verdict.decision == "do not ship"
    assert str(verdict.reason).endswith("so keep few-shot prompt.")


@pytest.mark.parametrize("metric", ["accuracy", "macro-f1", "mcc", "chrf", "rouge-l", "token-f1", "perplexity"])
@pytest.mark.parametrize("count", [1, 2, 5, 50])
def test_identical_answers_never_ship(metric: str, count: int) -> None:
    chance = random.Random(count)
    golds = chance.choices(["да", "нет"], k=count)
    texts, losses = chance.choices(["да", "нет"], k=count), [chance.random() for _ in range(count)]
    answers = [contender("tuned model", "tuned", texts, losses), contender("base model", "base", texts, losses)]
    if metric in ("macro-f1", "mcc") and len(set(golds)) == 1:
        with pytest.raises(RunError, match="needs a tuned model with a value in it"):
            verdict_on(rows(golds), answers, metric)
        return
    verdict = verdict_on(rows(golds), answers, metric)
    assert (verdict.decision, verdict.difference, verdict.p_value) == ("do not ship", 0, 1)
    assert "no difference" in str(verdict.reason)
    json.dumps(asdict(verdict), allow_nan=False)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_handful_of_test_rows_proves_nothing(count: int) -> None:
    for metric in ("accuracy", "macro-f1", "chrf")[:: 1 if count > 1 else 2]:
        golds = ["ab"[at % 2] for at in range(count)]
        answers = [contender("tuned model", "tuned", golds), contender("base model", "base", ["c"] * count)]
        assert verdict_on(rows(golds), answers, metric).decision == "not proven"


def test_chance_alone_ships_in_few_of_a_hundred_runs() -> None:
    chance, shipped = random.Random(0), 0
    for _ in range(200):
        texts = [["a" if chance.random() < 0.7 else "b" for _ in range(60)] for _ in range(2)]
        answers = [contender("tuned model", "tuned", texts[0]), contender("base model", "base", texts[1])]
        shipped += verdict_on(rows(["a"] * 60), answers, "accuracy").decision == "ship"
    assert shipped <= 8


def contest(chance: random.Random, gain: float, others: int, count: int) -> Verdict:
    """Judge a model that is right 75% of the time and `gain` more, on the same hard rows, against such without."""
    bars = triang.ppf([0.75 + gain, *[0.75] * others], 0.5)
    ease = [chance.random() for _ in range(count)]
    texts = [["a" if 0.5 * e + 0.5 * chance.random() < bar else "b" for e in ease] for bar in bars.tolist()]
    kinds: list[ContenderKind] = ["tuned", *["prompt"] * others]
    answers = [contender(f"{i}", kind, text) for i, (kind, text) in enumerate(zip(kinds, texts, strict=True))]
    return verdict_on(rows(["a"] * count), answers, "accuracy")


@pytest.mark.parametrize(("others", "count"), [(1, 100), (3, 200)])
def test_twice_the_stated_smallest_difference_ships_in_80_of_100_and_none_in_less_than_3(
    others: int, count: int
) -> None:
    chance = random.Random(0)
    nothing = [contest(chance, 0.0, others, count) for _ in range(200)]
    assert np.mean([one.decision == "ship" for one in nothing]) <= 0.025
    stated = float(np.mean([one.minimum_detectable for one in nothing]))
    won = [contest(chance, min(2 * stated, 0.24), others, count).decision == "ship" for _ in range(100)]
    assert np.mean(won) >= 0.8


def test_lower_perplexity_is_better_and_contenders_without_losses_do_not_count() -> None:
    chance = random.Random(0)
    low, high = ([chance.gauss(mean, 0.2) for _ in range(80)] for mean in (1.0, 1.5))
    answers = [
        contender("tuned model", "tuned", ["x"] * 80, low),
        contender("base model", "base", ["x"] * 80, high),
        contender("copy of the input", "trivial", ["a"] * 80),
    ]
    verdict = verdict_on(rows(["a"] * 80), answers, "perplexity")
    assert (verdict.decision, verdict.against) == ("ship", "base model")
    assert 0 < verdict.low < verdict.difference < verdict.high
    assert "reaches 2.68 in perplexity against 4.53 for base model" in str(verdict.reason)
    swapped = [replace(answers[0], kind="base", name="base model"), replace(answers[1], kind="tuned", name="tuned")]
    assert verdict_on(rows(["a"] * 80), swapped, "perplexity").decision == "do not ship"


def test_a_planted_gain_in_macro_f1_ships_and_a_planted_loss_does_not() -> None:
    chance = random.Random(1)
    golds = chance.choices(["a", "b", "c"], weights=[7, 2, 1], k=300)
    better, worse = ([g if chance.random() < p else "a" for g in golds] for p in (0.9, 0.5))
    for texts, other, decision in ((better, worse, "ship"), (worse, better, "do not ship")):
        answers = [contender("tuned model", "tuned", texts), contender("base model", "base", other)]
        assert verdict_on(rows(golds), answers, "macro-f1").decision == decision


@pytest.mark.parametrize(
    ("difference", "low", "p_value", "decision"),
    [
        (0.1, 0.01, 0.01, "ship"),
        (0.1, 0.01, 0.06, "not proven"),
        (0.1, 0.0, 0.01, "not proven"),
        (0.1, -0.01, 0.2, "not proven"),
        (0.0, -0.1, 1.0, "do not ship"),
        (-0.01, -0.1, 0.5, "do not ship"),
    ],
)
def test_the_rule_is_the_documented_one(difference: float, low: float, p_value: float, decision: str) -> None:
    assert decide(Comparison(difference, low, 0.3, p_value, 0.1), 0.95) == decision


def test_the_tuned_model_has_to_beat_every_contender_not_only_the_highest_scorer() -> None:
    twin = ["a" if i >= 8 else "b" for i in range(172)] + ["b"] * 28
    stranger = ["b"] * 36 + ["a"] * 163 + ["b"]
    answers = [
        contender("tuned model", "tuned", right(172, 200)),
        contender("twin", "classic", twin),
        contender("stranger", "prompt", stranger),
    ]
    alone = verdict_on(rows(["a"] * 200), answers[:2], "accuracy")
    assert alone.decision == "ship"
    verdict = verdict_on(rows(["a"] * 200), answers, "accuracy")
    assert (verdict.decision, verdict.against) == ("not proven", "twin")
    assert verdict.difference == pytest.approx(0.04)
    assert verdict.p_value == pytest.approx(binomtest(27, 63).pvalue)
    assert "least sure against stranger" in str(verdict.reason)
    assert [one.name for one in verdict.comparisons] == ["twin", "stranger"]
    assert verdict.comparisons[0].adjusted_p == pytest.approx(2 * binomtest(0, 8).pvalue)


def test_against_many_equals_chance_ships_no_more_often_than_against_one() -> None:
    chance, shipped = random.Random(0), 0
    for _ in range(200):
        texts = [["a" if chance.random() < 0.7 else "b" for _ in range(60)] for _ in range(5)]
        names = ["tuned model", "one", "two", "three", "four"]
        kinds: list[ContenderKind] = ["tuned", "base", "prompt", "prompt", "classic"]
        answers = [contender(*three) for three in zip(names, kinds, texts, strict=True)]
        shipped += verdict_on(rows(["a"] * 60), answers, "accuracy").decision == "ship"
    assert shipped <= 5


def test_the_interval_of_the_gain_over_the_best_of_several_covers_the_truth() -> None:
    chance, hits = random.Random(0), 0
    for _ in range(300):
        texts = [["a" if chance.random() < p else "b" for _ in range(100)] for p in (0.8, 0.8, 0.8, 0.8, 0.8)]
        kinds: list[ContenderKind] = ["tuned", "base", "prompt", "prompt", "classic"]
        answers = [contender(*three) for three in zip("tabcd", kinds, texts, strict=True)]
        verdict = verdict_on(rows(["a"] * 100), answers, "accuracy")
        hits += verdict.low <= 0 <= verdict.high
    assert hits / 300 >= 0.95


def test_a_model_as_good_as_the_best_within_the_margin_is_not_worse_and_says_so() -> None:
    wrong = {"tuned model": range(30), "prompt": range(5, 34)}
    answers = [
        contender(name, kind, ["b" if i in wrong[name] else "a" for i in range(2000)])
        for name, kind in (("tuned model", "tuned"), ("prompt", "prompt"))
    ]
    verdict = verdict_on(rows(["a"] * 2000), answers, "accuracy")
    assert (verdict.decision, verdict.standing, verdict.margin) == ("do not ship", "equivalent", 0.02)
    assert "equal within 2.0 points, so keep prompt" in str(verdict.reason)
    few = [replace(one, predictions=one.predictions[:60]) for one in answers]
    assert verdict_on(rows(["a"] * 60), few, "accuracy").standing == "unclear"


@pytest.mark.parametrize(
    ("low", "high", "standing"),
    [
        (0.01, 0.05, "better"),
        (-0.01, 0.01, "equivalent"),
        (-0.01, 0.03, "not worse"),
        (-0.03, 0.01, "unclear"),
        (-0.02, 0.03, "unclear"),
        (-0.05, -0.01, "worse"),
        (-0.015, -0.01, "equivalent"),
    ],
)
def test_standing_beside_a_margin_is_the_documented_one(low: float, high: float, standing: str) -> None:
    assert stand(Comparison((low + high) / 2, low, high, 0.5, 0.1), 0.02) == standing


def test_a_model_that_is_worse_by_the_margin_is_seldom_called_not_worse() -> None:
    chance, called = random.Random(0), 0
    for _ in range(300):
        better = ["a" if chance.random() < 0.80 else "b" for _ in range(400)]
        tuned = ["b" if text == "a" and chance.random() < 0.02 / 0.80 else text for text in better]
        answers = [contender("tuned model", "tuned", tuned), contender("base", "base", better)]
        called += verdict_on(rows(["a"] * 400), answers, "accuracy").standing in ("not worse", "equivalent", "better")
    assert called / 300 <= 0.05


def test_a_margin_of_perplexity_is_a_share_of_the_rivals() -> None:
    losses = [random.Random(0).gauss(1, 0.2) for _ in range(80)]
    answers = [
        contender("tuned model", "tuned", ["x"] * 80, losses),
        contender("base model", "base", ["x"] * 80, losses),
    ]
    verdict = verdict_on(rows(["a"] * 80), answers, "perplexity")
    scored = score(rows(["a"] * 80), answers, ["perplexity"], **ONCE)
    assert verdict.margin == pytest.approx(0.02 * scored[1].metrics["perplexity"].value)


def test_rows_of_one_group_count_as_one_in_scores_and_verdict() -> None:
    answers = [contender("tuned model", "tuned", right(90, 100)), contender("base model", "base", right(70, 100))]
    alone = rows(["a"] * 100)
    together = [replace(example, group=str(example.id // 10)) for example in alone]
    loose, tight = (verdict_on(examples, answers, "accuracy") for examples in (together, alone))
    assert tight.decision == "ship"
    assert loose.decision == "not proven"  # all 20 better rows are in two groups
    assert loose.difference == pytest.approx(tight.difference)
    assert loose.high - loose.low > 2 * (tight.high - tight.low)


# ── seeds ─────────────────────────────────────────────────────────────────────────────────────


def over_seeds(counts: Sequence[int]) -> Verdict:
    """Judge trainings that have so many of 400 rows right, each missing other ones, against 300."""
    first, *repeats = (contender("tuned model", "tuned", right(n, 400, i * 5)) for i, n in enumerate(counts))
    answers = [first, contender("base model", "base", right(300, 400, 50))]
    scored = score(rows(["a"] * 400), answers, ["accuracy"], **ONCE)
    verdict = judge(rows(["a"] * 400), answers, scored, "accuracy", repeats=repeats, **ONCE)
    return replace(verdict, reason=reason(Found(verdict, scored, "accuracy", 400, ONCE["confidence"])))


def test_a_gain_that_every_seed_repeats_ships_and_shows_the_spread() -> None:
    verdict = over_seeds([340, 344, 336])
    assert verdict.decision == "ship"
    assert verdict.seeds is not None
    assert verdict.seeds.scores == pytest.approx((0.85, 0.86, 0.84))
    assert verdict.seeds.mean == pytest.approx(0.85)
    assert verdict.seeds.deviation == pytest.approx(np.std([0.85, 0.86, 0.84], ddof=1))
    assert verdict.seeds.difference == pytest.approx(0.10)
    assert 0 < verdict.seeds.low < 0.1 < verdict.seeds.high
    assert "over 3 seeds 10.0 points better ± 1.0 points between seeds" in str(verdict.reason)


def test_a_gain_that_other_seeds_do_not_repeat_is_not_proven() -> None:
    verdict = over_seeds([350, 290, 280])
    assert over_seeds([350]).decision == "ship"
    assert verdict.decision == "not proven"
    assert "trainings with other seeds do not confirm" in str(verdict.reason)


def test_a_verdict_needs_a_tuned_model_and_another_contender() -> None:
    examples, alone = rows(["a"] * 9), [contender("tuned model", "tuned", ["a"] * 9)]
    with pytest.raises(RunError, match="needs another contender"):
        verdict_on(examples, alone, "accuracy")
    with pytest.raises(RunError, match="needs a tuned model"):
        verdict_on(examples, [replace(alone[0], kind="base")], "accuracy")
    with pytest.raises(RunError, match="by perplexity"):
        verdict_on(examples, [*alone, contender("base model", "base", ["a"] * 9)], "perplexity")


def test_the_ends_of_a_narrow_interval_are_written_apart() -> None:
    chance = random.Random(0)
    losses = [chance.uniform(0.5, 0.8) for _ in range(60)]
    answers = [
        contender("tuned model", "tuned", ["a"] * 60, losses),
        contender("base model", "base", ["a"] * 60, [loss + chance.uniform(0.004, 0.006) for loss in losses]),
    ]
    verdict = verdict_on(rows(["a"] * 60), answers, "perplexity")
    low, high = re.findall(r"interval ([\d.]+) to ([\d.]+)", str(verdict.reason))[0]
    assert 0 < float(low) < float(high)
