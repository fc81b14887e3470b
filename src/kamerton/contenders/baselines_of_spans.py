"""Contenders without a pretrained model where answers are spans: the context's first sentence, and the likeliest."""

from __future__ import annotations

import re

from sklearn.feature_extraction.text import TfidfVectorizer

from kamerton.contenders.contend import timed
from kamerton.core.messages import msg
from kamerton.core.outcomes import Answers
from kamerton.core.records import Example, ExampleSeq, Prediction
from kamerton.text.words import words

SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")


def span_baselines(train: ExampleSeq, test: ExampleSeq) -> list[Answers]:
    """Answer with the first sentence of the context, and with the one that shares most words with the question."""
    weights = TfidfVectorizer(tokenizer=words, token_pattern=None, lowercase=False, sublinear_tf=True)
    weights.fit([example.text or "∅" for example in train])

    def nearest(rows: ExampleSeq) -> list[Prediction]:
        return [Prediction(example.id, _nearest(example, weights)) for example in rows]

    def first(rows: ExampleSeq) -> list[Prediction]:
        return [Prediction(example.id, _sentences(example)[0].strip()) for example in rows]

    return [
        timed(msg("first sentence"), "trivial", first, test),
        timed(msg("sentence nearest to the question by TF-IDF"), "classic", nearest, test),
    ]


def _sentences(example: Example) -> list[str]:
    context = str(example.fields["context"])
    return SENTENCE.findall(context) or [context]


def _nearest(example: Example, weights: TfidfVectorizer) -> str:
    sentences = _sentences(example)
    likeness = weights.transform(sentences) @ weights.transform([str(example.fields["question"])]).T
    return sentences[int(likeness.toarray().argmax())].strip()
