"""Temperature scaling: one number, fitted on validation rows, that calibrates probabilities.

All logits are divided by it; the answers stay the same (Guo et al. 2017, "On Calibration of Modern Neural Networks").
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from scipy.stats import chi2

from kamerton.core.messages import Message, Value, msg
from kamerton.core.outcomes import Calibrated, Calibration, Reliability
from kamerton.core.records import Example, Prediction
from kamerton.evaluate.temperature import SMALLEST, at_temperature
from kamerton.plugins.metrics.brier import Brier
from kamerton.plugins.metrics.ece import BINS, Ece, bins
from kamerton.plugins.metrics.nll import Nll
from kamerton.statistics.intervals import Scored, measures, wilson_interval
from kamerton.statistics.resampling import chunks

WIDEST = math.log(20)
"""Of the logarithm of a temperature, either way."""
PRIOR = 0.5
"""SD of the temperature's logarithm before any row is seen: where all of a few validation rows are right, likelihood
alone would have it 0, and every probability 1. A hundred rows outweigh it."""


def fit_temperature(predictions: Sequence[Prediction]) -> float:
    """Fit the temperature that maximizes the likelihood of the right classes of validation rows.

    Args:
        predictions: for validation rows; those without probabilities, or whose class is not known, are left out.

    Returns:
        1.0 if no row is left.
    """
    known = [p for p in predictions if p.probabilities is not None and p.loss is not None]
    if not known:
        return 1.0
    logs = np.log(np.maximum(np.array([p.probabilities for p in known], dtype=np.float64), SMALLEST))
    losses = np.array([p.loss for p in known], dtype=np.float64)

    def loss(log_temperature: float) -> float:
        cold = math.exp(-log_temperature)
        likelihood = losses * cold + logsumexp(logs * cold, axis=1)
        return float(likelihood.sum()) + (log_temperature / PRIOR) ** 2 / 2

    return math.exp(minimize_scalar(loss, bounds=(-WIDEST, WIDEST), method="bounded", options={"xatol": 1e-6}).x)


def calibration_rows(predictions: Sequence[Prediction], validation: Sequence[Example]) -> Sequence[Example]:
    """Choose the validation rows to fit a temperature on: all, or none where answers have no probabilities."""
    return () if any(prediction.probabilities is None for prediction in predictions) else validation


def calibrate(
    validation: Sequence[Prediction],
    examples: Sequence[Example],
    test: Sequence[Prediction],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Calibrated | None:
    """Fit the temperature on validation rows, and measure its effect on test rows.

    A temperature whose likelihood interval on the validation rows holds 1 (Wilks 1938) may be chance: then it is 1.
    Returns None without probabilities, or where no test row's class is known.

    Args:
        validation: predictions for validation rows, all that the temperature is fitted on.
        examples: the test rows.
        test: predictions for these, in their order.
        confidence: such as 0.95.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    without = any(prediction.probabilities is None for prediction in (*validation, *test))
    if not validation or without or all(prediction.loss is None for prediction in test):
        return None
    temperature = fit_temperature(validation)
    gain = sum(p.loss - (at_temperature(p, temperature).loss or 0.0) for p in validation if p.loss is not None)
    temperature = temperature if 2 * gain > chi2.isf(1 - confidence, 1) else 1.0
    cooled = [at_temperature(prediction, temperature) for prediction in test]

    def measured(predictions: Sequence[Prediction]) -> Calibration:
        golds, groups = [example.gold for example in examples], [example.group for example in examples]
        scored = [Scored(metric, metric.statistics(golds, predictions)) for metric in (Ece(), Brier(), Nll())]
        return Calibration(*measures(scored, groups=groups, confidence=confidence, resamples=resamples, seed=seed))

    return Calibrated(
        temperature,
        len(validation),
        measured(test),
        measured(cooled),
        chance_error(cooled, confidence, resamples, seed),
        reliability(examples, test, confidence),
    )


def calibration_message(calibrated: Calibrated) -> Message | None:
    """Describe the temperature in one line; None where, as figures are written, it changes nothing."""
    temperature, rows = calibrated.temperature, calibrated.rows
    before, after = calibrated.before.ece.value, calibrated.after.ece.value
    if f"{temperature:.2f}" == "1.00" or f"{before:.3f}" == f"{after:.3f}":
        return None
    values: dict[str, Value] = {"temperature": temperature, "rows": rows, "before": before, "after": after}
    values["chance"] = calibrated.chance
    if after > before:
        return msg(
            "temperature {temperature} gives the lowest loss on {rows} validation {rows:row|rows}, but the calibration "
            "error on the test rows grew: {before} → {after}; true probabilities would show up to {chance}",
            **values,
        )
    return msg(
        "temperature {temperature}, because the model was {confident} on {rows} validation {rows:row|rows}: "
        "calibration error {before} → {after}; true probabilities would show up to {chance}",
        confident=msg("overconfident") if temperature > 1 else msg("underconfident"),
        **values,
    )


def chance_error(predictions: Sequence[Prediction], confidence: float, resamples: int, seed: int) -> float:
    """Return the calibration error that a model with true probabilities stays below, with this confidence.

    Consistency resampling (Bröcker and Smith 2007): right answers are drawn from the model's own probabilities.
    """
    scores = np.array([prediction.score for prediction in predictions], dtype=np.float64)
    member = np.eye(BINS)[bins(scores)]
    generator, errors = np.random.default_rng(seed), []
    for size in chunks(resamples, len(scores)):
        right = (generator.random((size, len(scores))) < scores).astype(np.float64)
        errors.append(np.abs((right - scores) @ member).sum(axis=1) / len(scores))
    return float(np.quantile(np.concatenate(errors), confidence))


def reliability(
    examples: Sequence[Example], predictions: Sequence[Prediction], confidence: float
) -> tuple[Reliability, ...]:
    """Compare mean probability with the share of right answers, in bins of equally many rows, the least sure first."""
    scores = np.array([prediction.score for prediction in predictions], dtype=np.float64)
    right = np.array([p.text == e.gold for e, p in zip(examples, predictions, strict=True)])
    member, found = bins(scores), []
    for own in (member == one for one in np.unique(member)):
        rows = int(own.sum())
        share = wilson_interval(float(right[own].sum()), rows, confidence)
        found.append(Reliability(rows, float(scores[own].mean()), share))
    return tuple(found)
