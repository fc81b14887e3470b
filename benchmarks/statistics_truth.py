"""Show by simulation that the statistics keep what they promise; `make bench-statistics`, some minutes.

Each line has the figure, what was promised, and whether it was kept; the exit status is 1 if any was not.

    coverage of 95% intervals    at least 93% for 30 rows and more, and shares up to 0.95
    anytime test                 at most 5% false alarms with 1,000 looks in 2,000 logs
    verdicts                     "ship" in at most 2.5% of trials without a gain, and in at least 80% with a gain of
                                 twice the smallest difference that the verdict says its rows could show
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from scipy import stats

from kamerton.core import registry
from kamerton.core.outcomes import Answers, Comparison, ContenderKind, Measure, Verdict
from kamerton.core.records import Example, Place, Prediction
from kamerton.evaluate.score import score
from kamerton.evaluate.verdict import decide, judge
from kamerton.feedback.simulate import simulate
from kamerton.statistics.comparison import mcnemar_p, pair, paired_share_interval
from kamerton.statistics.intervals import Scored, measures, wilson_interval
from kamerton.statistics.seeds import repeated_difference
from kamerton.statistics.sequential import log_e_values, match_arms

Draw = np.random.Generator
RESAMPLES = 1000
TRIALS = 1000
LOGS, LOOKS = 2000, 1000
COVERED, FALSE_ALARMS, FALSE_SHIPS, SHIPS = 0.93, 0.05, 0.025, 0.80


@dataclass(frozen=True)
class Line:
    """One figure beside what was promised."""

    name: str
    figure: float
    bound: float
    at_least: bool
    trials: int

    @property
    def kept(self) -> bool:
        """Allow for two standard errors of the simulation itself; a figure that was counted exactly has none."""
        slack = 2 * math.sqrt(self.bound * (1 - self.bound) / self.trials) if self.trials else 0.0
        return self.figure >= self.bound - slack if self.at_least else self.figure <= self.bound + slack

    def __str__(self) -> str:
        promised = f"{'at least' if self.at_least else 'at most':>8} {self.bound:.1%}"
        count = f"{self.trials:,} trials" if self.trials else "exact"
        return f"{self.name:<68} {self.figure:>7.1%}   {promised}   {count:>12}   {'kept' if self.kept else 'BROKEN'}"


def predictions(texts: Sequence[str], losses: Sequence[float] | None = None) -> list[Prediction]:
    known = losses if losses is not None else [None] * len(texts)
    return [Prediction(i, t, None, loss, 1) for i, (t, loss) in enumerate(zip(texts, known, strict=True))]


# ── coverage ──────────────────────────────────────────────────────────────────────────────────


def wilson() -> Iterator[Line]:
    for rows in (30, 100, 300):
        intervals = [wilson_interval(k, rows, 0.95) for k in range(rows + 1)]
        for share in (0.5, 0.8, 0.9, 0.95):
            chances = stats.binom.pmf(np.arange(rows + 1), rows, share)
            held = sum(p for p, m in zip(chances, intervals, strict=True) if m.low <= share <= m.high)
            yield Line(f"coverage: accuracy {share:.2f} of {rows} rows (Wilson)", held, COVERED, True, 0)


def paired_shares() -> Iterator[Line]:
    for rows, first, second in ((30, 0.1, 0.1), (30, 0.2, 0.02), (100, 0.05, 0.05), (300, 0.02, 0.1)):
        count = np.arange(rows + 1)
        held = 0.0
        for b in count:
            row = stats.binom.pmf(b, rows, first)
            rest = stats.binom.pmf(count[: rows - b + 1], rows - b, second / (1 - first))
            if row > 1e-9:
                found = [paired_share_interval(int(b), int(c), rows, 0.95) for c in count[: rows - b + 1]]
                inside = [m.low <= first - second <= m.high for m in found]
                held += row * float(rest @ inside)
        name = f"coverage: difference of accuracies, {rows} rows, {first:.2f} against {second:.2f} (Bonett, Price)"
        yield Line(name, held, COVERED, True, 0)


def classes(draw: Draw, rows: int, share: float) -> Measure:
    golds = [str(g) for g in draw.integers(0, 2, rows)]
    texts = [g if draw.random() < share else str(1 - int(g)) for g in golds]
    return interval("macro-f1", golds, predictions(texts), draw)


def perplexities(draw: Draw, rows: int, spread: float) -> Measure:
    losses = draw.gamma(1 / spread, spread, rows)
    return interval("perplexity", [""] * rows, predictions([""] * rows, losses.tolist()), draw)


def in_groups(draw: Draw, rows: int, share: float) -> Measure:
    chances = draw.beta(share, 1 - share, rows // 5).repeat(5)
    texts = [str(int(x)) for x in draw.random(rows) < chances]
    return interval("accuracy", ["1"] * rows, predictions(texts), draw, [str(i // 5) for i in range(rows)])


def interval(
    word: str, golds: Sequence[str], answers: Sequence[Prediction], draw: Draw, groups: Sequence[str] = ()
) -> Measure:
    metric, seed = registry.choose("metrics", word)(), int(draw.integers(2**31))
    scored = [Scored(metric, metric.statistics(golds, answers))]
    [found] = measures(scored, groups=groups, confidence=0.95, resamples=RESAMPLES, seed=seed)
    return found


def covered(name: str, truth: float, sample: Callable[[Draw], Measure]) -> Line:
    draw, held = np.random.default_rng(0), 0
    for _ in range(TRIALS):
        found = sample(draw)
        held += found.low <= truth <= found.high
    return Line(f"coverage: {name}", held / TRIALS, COVERED, True, TRIALS)


def bootstraps() -> Iterator[Line]:
    for rows in (30, 100, 300):
        for share in (0.7, 0.9, 0.95):
            name = f"macro F1 {share:.2f} of {rows} rows (BCa)"
            yield covered(name, share, partial(classes, rows=rows, share=share))
        yield covered(f"perplexity of {rows} rows (BCa)", math.e, partial(perplexities, rows=rows, spread=0.5))
    for rows, share in ((150, 0.7), (300, 0.9)):
        name = f"accuracy {share:.2f} of {rows} rows in groups of 5 (Wilson, effective rows)"
        yield covered(name, share, partial(in_groups, rows=rows, share=share))
    for rows in (30, 100):
        name = f"difference of macro F1, {rows} rows (paired BCa)"
        yield covered(name, 0.15, partial(class_difference, rows=rows))
    for spread in (0.0, 0.02, 0.05):
        name = f"mean gain over 3 seeds with an SD of {spread:.2f}, 300 rows"
        yield covered(name, 0.05, partial(over_seeds, rows=300, spread=spread))


def class_difference(draw: Draw, rows: int) -> Measure:
    golds, ease = [str(g) for g in draw.integers(0, 2, rows)], draw.random(rows)
    first, second = ([g if e < p else str(1 - int(g)) for g, e in zip(golds, ease, strict=True)] for p in (0.9, 0.75))
    metric, seed = registry.choose("metrics", "macro-f1")(), int(draw.integers(2**31))
    one, two = predictions(first), predictions(second)
    [pairing] = pair(metric, golds, one, [two], resamples=RESAMPLES, seed=seed)
    found = pairing.at(0.95)
    return Measure(found.difference, found.low, found.high)


def over_seeds(draw: Draw, rows: int, spread: float) -> Measure:
    metric, ease = registry.choose("metrics", "accuracy")(), draw.random(rows)
    levels = 0.8 + draw.normal(0, spread, 3)
    trained = [predictions([str(int(x)) for x in ease < level]) for level in levels]
    other = predictions([str(int(x)) for x in draw.random(rows) < 0.75])
    return repeated_difference(metric, ["1"] * rows, trained, other, confidence=0.95)


# ── looking at every outcome ──────────────────────────────────────────────────────────────────


def anytime() -> Iterator[Line]:
    for disagreement in (0.05, 0.2, 1.0):
        found = simulate(0.0, disagreement=disagreement, looks=LOOKS, trials=LOGS, confidence=0.95, seed=0).found
        name = f"false alarms: wins and losses, {disagreement:.0%} no ties, {LOOKS:,} looks"
        yield Line(name, found, FALSE_ALARMS, False, LOGS)
    for share in (0.5, 0.8):
        for rate in (0.1, 0.5):
            name = f"false alarms: unpaired arms, {share:.0%} in one, outcome {rate:.0%}, {LOOKS:,} looks"
            yield Line(name, alarms(partial(arms, share=share, rate=rate)), FALSE_ALARMS, False, LOGS)
    name = f"false alarms: paired scores of one mean and other shapes, {LOOKS:,} looks"
    yield Line(name, alarms(scores), FALSE_ALARMS, False, LOGS)


def alarms(sample: Callable[[Draw], np.ndarray]) -> float:
    draw = np.random.default_rng(0)
    return float(np.mean([log_e_values(sample(draw)).max() >= math.log(20) for _ in range(LOGS)]))


def arms(draw: Draw, share: float, rate: float) -> np.ndarray:
    return match_arms((draw.random(LOOKS) < share).tolist(), (draw.random(LOOKS) < rate).astype(float).tolist())


def scores(draw: Draw) -> np.ndarray:
    return draw.beta(0.5, 1, LOOKS) - draw.beta(5, 10, LOOKS)


# ── verdicts ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Contest:
    """A tuned model and others that are all right at the same rate; it may be right more often by a planted gain."""

    metric: str
    rows: int
    others: int
    level: float = 0.75

    def verdict(self, draw: Draw, gain: float) -> Verdict:
        golds = [str(g) for g in draw.integers(0, 2, self.rows)]
        ease = draw.random(self.rows)
        names = ["tuned model", *(f"contender {i}" for i in range(self.others))]
        answers = []
        for i, name in enumerate(names):
            luck = 0.6 * ease + 0.4 * draw.random(self.rows)
            bar = hardness(self.level + (gain if i == 0 else 0.0))
            texts = [g if x < bar else str(1 - int(g)) for g, x in zip(golds, luck, strict=True)]
            kind: ContenderKind = "prompt" if i else "tuned"
            answers.append(Answers(name, kind, tuple(predictions(texts)), 1.0))
        examples = [Example(i, Place("", i), "", gold) for i, gold in enumerate(golds)]
        once = {"confidence": 0.95, "resamples": RESAMPLES, "seed": int(draw.integers(2**31))}
        return judge(examples, answers, score(examples, answers, [self.metric], **once), self.metric, **once)

    def lines(self, trials: int) -> Iterator[Line]:
        draw = np.random.default_rng(0)
        name = f"{self.metric}, {self.rows} rows, {self.others} other{'s' if self.others > 1 else ''}"
        nothing = [self.verdict(draw, 0.0) for _ in range(trials)]
        shipped = float(np.mean([one.decision == "ship" for one in nothing]))
        yield Line(f"verdicts: shipped without a gain, {name}", shipped, FALSE_SHIPS, False, trials)
        held = float(np.mean([one.low <= 0 <= one.high for one in nothing]))
        yield Line(f"coverage: gain over the best, {name}", held, COVERED, True, trials)
        stated = float(np.mean([one.minimum_detectable for one in nothing]))
        gain = min(2 * stated, 0.99 - self.level)
        won = [self.verdict(draw, gain).decision == "ship" for _ in range(trials)]
        name = f"verdicts: shipped with a gain of {gain:.3f} (stated {stated:.3f}), {name}"
        yield Line(name, float(np.mean(won)), SHIPS, True, trials)


@cache
def hardness(share: float) -> float:
    """Say below which hardness, partly the row's and partly the contender's own, that share of the answers lies."""
    row, own = np.random.default_rng(1).random((2, 1_000_000))
    return float(np.quantile(0.6 * row + 0.4 * own, share))


def exact_verdicts() -> Iterator[Line]:
    """Count every way in which the answers of two contenders that are right equally often can differ.

    What simulations say of this varies by half a point; here nothing is drawn.
    """
    for rows in (30, 100, 300):
        for disagreement in (0.1, 0.2, 0.4):
            shipped = 0.0
            for count in range(rows + 1):
                chance = float(stats.binom.pmf(count, rows, disagreement))
                wins = np.arange(count + 1)
                ships = [chance > 1e-9 and ships_by(int(won), count - int(won), rows) for won in wins]
                shipped += chance * float(stats.binom.pmf(wins, count, 0.5) @ ships)
            name = f"verdicts: shipped without a gain, accuracy, {rows} rows, {disagreement:.0%} differ"
            yield Line(name, shipped, FALSE_SHIPS, False, 0)


@cache
def ships_by(won: int, lost: int, rows: int) -> bool:
    """Say whether so many rows that only the tuned model has right, and so many that only the other has, ship it."""
    found = paired_share_interval(won, lost, rows, 0.95)
    return decide(Comparison(found.value, found.low, found.high, mcnemar_p(won, lost), 0.0), 0.95) == "ship"


def verdicts() -> Iterator[Line]:
    for rows, others in ((100, 1), (300, 1), (300, 5)):
        yield from Contest("accuracy", rows, others).lines(TRIALS)
    for rows, others in ((100, 1), (300, 3)):
        yield from Contest("macro-f1", rows, others).lines(TRIALS // 2)


def main() -> int:
    """Print every line as it comes, of all parts or of those named; say at the end how many promises were broken."""
    began, broken = time.perf_counter(), 0
    parts = {part.__name__: part for part in (wilson, paired_shares, exact_verdicts, anytime, bootstraps, verdicts)}
    for name in sys.argv[1:] or parts:
        for line in parts[name]():
            print(line, flush=True)
            broken += not line.kept
    print(f"\n{broken} broken; {time.perf_counter() - began:,.0f} s")
    return min(1, broken)


if __name__ == "__main__":
    sys.exit(main())
