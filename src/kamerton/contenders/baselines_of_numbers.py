"""Contenders without a pretrained model where answers are numbers: their mean, and ridge regression on TF-IDF."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import FeatureUnion

from kamerton.contenders.contend import Predict, always, texts, timed
from kamerton.core.messages import msg
from kamerton.core.outcomes import Answers
from kamerton.core.records import Example, Prediction
from kamerton.text.cells import written_number

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Regularisation to choose from; the middle one if the data is too small to choose."""
FOLDS, ENOUGH_TO_CHOOSE, MOST_TO_CHOOSE = 3, 60, 1_500
"""Cross-validation, the training rows from which on it chooses, and those it looks at."""


def number_baselines(
    train: Sequence[Example], test: Sequence[Example], features: FeatureUnion, known: csr_matrix, seed: int
) -> list[Answers]:
    """Answer by the mean and by ridge regression.

    Args:
        train: examples to learn from.
        test: examples to answer.
        features: fitted on the texts of `train`.
        known: what `features` made of them.
        seed: of the folds that choose the regularisation.
    """
    golds = np.array([float(example.gold) for example in train])
    mean = always(written_number(float(golds.mean())))
    ridge = _ridge(golds, features, known, seed)
    return [
        timed(msg("mean of the training rows"), "trivial", mean, test),
        timed(msg("TF-IDF + ridge regression"), "classic", ridge, test),
    ]


def _ridge(golds: np.ndarray, features: FeatureUnion, known: csr_matrix, seed: int) -> Predict:
    model = Ridge(alpha=_strength(known, golds, seed), solver="sparse_cg").fit(known, golds)

    def answer(test: Sequence[Example]) -> list[Prediction]:
        numbers = model.predict(features.transform(texts(test)))
        return [Prediction(e.id, written_number(float(number))) for e, number in zip(test, numbers, strict=True)]

    return answer


def _strength(known: csr_matrix, golds: np.ndarray, seed: int) -> float:
    """Choose the regularisation by cross-validation on training rows."""
    if len(golds) < ENOUGH_TO_CHOOSE:
        return STRENGTHS[len(STRENGTHS) // 2]
    order = np.random.default_rng(seed).permutation(len(golds))[:MOST_TO_CHOOSE]
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    ridge = Ridge(solver="sparse_cg")
    search = GridSearchCV(ridge, {"alpha": STRENGTHS}, cv=folds, refit=False, scoring="neg_mean_squared_error")
    return float(search.fit(known[order], golds[order]).best_params_["alpha"])
