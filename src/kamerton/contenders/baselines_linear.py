"""Linear models on TF-IDF where answers are numbers or sets of labels, each beside its trivial contender."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import MultiLabelBinarizer

from kamerton.contenders.contend import Predict, always, texts, timed
from kamerton.core.messages import msg
from kamerton.core.outcomes import Answers
from kamerton.core.records import ExampleSeq, Prediction
from kamerton.text.cells import written_number
from kamerton.text.tags import read_list, write_tags

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Regularization of ridge regression to choose from; the middle one if there is too little data to choose."""
FOLDS, ENOUGH_TO_CHOOSE, MOST_TO_CHOOSE = 3, 60, 1_500
"""Cross-validation, the fewest training rows on which it chooses, and the most it uses."""
STRENGTH, ITERATIONS, TOLERANCE = 10.0, 300, 1e-3
"""Inverse regularization of logistic regression, and the limits of its solver."""


@dataclass(frozen=True)
class Vectorized:
    """Examples to learn from with their TF-IDF features."""

    train: ExampleSeq
    features: FeatureUnion
    """Fitted on the texts of `train`."""
    known: csr_matrix
    """The features of `train`."""


def number_baselines(data: Vectorized, test: ExampleSeq, seed: int) -> list[Answers]:
    """Answer by the mean and by ridge regression; the seed is that of the folds that choose the regularization."""
    golds = np.array([float(example.gold) for example in data.train])
    model = Ridge(alpha=_strength(data.known, golds, seed), solver="sparse_cg").fit(data.known, golds)

    def answer(test: ExampleSeq) -> list[Prediction]:
        numbers = model.predict(data.features.transform(texts(test)))
        return [Prediction(e.id, written_number(float(number))) for e, number in zip(test, numbers, strict=True)]

    mean = always(written_number(float(golds.mean())))
    return [
        timed(msg("mean of the training rows"), "trivial", mean, test),
        timed(msg("TF-IDF + ridge regression"), "classic", answer, test),
    ]


def _strength(known: csr_matrix, golds: np.ndarray, seed: int) -> float:
    if len(golds) < ENOUGH_TO_CHOOSE:
        return STRENGTHS[len(STRENGTHS) // 2]
    order = np.random.default_rng(seed).permutation(len(golds))[:MOST_TO_CHOOSE]
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    ridge = Ridge(solver="sparse_cg")
    search = GridSearchCV(ridge, {"alpha": STRENGTHS}, cv=folds, refit=False, scoring="neg_mean_squared_error")
    return float(search.fit(known[order], golds[order]).best_params_["alpha"])


def label_set_baselines(data: Vectorized, test: ExampleSeq) -> list[Answers]:
    """Answer by the most common set, and by logistic regression for each label."""
    [(commonest, _)] = Counter(example.gold for example in data.train).most_common(1)
    majority = timed(msg("commonest set of labels"), "trivial", always(commonest), test)
    binarizer = MultiLabelBinarizer()
    golds = binarizer.fit_transform([read_list(example.gold) for example in data.train])
    if not golds.size:
        return [majority]
    regression = _one_vs_rest(golds, list(binarizer.classes_), data)
    return [majority, timed(msg("TF-IDF + one-vs-rest logistic regression"), "classic", regression, test)]


def _one_vs_rest(golds: np.ndarray, labels: Sequence[str], data: Vectorized) -> Predict:
    model = OneVsRestClassifier(LogisticRegression(C=STRENGTH, max_iter=ITERATIONS, tol=TOLERANCE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly optimal weights predict as well
        warnings.filterwarnings("ignore", "Label .* is present in all training examples", UserWarning)
        model.fit(data.known, golds)

    def answer(test: ExampleSeq) -> list[Prediction]:
        given = np.asarray(model.predict(data.features.transform(texts(test)))).reshape(len(test), len(labels))
        return [
            Prediction(example.id, write_tags([label for label, there in zip(labels, row, strict=True) if there]))
            for example, row in zip(test, given, strict=True)
        ]

    return answer
