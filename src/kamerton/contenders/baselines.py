"""Contenders without a pretrained model: if one of these is as good, the tuned model is not worth its cost.

For classes: the most common one, TF-IDF with logistic regression, and the nearest training example.
For numbers: their mean, ridge regression on TF-IDF, and the nearest training example.
For several labels a row: the most common set, TF-IDF with logistic regression for each label, and the nearest example.
For tags: the most common one, each word's most common one, and a linear model of words in context.
For spans: the context's first sentence, and the one that shares most words with the question.
For free answers: a copy of the input, and the answer of the nearest training example.
"""

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import MultiLabelBinarizer

from kamerton.contenders.baselines_of_words import span_baselines, tag_baselines
from kamerton.contenders.contend import Predict, timed
from kamerton.core.contracts import AnswerKind
from kamerton.core.messages import msg
from kamerton.core.outcomes import Answers
from kamerton.core.records import Example, ExampleSeq, Prediction
from kamerton.text.cells import written_number
from kamerton.text.features import text_features
from kamerton.text.tags import read_list, write_tags

LONGEST = 4_000
"""Characters of a text that simple contenders read: the gist, at a bounded cost."""
STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse regularization of logistic regression to choose from; the middle one where the data are too few."""
RIDGE_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Regularization of ridge regression to choose from; likewise."""
FOLDS, ENOUGH_TO_CHOOSE, MOST_TO_CHOOSE = 3, 60, 1_500
"""Cross-validation, the fewest training rows on which it chooses, and the most it uses."""
ITERATIONS, TOLERANCE = 300, 1e-3
"""Of the solver: tighter ones cost twice the time for the same answers."""
MEGABYTES = 64
"""Memory for distances at a time."""


@dataclass(frozen=True)
class Vectorized:
    """Examples to learn from with their TF-IDF features."""

    train: ExampleSeq
    features: FeatureUnion
    """Fitted on the texts of `train`."""
    known: csr_matrix
    """The features of `train`."""

    def vectors(self, examples: ExampleSeq) -> csr_matrix:
        """Compute the features of other examples."""
        return self.features.transform(_texts(examples))


def baselines(train: ExampleSeq, test: ExampleSeq, *, answers: AnswerKind, seed: int) -> list[Answers]:
    """Train the simple contenders on `train` and answer `test`, the trivial one first."""
    if answers == "likelihood":
        return []  # who only copies words gives no likelihoods
    if answers == "span":
        return span_baselines(train, test)
    if answers == "tags":
        return tag_baselines(train, test, seed)
    features = text_features()
    data = Vectorized(train, features, features.fit_transform(_texts(train)))
    nearest = timed(msg("nearest training example"), "classic", _nearest(data), test)
    if answers == "number":
        return [*_number_baselines(data, test, seed), nearest]
    if answers == "classes":
        return [*_label_set_baselines(data, test), nearest]
    if answers != "class":
        return [timed(msg("copy of the input"), "trivial", _copy, test), nearest]
    majority = timed(msg("majority class"), "trivial", _majority(train), test)
    if len({example.gold for example in train}) == 1:
        return [majority, nearest]
    return [majority, timed(msg("TF-IDF + logistic regression"), "classic", _regression(data, seed), test), nearest]


def _texts(examples: ExampleSeq) -> list[str]:
    """Return what simple contenders read of each example; never an empty text."""
    return [example.text.strip()[:LONGEST] or "∅" for example in examples]


def _always(text: str) -> Predict:
    return lambda test: [Prediction(example.id, text) for example in test]


def _copy(test: ExampleSeq) -> list[Prediction]:
    return [Prediction(example.id, str(example.fields.get("input") or example.text)) for example in test]


def _nearest(data: Vectorized) -> Predict:
    """Answer as the training example of the smallest TF-IDF angle was answered; the first one among equals."""
    index = NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute").fit(data.known)

    def answer(test: ExampleSeq) -> list[Prediction]:
        """Return the gold answer of the nearest training example of each row."""
        with config_context(working_memory=MEGABYTES):
            nearest = index.kneighbors(data.vectors(test), return_distance=False)[:, 0]
        return [Prediction(example.id, data.train[i].gold) for example, i in zip(test, nearest, strict=True)]

    return answer


# ── classes ───────────────────────────────────────────────────────────────────────────────────


def _majority(train: ExampleSeq) -> Predict:
    """Answer always with the commonest class, the first one seen among equals; the shares are its probabilities."""
    counts = Counter(example.gold for example in train)
    [(label, rows)] = counts.most_common(1)
    return lambda test: [_likely(one, label, rows / len(train), counts[one.gold] / len(train)) for one in test]


