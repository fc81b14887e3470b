"""What an encoder's embeddings retain: linear-probe accuracy, nearest neighbors, masked words.

Encoders are probed through their embeddings (the mean of the last hidden states): how well a linear classifier predicts
a question's topic or a text's kind, and which texts are nearest neighbors. The classifier is trained anew on each
model's own embeddings, by cross-validation. Where the base model has a masked-language head, that head is put on the
tuned body, and its loss is compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kamerton.core.contracts import Engine
from kamerton.core.records import Encoded
from kamerton.forgetting.probe import Probe

FOLDS = 5
PENALTY = 0.01
"""Inverse strength of the classifier's ridge: there are more features than texts of a class."""
NEIGHBORS = 10
MASKED_SHARE = 0.15
"""Share of a text's tokens that are masked (Devlin et al. 2019)."""


@dataclass(frozen=True)
class Representation:
    """An encoder's embeddings of the probe's documents and questions: `[texts, hidden]`, unit length."""

    texts: np.ndarray
    questions: np.ndarray


def represent(engine: Engine, probe: Probe) -> Representation:
    """Embed the probe's documents and questions."""
    texts = [document.text for document in probe.documents], [question.question for question in probe.questions]
    return Representation(*(engine.embed(_encoded(engine, some)) for some in texts))


def probe_hits(embeddings: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Return whether a linear probe, trained on the other texts, predicts each text's class: `[texts]`, 0 or 1."""
    reader = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=5000))
    folds = StratifiedKFold(min(FOLDS, min(classes.count(name) for name in set(classes))), shuffle=True, random_state=0)
    predicted = cross_val_predict(reader, embeddings.astype(np.float64), list(classes), cv=folds)
    return (predicted == np.array(classes)).astype(float)


def neighbor_overlap(base: np.ndarray, tuned: np.ndarray) -> np.ndarray:
    """Return the share of each text's nearest neighbors that two embeddings `[texts, hidden]` share: `[texts]`."""
    count = min(NEIGHBORS, len(base) - 1)
    pairs = zip(_nearest(base, count), _nearest(tuned, count), strict=True)
    return np.array([len(set(before) & set(after)) / count for before, after in pairs])


def masked(engine: Engine, probe: Probe, mask: int) -> list[Encoded]:
    """Mask some tokens of each document, always the same ones, and supervise them."""
    drawn = np.random.default_rng(0)
    items = []
    for item in _encoded(engine, [document.text for document in probe.documents]):
        inner = np.arange(1, len(item.tokens) - 1)
        places = sorted(drawn.choice(inner, size=max(1, round(MASKED_SHARE * len(inner))), replace=False).tolist())
        hidden = [mask if place in places else token for place, token in enumerate(item.tokens)]
        items.append(Encoded(tuple(hidden), tuple(places), tuple(item.tokens[place] for place in places)))
    return items


def _nearest(embeddings: np.ndarray, count: int) -> np.ndarray:
    likeness = embeddings @ embeddings.T
    np.fill_diagonal(likeness, -np.inf)
    return np.argsort(-likeness, axis=1, kind="stable")[:, :count]


def _encoded(engine: Engine, texts: Sequence[str]) -> list[Encoded]:
    rows = engine.tokenizer(list(texts), truncation=True, max_length=engine.max_tokens)["input_ids"]
    return [Encoded(tuple(ids), (), ()) for ids in rows]
