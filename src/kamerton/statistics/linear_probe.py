"""A linear probe: what a linear classifier reads out of frozen features."""

import numpy as np
from sklearn.linear_model import RidgeClassifierCV

STRENGTHS = np.logspace(-3, 2, 6)
"""Of the ridge, to choose from by leave-one-out; features have unit length."""


def head_answers(features: np.ndarray, golds: np.ndarray, train: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Fit a linear head on the features of some rows and let it answer others."""
    known = golds[train]
    if len(set(known)) == 1:
        return np.repeat(known[:1], len(held))
    head = RidgeClassifierCV(STRENGTHS).fit(features[train], known)
    answers: np.ndarray = head.predict(features[held])
    return answers
