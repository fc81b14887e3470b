"""Labels that may be wrong."""

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from kamerton.core.contracts import AuditContext
from kamerton.core.figures import Figure
from kamerton.core.messages import Message, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._check import SHOWN, Check, Data, share, short
from kamerton.plugins.audits._confident import probable_errors
from kamerton.statistics.intervals import wilson_interval
from kamerton.text.features import text_features
from kamerton.text.label_values import main_spellings

FOLDS = 5
REPEATS, FEW = 5, 1_000
"""Repeats of the cross-validation where rows are few, and how many are few."""
LEAST_ROWS = 50
LOOKED_AT, EMBEDDED = 20_000, 3_000
"""Most rows that are checked; most that are embedded as well, which takes a model's pass over each."""
LONGEST = 1_000
"""Characters of a text that count."""
FEATURES = 30_000
SPARSE_DECAY, DENSE_STRENGTH = 2e-4, 0.01
"""Strong regularization: a classifier that memorizes the wrong labels does not find them."""
SKILL = 0.3
"""Part of the commonest label's errors that a classifier surely avoids (lower end of Wilson's interval at 95%).

Below it nearly all that a classifier contradicts are its own errors: of 10% and 20% flipped labels of film reviews
(skill 0.3 and 0.2) 30% and 39% of what it lists were planted, of the other data sets of `make bench-audits` (0.3 to
0.8) 52% and more.
"""
MANY = 0.05
STRONG = 0.8
"""Accuracy from which on a classifier that contradicts many labels is reason for a warning."""


class WrongLabels(Check):
    """Find rows whose label other rows contradict, by confident learning; they are shown and kept.

    The chances are out of fold: of a logistic regression on TF-IDF of words and letters, averaged, where an
    encoder is chosen and the rows are not too many, with one on its frozen embeddings.
    """

    def find(self, data: Data) -> Finding | None:
        """Predict each row's label from the rows of other folds, where answers are classes."""
        if not data.context.stratified:
            return None
        rows = _usable(data.examples)
        main = main_spellings(Counter(example.gold for example in rows))  # another check reports spellings
        names, labels = np.unique([main.get(example.gold, example.gold) for example in rows], return_inverse=True)
        if len(names) < 2 or len(rows) < LEAST_ROWS:
            return None
        chances = out_of_fold_chances(rows, labels, data.context)
        right = int((chances.argmax(axis=1) == labels).sum())
        base = np.bincount(labels).max() / len(labels)
        if wilson_interval(right, len(labels), 0.95).low < base + SKILL * (1 - base):
            return None
        wrong = probable_errors(chances, labels)
        if not len(wrong):
            return None
        title = msg(
            "{count} of {rows} labels ({share}) may be wrong: a classifier that is right on {correct} of the rows "
            "contradicts {count:it|them}",
            count=len(wrong),
            rows=len(rows),
            share=share(wrong, rows),
            correct=Figure(round(right / len(labels), 2), "percent"),
        )
        remedy = msg("check them, the most probable errors first, and correct them in the source")
        many = right > STRONG * len(labels) and len(wrong) > MANY * len(rows)
        ids = tuple(rows[at].id for at in wrong)
        shown = [_sample(rows[at], str(names[chances[at].argmax()]), chances[at].max()) for at in wrong[:SHOWN]]
        return Finding("wrong-labels", "warning" if many else "note", title, remedy, ids, samples=tuple(shown))


def _sample(row: Example, other: str, chance: float) -> Message:
    return msg(
        "{place}: {text} → {gold}, likelier {other} ({chance})",
        place=str(row.place),
        text=short(row.text),
        gold=short(row.gold),
        other=short(other),
        chance=Figure(round(float(chance), 2), "percent"),
    )


def _usable(examples: Sequence[Example]) -> list[Example]:
    """Return rows with a text and a label that every fold has, at most `LOOKED_AT`, evenly spaced."""
    places = np.linspace(0, len(examples) - 1, min(LOOKED_AT, len(examples))).astype(int).tolist()
    filled = [example for at in places if (example := examples[at]).text.strip() and example.gold.strip()]
    counts = Counter(example.gold for example in filled)
    return [example for example in filled if counts[example.gold] >= FOLDS]


def out_of_fold_chances(rows: Sequence[Example], labels: np.ndarray, context: AuditContext) -> np.ndarray:
    """Return each row's chances of each label, `[rows, classes]`, by classifiers that were not trained on the row."""
    sparse = SGDClassifier(loss="log_loss", alpha=SPARSE_DECAY, max_iter=20, random_state=0)
    tfidf = text_features(FEATURES, FEATURES, shortest=2)
    features = csr_matrix(tfidf.fit_transform([example.text.strip()[:LONGEST] for example in rows]))
    chances = [_cross_predict(sparse, features, labels)]
    if context.embed is not None and len(rows) <= EMBEDDED:
        embedded = context.embed(rows)
        scaled = (embedded - embedded.mean(axis=0)) / (embedded.std(axis=0) + 1e-6)
        chances.append(_cross_predict(LogisticRegression(C=DENSE_STRENGTH, max_iter=200), scaled, labels))
    return np.asarray(np.mean(chances, axis=0))


def _cross_predict(
    classifier: SGDClassifier | LogisticRegression, features: np.ndarray | csr_matrix, labels: np.ndarray
) -> np.ndarray:
    """Predict every row out of fold; few rows several times, because the folds matter then."""
    folds = [StratifiedKFold(FOLDS, shuffle=True, random_state=i) for i in range(REPEATS if len(labels) <= FEW else 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly optimal weights rank as well
        chances = [cross_val_predict(classifier, features, labels, cv=cv, method="predict_proba") for cv in folds]
    return np.asarray(np.mean(chances, axis=0))
