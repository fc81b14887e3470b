"""Apply a temperature to a prediction: all of calibration that a deployed model needs."""

from dataclasses import replace

import numpy as np

from kamerton.core.records import Prediction

SMALLEST = 1e-30
"""A probability below counts as this, for its logarithm."""


def at_temperature(prediction: Prediction, temperature: float) -> Prediction:
    """Return a prediction with its probabilities at another temperature; unchanged if it has no probabilities."""
    if prediction.probabilities is None or temperature == 1.0:
        return prediction
    logs = np.log(np.maximum(prediction.probabilities, SMALLEST)) / temperature
    norm = float(np.logaddexp.reduce(logs))
    probabilities = np.exp(logs - norm)
    loss = None if prediction.loss is None else prediction.loss / temperature + norm
    return replace(prediction, score=float(probabilities.max()), loss=loss, probabilities=tuple(probabilities.tolist()))
