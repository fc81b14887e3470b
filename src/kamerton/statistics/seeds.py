"""Training repeated with other seeds: variance between seeds and between test rows."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from kamerton.core.contracts import Metric
from kamerton.core.outcomes import Measure
from kamerton.core.records import Prediction
from kamerton.statistics.intervals import within
from kamerton.statistics.resampling import paired, standard_error


def repeated_difference(
    metric: Metric,
    golds: Sequence[str],
    repeats: Sequence[Sequence[Prediction]],
    other: Sequence[Prediction],
    *,
    groups: Sequence[str] = (),
    confidence: float,
) -> Measure:
    """Return the mean difference between repeated trainings and another contender, with both variances.

    The margin of the test rows for these trainings (jackknife of the mean difference, at least that of one row in
    doubt) and the margin of the trainings on these rows (their SD over √seeds), each by its own Student's t, are added
    in squares (Zou and Donner 2008). What varies with both counts in both, which errs on the safe side.
    """
    runs = len(repeats)
    block, *trained = paired(metric, golds, [other, *repeats], groups)
    differences = np.array([one.score - block.score for one in trained])
    without = np.mean([one.left_out - block.left_out for one in trained], axis=0)
    difference, units = float(differences.mean()), len(without)
    least = math.sqrt(2) / (units + 2) if metric.unit_interval else 0.0  # as in Bonett and Price, one row each way
    tail = (1 - confidence) / 2
    of_rows = max(least, standard_error(without, difference)) * float(stats.t.isf(tail, max(1, units - 1)))
    of_seeds = float(differences.std(ddof=1)) / math.sqrt(runs) * float(stats.t.isf(tail, runs - 1))
    half = math.hypot(of_rows, of_seeds)
    bound = 1.0 if metric.unit_interval else math.inf
    return within(Measure(difference, difference - half, difference + half), -bound, bound)
