"""Labels that are probably wrong."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._confident import probable_errors
from kamerton.plugins.audits._wording import SHOWN, count, share, short
from kamerton.text.features import text_features

FOLDS = 5
REPEATS, FEW = 5, 1_000
"""How often few rows are parted anew, and how many are few."""
LEAST_ROWS = 50
LOOKED_AT, EMBEDDED = 20_000, 3_000
"""Most rows that are looked at; most that are embedded as well, which takes a model's pass over each."""
LONGEST = 1_000
"""Characters of a text that are read."""
FEATURES = 30_000
SPARSE_DECAY, DENSE_STRENGTH = 2e-4, 0.01
"""Strong regularisation: a classifier that can learn the wrong labels by heart does not see them."""
SKILL = 0.2
"""Part of the commonest label's errors that a classifier must avoid to be heard."""
MANY = 0.05
STRONG = 0.8
"""Accuracy from which on a classifier that contradicts many labels is reason for a warning."""


class WrongLabels:
    """Find rows whose label other rows contradict, by confident learning; they are shown and kept.

    The chances are out of fold: of a logistic regression on TF-IDF of words and letters, averaged, where an
    encoder is chosen and the rows are not too many, with one on its frozen embeddings.
    """

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Predict each row's label from the rows of other folds, where answers are classes."""
        if not context.stratified:
            return None
        rows = _usable(examples)
        names, labels = np.unique([example.gold for example in rows], return_inverse=True)
        if len(names) < 2 or len(rows) < LEAST_ROWS:
            return None
        chances = out_of_fold_chances(rows, labels, context)
        accuracy = float((chances.argmax(axis=1) == labels).mean())
        base = np.bincount(labels).max() / len(labels)
        if accuracy < base + SKILL * (1 - base):
            return None
        wrong = probable_errors(chances, labels)
        if not len(wrong):
            return None
        strong = accuracy > STRONG
        sampled = f" of {len(rows):,} looked at" if len(rows) < len(examples) else ""
        part = len(wrong) / len(rows)
        return Finding(
            check="wrong-labels",
            severity="warning" if part > MANY and strong else "note",
            title=f"{count(len(wrong), 'label')} ({share(len(wrong), len(rows))}{sampled}) "
            f"{'are probably' if strong else 'may be'} wrong: "
            f"a classifier that is right on {accuracy:.0%} of the rows contradicts them",
            remedy="look at them, the likeliest errors first; correct them in the source: nothing is changed here",
            rows=tuple(rows[i].id for i in wrong),
            samples=tuple(
                f"{rows[i].place}: {short(rows[i].text)} → {short(rows[i].gold)}, "
                f"likelier {short(str(names[chances[i].argmax()]))} ({chances[i].max():.0%})"
                for i in wrong[:SHOWN]
            ),
        )


def _usable(examples: Sequence[Example]) -> list[Example]:
    """Choose rows with a text and a label that every fold can hold, at most so many, evenly from all."""
    places = np.linspace(0, len(examples) - 1, min(LOOKED_AT, len(examples))).astype(int).tolist()
    filled = [example for at in places if (example := examples[at]).text.strip() and example.gold.strip()]
    counts = Counter(example.gold for example in filled)
    return [example for example in filled if counts[example.gold] >= FOLDS]


def out_of_fold_chances(rows: Sequence[Example], labels: np.ndarray, context: AuditContext) -> np.ndarray:
    """Give each row's chances of each label, `[rows, classes]`, by classifiers that did not see the row."""
    sparse = SGDClassifier(loss="log_loss", alpha=SPARSE_DECAY, max_iter=20, random_state=0)
    chances = [_cross_predict(sparse, _tfidf(rows), labels)]
    if context.embed is not None and len(rows) <= EMBEDDED:
        embedded = context.embed(rows)
        scaled = (embedded - embedded.mean(axis=0)) / (embedded.std(axis=0) + 1e-6)
        chances.append(_cross_predict(LogisticRegression(C=DENSE_STRENGTH, max_iter=200), scaled, labels))
    mean: np.ndarray = np.mean(chances, axis=0)
    return mean


def _cross_predict(
    classifier: SGDClassifier | LogisticRegression, features: np.ndarray | csr_matrix, labels: np.ndarray
) -> np.ndarray:
    """Predict every row out of its fold; few rows several times, for which folds they fall into matters."""
    folds = [StratifiedKFold(FOLDS, shuffle=True, random_state=i) for i in range(REPEATS if len(labels) <= FEW else 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly optimal weights rank as well
        chances = [cross_val_predict(classifier, features, labels, cv=cv, method="predict_proba") for cv in folds]
    mean: np.ndarray = np.mean(chances, axis=0)
    return mean


def _tfidf(rows: Sequence[Example]) -> csr_matrix:
    """Weigh words and pieces of them."""
    texts = [example.text.strip()[:LONGEST] for example in rows]
    return csr_matrix(text_features(FEATURES, FEATURES, shortest=2).fit_transform(texts))
