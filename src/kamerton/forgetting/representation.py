"""What an encoder's representation still holds: general features, neighbourhoods, masked words.

An encoder says nothing, so it is asked through its embeddings (the mean of the last hidden states): how well a linear
classifier reads a question's topic or a text's kind off them, and which texts lie beside which. The classifier is
trained anew on each model's own embeddings, by cross-validation: what is lost is what no linear reading finds again.
Where the base model has a masked-language head, that head is put on the tuned body, and its loss compared.
"""

from __future__ import annotations

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
NEIGHBOURS = 10
MASKED_SHARE = 0.15
"""Share of a text's tokens that are masked (Devlin et al. 2019)."""


@dataclass(frozen=True)
class Representation:
    """What an encoder gives for the probe."""

    texts: np.ndarray
    """Embeddings of the documents: `[documents, hidden]`, unit length."""
    questions: np.ndarray
    """Embeddings of the questions: `[questions, hidden]`, unit length."""


def represent(engine: Engine, probe: Probe) -> Representation:
    """Embed the probe's documents and questions."""
    return Representation(
        engine.embed(_encoded(engine, [document.text for document in probe.documents])),
        engine.embed(_encoded(engine, [question.question for question in probe.questions])),
    )


def read_off(embeddings: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Say of each text whether a linear classifier, trained on the others, reads its class off: `[texts]`, 0 or 1."""
    reader = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=5000))
    folds = StratifiedKFold(min(FOLDS, min(classes.count(name) for name in set(classes))), shuffle=True, random_state=0)
    predicted = cross_val_predict(reader, embeddings.astype(np.float64), list(classes), cv=folds)
    return (predicted == np.array(classes)).astype(float)


def same_neighbours(base: np.ndarray, tuned: np.ndarray) -> np.ndarray:
    """Give the share of each text's nearest others that both embeddings `[texts, hidden]` agree on: `[texts]`."""
    count = min(NEIGHBOURS, len(base) - 1)
    pairs = zip(_nearest(base, count), _nearest(tuned, count), strict=True)
    return np.array([len(set(before) & set(after)) / count for before, after in pairs])


def masked(engine: Engine, probe: Probe, mask: int) -> list[Encoded]:
    """Mask some tokens of each document, always the same ones, and ask for what stood there."""
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
