"""Contenders without a pretrained model where words are tagged, or answers are spans."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier

from kamerton.contenders.contend import Predict, timed
from kamerton.core.messages import msg
from kamerton.core.outcomes import Answers
from kamerton.core.records import Example, ExampleSeq, Prediction
from kamerton.text.tags import read_list, write_tags
from kamerton.text.words import fold, words

COLUMNS = 2**18
"""Of the hashed features: far more than there are, so that they hardly meet."""
PASSES = 20
SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")


def tag_baselines(train: ExampleSeq, test: ExampleSeq, seed: int) -> list[Answers]:
    """Answer by the most common tag, by that of each word, and by a linear model."""
    tagged = [(word, tag) for e in train for word, tag in zip(_words(e), read_list(e.gold), strict=True)]
    [(commonest, _)] = Counter(tag for _, tag in tagged).most_common(1)
    by_word: dict[str, Counter[str]] = defaultdict(Counter)
    for word, tag in tagged:
        by_word[fold(word)][tag] += 1
    usual = {word: counts.most_common(1)[0][0] for word, counts in by_word.items()}
    linear = _linear(train, [tag for _, tag in tagged], seed)
    return [
        timed(msg("commonest tag"), "trivial", _tagger(usual={}, other=commonest), test),
        timed(msg("commonest tag of each word"), "classic", _tagger(usual, commonest), test),
        timed(msg("linear model of words in context"), "classic", linear, test),
    ]


def _tagger(usual: dict[str, str], other: str) -> Predict:
    return lambda test: [
        Prediction(example.id, write_tags([usual.get(fold(word), other) for word in _words(example)]))
        for example in test
    ]


def _linear(train: ExampleSeq, tags: Sequence[str], seed: int) -> Predict:
    hasher = FeatureHasher(COLUMNS, input_type="string")
    features = hasher.transform(row for example in train for row in _in_context(_words(example)))
    if len(set(tags)) == 1:
        return _tagger({}, tags[0])
    model = SGDClassifier(loss="log_loss", max_iter=PASSES, tol=None, average=True, random_state=seed)
    model.fit(features, tags)

    def answer(test: ExampleSeq) -> list[Prediction]:
        """Return the likeliest tag of each word."""
        given = [model.predict(hasher.transform(_in_context(_words(example)))) for example in test]
        return [Prediction(e.id, write_tags([str(tag) for tag in row])) for e, row in zip(test, given, strict=True)]

    return answer


def _in_context(words: Sequence[str]) -> Iterator[list[str]]:
    """Yield the features of each word: itself, its affixes, its shape and its neighbors."""
    folded = ["<", *map(fold, words), ">"]
    for at, word in enumerate(words, 1):
        own = folded[at]
        shape = "".join("X" if c.isupper() else "x" if c.isalpha() else "9" if c.isdigit() else c for c in word[:12])
        yield [
            f"word {own}", f"end {own[-3:]}", f"end {own[-2:]}", f"begin {own[:3]}", f"shape {shape}",
            f"before {folded[at - 1]}", f"after {folded[at + 1]}", f"pair {folded[at - 1]} {own}",
            f"place {min(at, 4)}", f"left {min(len(words) - at, 4)}",
        ]  # fmt: skip


def _words(example: Example) -> list[str]:
    words = example.fields["tokens"]
    return [str(word) for word in words] if isinstance(words, list) else str(words).split()


def span_baselines(train: ExampleSeq, test: ExampleSeq) -> list[Answers]:
    """Answer with the first sentence of the context, and with the one that shares most words with the question."""
    weights = TfidfVectorizer(tokenizer=words, token_pattern=None, lowercase=False, sublinear_tf=True)
    weights.fit([example.text or "∅" for example in train])

    def nearest(rows: ExampleSeq) -> list[Prediction]:
        """Return the sentence of each passage that shares most words with the question."""
        predictions = []
        for example in rows:
            sentences, question = _sentences(example), weights.transform([str(example.fields["question"])])
            likeness = (weights.transform(sentences) @ question.T).toarray()
            predictions.append(Prediction(example.id, sentences[int(likeness.argmax())].strip()))
        return predictions

    def first(rows: ExampleSeq) -> list[Prediction]:
        return [Prediction(example.id, _sentences(example)[0].strip()) for example in rows]

    return [
        timed(msg("first sentence"), "trivial", first, test),
        timed(msg("sentence nearest to the question by TF-IDF"), "classic", nearest, test),
    ]


def _sentences(example: Example) -> list[str]:
    context = str(example.fields["context"])
    return SENTENCE.findall(context) or [context]
