"""Contenders without a pretrained model where rows have several labels: the commonest set, and one-vs-rest."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import MultiLabelBinarizer

from kamerton.contenders.contend import Predict, always, texts, timed
from kamerton.core.messages import msg
from kamerton.core.outcomes import Answers
from kamerton.core.records import Example, Prediction
from kamerton.text.tags import read_list, write_tags

STRENGTH, ITERATIONS, TOLERANCE = 10.0, 300, 1e-3
"""Inverse regularisation, and what the solver may take; as for single labels in data too small to choose."""


def label_set_baselines(
    train: Sequence[Example], test: Sequence[Example], features: FeatureUnion, known: csr_matrix
) -> list[Answers]:
    """Answer by the most common set, and by logistic regression for each label.

    Args:
        train: examples to learn from.
        test: examples to answer.
        features: fitted on the texts of `train`.
        known: what `features` made of them.
    """
    [(commonest, _)] = Counter(example.gold for example in train).most_common(1)
    majority = timed(msg("commonest set of labels"), "trivial", always(commonest), test)
    binarizer = MultiLabelBinarizer()
    golds = binarizer.fit_transform([read_list(example.gold) for example in train])
    if not golds.size:
        return [majority]
    regression = _one_vs_rest(golds, list(binarizer.classes_), features, known)
    return [majority, timed(msg("TF-IDF + one-vs-rest logistic regression"), "classic", regression, test)]


def _one_vs_rest(golds: np.ndarray, labels: Sequence[str], features: FeatureUnion, known: csr_matrix) -> Predict:
    model = OneVsRestClassifier(LogisticRegression(C=STRENGTH, max_iter=ITERATIONS, tol=TOLERANCE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly optimal weights predict as well
        warnings.filterwarnings("ignore", "Label .* is present in all training examples", UserWarning)
        model.fit(known, golds)

    def answer(test: Sequence[Example]) -> list[Prediction]:
        given = np.asarray(model.predict(features.transform(texts(test)))).reshape(len(test), len(labels))
        return [
            Prediction(example.id, write_tags([label for label, there in zip(labels, row, strict=True) if there]))
            for example, row in zip(test, given, strict=True)
        ]

    return answer
