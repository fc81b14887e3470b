"""Confident learning: which labels are wrong according to a model that was not trained on the row.

Northcutt, Jiang, Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70 (2021).
"""

import numpy as np


def confident_joint(chances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Estimate how many rows of each given label are truly of each label (section 3.1, equations 1 to 3).

    A row counts as truly `j` if its chance of `j` is at least the mean chance of `j` among the rows labelled
    so; of several, the likeliest. The counts are calibrated to the number of rows of each given label.

    Args:
        chances: `[rows, classes]`, out of fold.
        labels: `[rows]`, class indices; each class has rows.

    Returns:
        `[given, true]`, summing to the number of rows.
    """
    classes = chances.shape[1]
    thresholds = np.array([chances[labels == label, label].mean() for label in range(classes)])
    confident = np.where(chances >= thresholds - 1e-9, chances, -1.0)
    true, counted = confident.argmax(axis=1), confident.max(axis=1) >= 0
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[counted], true[counted]), 1.0)
    empty = joint.sum(axis=1) == 0
    joint[empty, empty] = 1.0
    given = np.bincount(labels, minlength=classes)
    return joint * (given / joint.sum(axis=1))[:, None]


def probable_errors(chances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rank the rows whose label is probably wrong, the most probable first.

    A row is returned if another label is likelier, and if either of the paper's rankings picks it (section 3.2):
    by class, the least self-confident rows of a label, as many as the joint has off its diagonal there; by
    noise rate, those of the largest margin of another label, as many as the joint has of that pair. In all
    no more are returned than the joint has off its diagonal.

    Args:
        chances: `[rows, classes]`, out of fold.
        labels: `[rows]`, class indices.

    Returns:
        Positions of rows.
    """
    joint = np.rint(confident_joint(chances, labels)).astype(int)
    own = chances[np.arange(len(labels)), labels]
    others = np.where(np.arange(chances.shape[1]) == labels[:, None], -1.0, chances)
    picked = np.zeros(len(labels), bool)
    for label, counts in enumerate(joint):
        rows = np.flatnonzero(labels == label)
        picked[_first(rows, own, counts.sum() - counts[label])] = True
        for other in np.flatnonzero(counts):
            if other != label:
                picked[_first(rows, own - chances[:, other], counts[other])] = True
    margins = own - others.max(axis=1)
    rows = np.flatnonzero(picked & (margins < 0))
    return _first(rows, margins, joint.sum() - joint.trace())


def _first(rows: np.ndarray, scores: np.ndarray, number: int) -> np.ndarray:
    """Return the rows of the lowest scores."""
    return rows[np.argsort(scores[rows], kind="stable")[:number]]
