"""Is the tuned model worth using? One decision on one metric, named beforehand, against the best other contender.

The tuned model has to beat every other contender, because the best of them is known only from these very rows. That
needs no correction for multiple comparisons: the claim that it beats all requires every single test to succeed, and
where even one contender is truly as good, that one test passes by chance no more often than its level (an
intersection-union test, Berger 1982). Testing against the highest scorer alone is not enough: another contender, with
a slightly lower score, may truly be better. So, with differences signed so that positive is better:

- the lower end is the lowest of all lower ends, and p the largest of all p-values;
- the upper end is the lowest of the upper ends, each widened by Bonferroni's correction for the number of contenders:
  that the tuned model is worse than the best is a claim about one contender, chosen among several;
- the difference is that to the highest scorer, which luck flatters: it errs against the tuned model, and where it is
  not above 0, the p-value is that of this one difference.

The decision:
- ship: the whole interval is above 0, p is below 1 - confidence, and where training was repeated with other seeds,
  the interval of the mean over seeds, which holds the luck of the seed too, is above 0 as well;
- do not ship: the tuned model scores no higher than the best other contender, which is cheaper;
- not proven: it scores higher, but chance could have made that difference.

The standing compares the interval with a margin (two one-sided tests, Schuirmann 1987, each at half of
1 - confidence): "not worse" means worse by less than the margin.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Literal

import numpy as np

from kamerton.core.contracts import Metric
from kamerton.core.errors import Fault, RunError
from kamerton.core.messages import Message, msg
from kamerton.core.outcomes import Against, Answers, Comparison, Contender, Seeds, Standing, Verdict
from kamerton.core.records import Example, Prediction
from kamerton.core.registry import choose
from kamerton.statistics.comparison import Pairing, holm, pair
from kamerton.statistics.resampling import NOTHING
from kamerton.statistics.seeds import repeated_difference

Decision = Literal["ship", "do not ship", "not proven"]
DECISIONS = {"ship": msg("ship"), "do not ship": msg("do not ship"), "not proven": msg("not proven")}


def judge(
    examples: Sequence[Example],
    answers: Sequence[Answers],
    contenders: Sequence[Contender],
    metric: str,
    *,
    repeats: Sequence[Answers] = (),
    margin: float = 0.02,
    confidence: float,
    resamples: int,
    seed: int,
) -> Verdict:
    """Judge the tuned contender against all the others by the primary metric; the reason is left empty.

    Args:
        examples: the test rows.
        answers: every contender's predictions for these rows, in their order.
        contenders: the same contenders' scores.
        metric: name of the metric that decides.
        repeats: answers to the same rows by models trained with other seeds.
        margin: how much worse still counts as not worse: in the unit of a metric from 0 to 1, else as a share of
            the best other contender's score.
        confidence: such as 0.95.
        resamples: of bootstrap and randomisation, for a metric that needs them.
        seed: of both.

    Raises:
        RunError: there is no tuned contender, or no other, that has a value in this metric.
    """
    measure: Metric = choose("metrics", metric)()
    tuned, ranked = _field(contenders, metric, measure)
    predictions = {one.name: one.predictions for one in answers}
    golds, groups = [example.gold for example in examples], [example.group for example in examples]
    first, others = predictions[tuned.name], [predictions[one.name] for one in ranked]
    pairings = pair(measure, golds, first, others, groups=groups, resamples=resamples, seed=seed)
    comparisons = [signed(pairing.at(confidence), measure) for pairing in pairings]
    gain = _over_the_best(comparisons, pairings, measure, confidence)
    trained = [first, *(one.predictions for one in repeats)]
    seeds = _seeds(measure, golds, groups, trained, others, confidence) if repeats else None
    allowed = margin * (1.0 if measure.unit_interval else abs(ranked[0].metrics[metric].value))
    claims = zip(ranked, comparisons, holm([one.p_value for one in comparisons]), strict=True)
    return Verdict(
        decision=decide(gain, confidence, seeds),
        against=ranked[0].name,
        **asdict(gain),
        reason="",
        standing=stand(gain, allowed),
        margin=allowed,
        comparisons=tuple(Against(one.name, comparison, p) for one, comparison, p in claims),
        seeds=seeds,
    )


def decide(gain: Comparison, confidence: float, seeds: Seeds | None = None) -> Decision:
    """Apply the rule at the top of this file to a comparison in which positive means better."""
    if gain.low > 0 and gain.p_value < 1 - confidence and (seeds is None or seeds.low > 0):
        return "ship"
    return "do not ship" if gain.difference < NOTHING else "not proven"


def stand(gain: Comparison, margin: float) -> Standing:
    """Return what an interval, in which positive means better, shows beside a margin."""
    if gain.low > 0:
        return "better"
    if gain.low > -margin:
        return "equivalent" if gain.high < margin else "not worse"
    return "worse" if gain.high < 0 else "unclear"


def verdict_message(verdict: Verdict, contenders: Sequence[Contender]) -> Message:
    """Return the decision and the best other contender."""
    other = next(one.title or one.name for one in contenders if one.name == verdict.against)
    return msg("{decision}; the best other is {contender}", decision=DECISIONS[verdict.decision], contender=other)


def meets(verdict: Verdict, demand: str | None) -> bool:
    """Return whether a verdict meets a demand: `ship`, `not-worse`, or none."""
    not_worse = verdict.standing in ("better", "equivalent", "not worse")
    return demand is None or verdict.decision == demand or (demand == "not-worse" and not_worse)


def _field(contenders: Sequence[Contender], metric: str, measure: Metric) -> tuple[Contender, list[Contender]]:
    """Return the tuned contender, and the others that have a value in the deciding metric, the best first."""
    sign = -1 if measure.higher_is_better else 1
    tuned = [one for one in contenders if one.kind == "tuned" and metric in one.metrics]
    others = [one for one in contenders if one.kind not in ("tuned", "variant") and metric in one.metrics]
    if not tuned or not others:
        rule = "a verdict by {metric} needs a tuned model with a value in it"
        if tuned:
            rule = "a verdict by {metric} needs another contender with a value in it"
        remedy = msg("set evaluate.metric to a metric that the tuned model and another contender both have")
        raise RunError(Fault(msg(rule, metric=metric), remedy=remedy))
    return tuned[0], sorted(others, key=lambda one: sign * one.metrics[metric].value)


def _over_the_best(
    comparisons: Sequence[Comparison], pairings: Sequence[Pairing], measure: Metric, confidence: float
) -> Comparison:
    outer, best = 1 - (1 - confidence) / len(pairings), comparisons[0]
    return Comparison(
        difference=best.difference,
        low=min(one.low for one in comparisons),
        high=min(signed(pairing.at(outer), measure).high for pairing in pairings),
        p_value=max(one.p_value for one in comparisons) if best.difference > 0 else best.p_value,
        minimum_detectable=min(comparisons, key=lambda one: one.low).minimum_detectable,
    )


def _seeds(
    measure: Metric,
    golds: Sequence[str],
    groups: Sequence[str],
    trained: Sequence[Sequence[Prediction]],
    others: Sequence[Sequence[Prediction]],
    confidence: float,
) -> Seeds:
    """Summarize repeated training; the ends are the lowest over all contenders, as for one training."""
    sign = 1 if measure.higher_is_better else -1
    scores = [float(measure.value(measure.statistics(golds, one).sum(axis=0))) for one in trained]
    gains = [
        repeated_difference(measure, golds, trained, other, groups=groups, confidence=confidence) for other in others
    ]
    low = min(sign * (gain.low if sign > 0 else gain.high) for gain in gains)
    high = min(sign * (gain.high if sign > 0 else gain.low) for gain in gains)
    mean, deviation = float(np.mean(scores)), float(np.std(scores, ddof=1))
    return Seeds(tuple(scores), mean, deviation, sign * gains[0].value, low, high)


def signed(comparison: Comparison, measure: Metric) -> Comparison:
    """Return the comparison with its sign such that positive means better."""
    if measure.higher_is_better:
        return comparison
    return replace(comparison, difference=-comparison.difference, low=-comparison.high, high=-comparison.low)
