"""An answer's span in a context, read by a head of two outputs: where it begins and where it ends."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from kamerton.core.contracts import Engine, Tokenizer, TooLong
from kamerton.core.messages import msg
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Taught
from kamerton.forms.reading import OVERLAP, embed_texts, pieces_of
from kamerton.forms.supervision import IGNORED, on_host, one_row, sequences_of, sums
from kamerton.forms.usual import Usual
from kamerton.text.words import Bounds, bounds

BEGINS, ENDS = 1, 2
"""Targets are sums of these: the answer begins, ends, or does both at a token; 0 elsewhere."""
BEST = 20
"""Spans of each window that an answer is chosen among, as in SQuAD's reference implementation."""
SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")
CUT_QUESTION = 2
"""A question takes at most one part in so many of a window."""
Letters = tuple[Bounds, ...]


@dataclass(frozen=True)
class SpanReader(Usual):
    """A span head on an encoder: the answer begins at one token and ends at one; both at the first if there is none.

    A long context is read in overlapping windows (Devlin et al. 2019); the best span of all windows answers, unless
    no answer is more probable in every one of them.
    """

    longest: int
    """Most letters of an answer."""
    may_be_absent: bool
    """Whether any training question has no answer."""
    stride: int | None
    """Tokens that a window shares with the one before it; a quarter of it if not given."""
    bar: float
    """How much more the best span must score than no answer."""
    too_long: ClassVar[tuple[TooLong, ...]] = ("window",)
    model_class: ClassVar = "AutoModelForQuestionAnswering"
    untuned_class: ClassVar = "AutoModel"
    config: ClassVar[dict[str, object]] = {"num_labels": 2}
    """A start and an end, whatever the head was for that the model was saved with."""

    def encode(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize question and context in windows; every token of the context is an output position."""
        windows = (self._windows(example, tokenizer, max_tokens) for example in examples)
        return [
            one_row(replace(sequence, targets=_targets(example, letters)) for sequence, letters in some)
            for example, some in zip(examples, windows, strict=True)
        ]

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Return the answer's first and last token."""
        marked = [read for read, target in zip(item.output_positions, item.targets, strict=True) if target > 0]
        if not marked:
            return Taught((), ())
        answer = tokenizer.decode(item.tokens[marked[0] : marked[-1] + 1]) if marked[0] else msg("(no answer here)")
        return Taught(tuple(marked), (answer,))

    def supervised(self, item: Encoded) -> int:
        """Count the windows whose answer is known."""
        return sum(max(sequence.targets) > 0 for sequence in item.sequences)

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Compute the mean of both ends' cross-entropies, summed over each item's windows: `[items]`, nats."""
        sequences = sequences_of(items)
        parts = on_host(logits).split([len(sequence.output_positions) for sequence in sequences])
        losses = [_loss_at_ends(part, sequence) for part, sequence in zip(parts, sequences, strict=True)]
        return sums(torch.stack(losses), [len(item.sequences) for item in items])

    def predict(self, engine: Engine, examples: ExampleSeq) -> list[Prediction]:
        """Return the best span of all windows, or none."""
        encoded = self.encode(examples, engine.tokenizer, engine.max_tokens)
        logits = iter(engine.read(sequences_of(encoded)))
        predictions = []
        for example, item in zip(examples, encoded, strict=True):
            read = [next(logits) for _ in item.sequences]
            windows = self._windows(example, engine.tokenizer, engine.max_tokens)
            loss = float(self.losses(torch.tensor(np.concatenate(read)), [item])[0])
            known = self.supervised(item)
            measured = (loss, known) if known else (None, None)
            predictions.append(Prediction(example.id, *self._choose(example, windows, read), *measured))
        return predictions

    def _choose(
        self, example: Example, windows: Sequence[tuple[Encoded, Letters]], read: Sequence[np.ndarray]
    ) -> tuple[str, float | None]:
        """Choose among the best spans of all windows and no answer; return the text and its probability among them."""
        found = [span for (_, at), logits in zip(windows, read, strict=True) for span in self._spans(at, logits)]
        absent = min(float(logits[0].sum()) for logits in read)
        scores = np.array([score for score, _ in found] + [absent] * self.may_be_absent)
        if not len(scores):
            return "", None
        best = max(range(len(found)), key=lambda at: found[at][0], default=None)
        if best is None or (self.may_be_absent and found[best][0] <= absent + self.bar):
            best = len(scores) - 1
        chances = np.exp(scores - np.logaddexp.reduce(scores))
        context = str(example.fields["context"])
        text = context[found[best][1].start : found[best][1].end] if best < len(found) else ""
        return text.strip(), float(chances[best])

    def _spans(self, letters: Letters, logits: np.ndarray) -> list[tuple[float, Bounds]]:
        """Return the best spans of a window: those that do not end before they begin and are not too long."""
        starts, ends = np.array([one.start for one in letters]), np.array([one.end for one in letters])
        begins, finishes = (np.argsort(-logits[1:, side], kind="stable")[:BEST] for side in (0, 1))
        return [
            (float(logits[1 + i, 0] + logits[1 + j, 1]), Bounds(int(starts[i]), int(ends[j])))
            for i in begins
            for j in finishes
            if i <= j and ends[j] - starts[i] <= self.longest
        ]

    def predict_untuned(self, engine: Engine, examples: ExampleSeq, shots: ExampleSeq) -> list[Prediction]:
        """Return the sentence whose embedding is nearest to the question's; with shots, a part as long as theirs."""
        lengths = sorted(len(bounds(answers_of(shot)[0])) for shot in shots if answers_of(shot)[0])
        words = lengths[len(lengths) // 2] if lengths else 0
        return [Prediction(example.id, self._nearest(engine, example, words)) for example in examples]

    def _nearest(self, engine: Engine, example: Example, words: int) -> str:
        context, question = str(example.fields["context"]), str(example.fields["question"])
        sentence = _nearest_text(engine, question, SENTENCE.findall(context) or [context])
        found = bounds(sentence)
        if not words or len(found) <= words:
            return sentence.strip()
        pieces = zip(found, found[words - 1 :], strict=False)
        return _nearest_text(engine, question, [sentence[first.start : last.end] for first, last in pieces])

    def _windows(self, example: Example, tokenizer: Tokenizer, max_tokens: int) -> list[tuple[Encoded, Letters]]:
        """Tokenize a question with each part of its context; return also the letters of the context's tokens.

        Output positions are the first token, which stands for no answer, and the context's.
        """
        question, context = str(example.fields["question"]).strip(), str(example.fields["context"])
        asked = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        room = max(1, max_tokens // CUT_QUESTION - tokenizer.num_special_tokens_to_add(pair=True))
        if len(asked["input_ids"]) > room:
            question = question[: asked["offset_mapping"][room - 1][1]]
        left = max_tokens - tokenizer.num_special_tokens_to_add(pair=True) - min(room, len(asked["input_ids"]))
        batch = tokenizer(
            [question],
            [context],
            truncation="only_second",
            max_length=max_tokens,
            stride=min(left - 1, left // OVERLAP if self.stride is None else self.stride),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        windows = []
        for at, piece in enumerate(pieces_of(batch)):
            places = [place for place, part in enumerate(batch.sequence_ids(at)) if part == 1]
            letters = tuple(Bounds(*batch["offset_mapping"][at][place]) for place in places)
            windows.append((replace(piece, output_positions=(0, *places)), letters))
        return windows


def answers_of(example: Example) -> list[str]:
    """List the answers that are right; an empty one where there is none."""
    return [str(answer["text"]) for answer in _fields(example)] or [""]


def _fields(example: Example) -> list[dict[str, object]]:
    return cast("list[dict[str, object]]", example.fields.get("answer") or [])


def _targets(example: Example, letters: Letters) -> tuple[int, ...]:
    """Mark where the first answer begins and ends; the first token, if it does not stand whole in the window."""
    answers = _fields(example)
    place = next(filter(None, map(_place, answers)), None)
    if not example.gold or (answers and place is None):  # unknown, or not in the words of the context
        return (IGNORED,) * (len(letters) + 1)
    begin, end = _tokens_at(place, letters) if place else (0, 0)
    targets = [0] * (len(letters) + 1)
    targets[begin] += BEGINS
    targets[end] += ENDS
    return tuple(targets)


def _tokens_at(place: Bounds, letters: Letters) -> tuple[int, int]:
    """Return the output positions of a place's first and last token; the first one if it is not whole in the window."""
    inside = [at for at, one in enumerate(letters) if one.start < place.end and place.start < one.end]
    whole = inside and letters[inside[0]].start <= place.start and place.end <= letters[inside[-1]].end
    return (inside[0] + 1, inside[-1] + 1) if whole else (0, 0)


def _place(answer: dict[str, object]) -> Bounds | None:
    start = answer.get("answer_start")
    return Bounds(start, start + len(str(answer["text"]))) if isinstance(start, int) and start >= 0 else None


def _loss_at_ends(logits: Tensor, sequence: Encoded) -> Tensor:
    """Compute the mean of both ends' cross-entropies, in nats, of float64 logits; 0 if they are not known."""
    if max(sequence.targets) <= 0:
        return logits.new_zeros(())
    chances = logits.log_softmax(dim=0)
    begin, end = (next(at for at, target in enumerate(sequence.targets) if target & mark) for mark in (BEGINS, ENDS))
    return -(chances[begin, 0] + chances[end, 1]) / 2


def _nearest_text(engine: Engine, question: str, texts: Sequence[str]) -> str:
    vectors = embed_texts(engine, [(question,), *((text,) for text in texts)])
    return texts[int((vectors[1:] @ vectors[0]).argmax())]