def _regression(data: Vectorized, seed: int) -> Predict:
    """Fit logistic regression on TF-IDF of words and letters: the strong old way, in seconds."""
    golds = np.array([example.gold for example in data.train])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly optimal weights predict as well
        warnings.filterwarnings("ignore", "The least populated class|The number of unique classes", UserWarning)
        strength = _strength(_logistic(STRENGTHS[1]), "C", STRENGTHS, data.known, golds, seed)
        model = _logistic(strength).fit(data.known, golds)
    column = {label: i for i, label in enumerate(model.classes_)}

    def answer(test: ExampleSeq) -> list[Prediction]:
        """Return the most likely class of each row, with its probability and the loss of the gold one."""
        predictions = []
        for example, row in zip(test, model.predict_proba(data.vectors(test)), strict=True):
            chance = float(row[column[example.gold]]) if example.gold in column else 0.0
            predictions.append(_likely(example, str(model.classes_[row.argmax()]), float(row.max()), chance))
        return predictions

    return answer


def _likely(example: Example, label: str, score: float, chance: float) -> Prediction:
    loss = -math.log(chance) if chance > 0 else None
    return Prediction(example.id, label, score, loss, None if loss is None else 1)


def _logistic(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=ITERATIONS, tol=TOLERANCE)


def _strength(
    model: BaseEstimator, name: str, strengths: Sequence[float], known: csr_matrix, golds: np.ndarray, seed: int
) -> float:
    """Choose the regularization by 3-fold cross-validation on training rows, if every fold can hold two classes."""
    order = np.random.default_rng(seed).permutation(len(golds))[:MOST_TO_CHOOSE]
    is_number = golds.dtype.kind == "f"
    commonest = Counter(golds[order].tolist()).most_common(2)
    if len(golds) < ENOUGH_TO_CHOOSE or not (is_number or (len(commonest) == 2 and commonest[1][1] >= FOLDS)):
        return strengths[len(strengths) // 2]
    folds = (KFold if is_number else StratifiedKFold)(FOLDS, shuffle=True, random_state=seed)
    scoring = "neg_mean_squared_error" if is_number else None
    search = GridSearchCV(model, {name: strengths}, cv=folds, refit=False, scoring=scoring)
    return float(search.fit(known[order], golds[order]).best_params_[name])


# ── numbers and sets of labels ────────────────────────────────────────────────────────────────


def _number_baselines(data: Vectorized, test: ExampleSeq, seed: int) -> list[Answers]:
    golds = np.array([float(example.gold) for example in data.train])
    strength = _strength(Ridge(solver="sparse_cg"), "alpha", RIDGE_STRENGTHS, data.known, golds, seed)
    model = Ridge(alpha=strength, solver="sparse_cg").fit(data.known, golds)

    def answer(test: ExampleSeq) -> list[Prediction]:
        """Return the predicted number of each row."""
        numbers = model.predict(data.vectors(test))
        return [Prediction(e.id, written_number(float(number))) for e, number in zip(test, numbers, strict=True)]

    mean = _always(written_number(float(golds.mean())))
    return [
        timed(msg("mean of the training rows"), "trivial", mean, test),
        timed(msg("TF-IDF + ridge regression"), "classic", answer, test),
    ]


def _label_set_baselines(data: Vectorized, test: ExampleSeq) -> list[Answers]:
    [(commonest, _)] = Counter(example.gold for example in data.train).most_common(1)
    majority = timed(msg("commonest set of labels"), "trivial", _always(commonest), test)
    binarizer = MultiLabelBinarizer()
    golds = binarizer.fit_transform([read_list(example.gold) for example in data.train])
    if not golds.size:
        return [majority]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Label .* is present in all training examples", UserWarning)
        model = OneVsRestClassifier(_logistic(STRENGTHS[1])).fit(data.known, golds)

    def answer(test: ExampleSeq) -> list[Prediction]:
        """Return the labels of each row whose probability is above one half."""
        given = np.asarray(model.predict(data.vectors(test))).reshape(len(test), golds.shape[1]).astype(bool)
        return [
            Prediction(example.id, write_tags(binarizer.classes_[row].tolist()))
            for example, row in zip(test, given, strict=True)
        ]

    return [majority, timed(msg("TF-IDF + one-vs-rest logistic regression"), "classic", answer, test)]
