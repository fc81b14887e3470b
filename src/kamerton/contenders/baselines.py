"""Contenders without a pretrained model: if one of these is as good, the tuned model is not worth its cost.

For classes: the most common one, TF-IDF with logistic regression, and the nearest training example.
For numbers: their mean, ridge regression on TF-IDF, and the nearest training example.
For several labels a row: the most common set, TF-IDF with logistic regression for each label, and the nearest example.
For tags: the most common one, each word's most common one, and a linear model of words in context.
For free answers: a copy of the input, and the answer of the nearest training example.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter

import numpy as np
from scipy.sparse import csr_matrix
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import FeatureUnion

from kamerton.contenders.baselines_linear import Vectorized, label_set_baselines, number_baselines
from kamerton.contenders.baselines_of_spans import span_baselines
from kamerton.contenders.baselines_of_tags import tag_baselines
from kamerton.contenders.contend import Predict, texts, timed
from kamerton.core.contracts import AnswerKind
from kamerton.core.messages import msg
from kamerton.core.outcomes import Answers
from kamerton.core.records import Example, ExampleSeq, Prediction
from kamerton.text.features import text_features

STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse regularisation to choose from; the middle one if the data is too small to choose."""
FOLDS = 3
ENOUGH_TO_CHOOSE = 60
"""Training rows from which on cross-validation chooses the strength."""
MOST_TO_CHOOSE = 1_500
"""Rows it is chosen on at most."""
ITERATIONS, TOLERANCE = 300, 1e-3
"""Of the solver: tighter ones cost twice the time for the same answers."""
MEGABYTES = 64
"""Memory for distances at a time."""


def baselines(train: ExampleSeq, test: ExampleSeq, *, answers: AnswerKind, seed: int) -> list[Answers]:
    """Train the simple contenders on `train` and answer `test`, the trivial one first."""
    if answers == "likelihood":
        return []  # who only copies words gives no likelihoods
    if answers == "span":
        return span_baselines(train, test)
    if answers == "tags":
        return tag_baselines(train, test, seed)
    features = text_features()
    known = features.fit_transform(texts(train))
    nearest = timed(msg("nearest training example"), "classic", _nearest(train, features, known), test)
    if answers == "number":
        return [*number_baselines(Vectorized(train, features, known), test, seed), nearest]
    if answers == "classes":
        return [*label_set_baselines(Vectorized(train, features, known), test), nearest]
    if answers != "class":
        return [timed(msg("copy of the input"), "trivial", _copy, test), nearest]
    majority = timed(msg("majority class"), "trivial", _majority(train), test)
    if len({example.gold for example in train}) == 1:
        return [majority, nearest]
    regression = _regression(train, features, known, seed)
    return [majority, timed(msg("TF-IDF + logistic regression"), "classic", regression, test), nearest]


def _copy(test: ExampleSeq) -> list[Prediction]:
    return [Prediction(example.id, str(example.fields.get("input") or example.text)) for example in test]


def _majority(train: ExampleSeq) -> Predict:
    """Answer always with the commonest class, the first one seen among equals; the shares are its probabilities."""
    counts = Counter(example.gold for example in train)
    [(label, rows)] = counts.most_common(1)

    def answer(test: ExampleSeq) -> list[Prediction]:
        return [_likely(example, label, rows / len(train), counts[example.gold] / len(train)) for example in test]

    return answer


def _regression(train: ExampleSeq, features: FeatureUnion, known: csr_matrix, seed: int) -> Predict:
    """Fit logistic regression on TF-IDF of words and letters: the strong old way, in seconds."""
    golds = np.array([example.gold for example in train])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly optimal weights predict as well
        warnings.filterwarnings("ignore", "The least populated class|The number of unique classes", UserWarning)
        model = _model(_strength(known, golds, seed)).fit(known, golds)
    column = {label: i for i, label in enumerate(model.classes_)}

    def answer(test: ExampleSeq) -> list[Prediction]:
        chances = model.predict_proba(features.transform(texts(test)))
        return [
            _likely(
                example,
                str(model.classes_[row.argmax()]),
                float(row.max()),
                float(row[column[example.gold]]) if example.gold in column else 0.0,
            )
            for example, row in zip(test, chances, strict=True)
        ]

    return answer


def _model(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=ITERATIONS, tol=TOLERANCE)


def _strength(known: csr_matrix, golds: np.ndarray, seed: int) -> float:
    """Choose the regularisation by 3-fold cross-validation on training rows, if every fold can hold two classes."""
    order = np.random.default_rng(seed).permutation(len(golds))[:MOST_TO_CHOOSE]
    chosen = golds[order]
    commonest = Counter(chosen.tolist()).most_common(2)
    if len(golds) < ENOUGH_TO_CHOOSE or len(commonest) < 2 or commonest[1][1] < FOLDS:
        return STRENGTHS[1]
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    search = GridSearchCV(_model(STRENGTHS[1]), {"C": STRENGTHS}, cv=folds, refit=False)
    return float(search.fit(known[order], chosen).best_params_["C"])


def _nearest(train: ExampleSeq, features: FeatureUnion, known: csr_matrix) -> Predict:
    """Answer as the training example of the smallest TF-IDF angle was answered; the first one among equals."""
    index = NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute").fit(known)

    def answer(test: ExampleSeq) -> list[Prediction]:
        with config_context(working_memory=MEGABYTES):
            nearest = index.kneighbors(features.transform(texts(test)), return_distance=False)[:, 0]
        return [Prediction(example.id, train[i].gold) for example, i in zip(test, nearest, strict=True)]

    return answer


def _likely(example: Example, label: str, score: float, chance: float) -> Prediction:
    loss = -math.log(chance) if chance > 0 else None
    return Prediction(example.id, label, score, loss, None if loss is None else 1)
