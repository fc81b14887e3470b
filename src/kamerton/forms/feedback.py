"""An answer that people wanted or did not: KTO makes the one likelier and the other less likely.

Ethayarajh et al. 2024, "KTO: Model Alignment as Prospect Theoretic Optimization", equations 7 and 8: the reward of an
answer is the gain of its log-likelihood by training, relative to a reference point, the mean reward of answers to
other requests.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kamerton.core.contracts import Engine, Tokenizer
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Taught, Turn
from kamerton.forms.given import GivenAnswers, behind_shots, request_of
from kamerton.forms.messages import kept_answer
from kamerton.forms.supervision import sequences_of, target_losses
from kamerton.forms.turns import exchanged, supervise

SMALLEST = 1e-12
"""The least probability in a logarithm."""


@dataclass(frozen=True)
class BinaryFeedback(GivenAnswers):
    """One answer to a request, and whether it was wanted.

    `Encoded.extra` holds another row's answer after the request. Its `weight` is that of the row, negative where the
    answer was not wanted.
    """

    beta: float
    """Scale of the rewards."""
    desirable: float
    """The weight of answers that people wanted."""
    undesirable: float
    answers: tuple[str, ...]
    """Distinct training answers; each row gets one that is not its own."""

    def is_given(self, example: Example) -> bool:
        """Return whether a row holds an answer."""
        return bool(example.gold)

    def write(self, example: Example, shots: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
        """Tokenize a row's answer after the request and the shots that people wanted."""
        shown = [turn for shot in shots if shot.fields["wanted"] for turn in (*request_of(shot)[-1:], _own(shot))]
        return supervise(*exchanged(behind_shots(example, shown), _own(example), tokenizer), max_tokens)

    def training_row(self, example: Example, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
        """Tokenize a row's answer, and another row's after the same request."""
        item = self.write(example, (), tokenizer, max_tokens)
        other = supervise(*exchanged(request_of(example), self._other(example), tokenizer), max_tokens)
        weight = self.desirable if example.fields["wanted"] else -self.undesirable
        return replace(item, extra=(replace(other, weight=weight),), cut=item.cut + other.cut)

    def _other(self, example: Example) -> str:
        """Choose another row's answer by a hash of the row: the same each time it is encoded."""
        start = zlib.crc32(f"{example.key} {example.gold}".encode())
        tried = (self.answers[(start + at) % len(self.answers)] for at in range(min(2, len(self.answers))))
        return next((answer for answer in tried if answer != example.gold), "")

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Return the answer's tokens; each is predicted at the one before it."""
        taught = super().taught(item, tokenizer)
        [answer] = taught.words
        wanted = item.extra and item.extra[0].weight > 0
        words = msg("wanted: {answer}", answer=answer) if wanted else msg("not wanted: {answer}", answer=answer)
        return replace(taught, words=(words,))

    def sequence_name(self, at: int, count: int) -> Wording:
        """Name the answer, or the one for the reference point."""
        return msg("another row's answer, for the reference point") if at else msg("the row's answer")

    def supervised(self, item: Encoded) -> int:
        """Count an answer as one, if something is left of it."""
        return int(len(item.sequences) == 2 and bool(item.targets))

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Return each answer's loss: `[items]`, with gradients; the reference point is that of these items."""
        sequences = sequences_of(items)
        before = logits.new_tensor([sequence.number for sequence in sequences], dtype=torch.float64)
        rewards = (-target_losses(logits, sequences) - before).view(-1, 2)
        weights = rewards.new_tensor([item.extra[0].weight for item in items])
        return kto_losses(rewards[:, 0], rewards[:, 1], weights, self.beta)

    def with_reference(self, engine: Engine, items: Sequence[Encoded]) -> list[Encoded]:
        """Add the log-likelihoods of both answers before training."""
        known = [item for item in items if item.extra]
        likely = iter((-engine.losses(sequences_of(known))).tolist())
        return [
            replace(item, number=next(likely), extra=tuple(replace(one, number=next(likely)) for one in item.extra))
            if item.extra
            else item
            for item in items
        ]

    def judge(self, engine: Engine, examples: ExampleSeq, items: Sequence[Encoded]) -> list[Prediction]:
        """Compute the mean probability of each answer's tokens, and a loss by whether it was wanted."""
        means = engine.losses(items) / np.array([max(1, len(item.targets)) for item in items])
        results = []
        for example, item, mean in zip(examples, items, means.tolist(), strict=True):
            wanted, chance = bool(example.fields["wanted"]), float(np.exp(-mean))
            loss = -float(np.log(max(SMALLEST, chance if wanted else -np.expm1(-mean))))
            results.append(Prediction(example.id, example.gold, chance, loss, 1, cut=item.cut, wanted=wanted))
        return results


def kto_losses(rewards: Tensor, others: Tensor, weights: Tensor, beta: float) -> Tensor:
    """Return KTO's losses (Ethayarajh et al. 2024, equations 7 and 8).

    With the reference point z = max(0, mean of `others`), through which no gradient goes, an answer of reward r that
    was wanted costs w (1 - sigmoid(beta (r - z))), another one w (1 - sigmoid(beta (z - r))).

    Args:
        rewards: log-likelihood of the answers minus that before training, `[rows]`, nats.
        others: the same of answers that belong to other requests.
        weights: of the rows, negative where the answer was not wanted.
        beta: how much a reward counts.
    """
    reference = others.mean().clamp(min=0).detach()
    return weights.abs() * torch.sigmoid(beta * weights.sign() * (reference - rewards))


def balanced_weights(wanted: int, unwanted: int) -> tuple[float, float]:
    """Return weights by which neither wanted nor unwanted answers dominate.

    By the paper (section 4.2) the share of the wanted ones, weight times count, is 1 to 4/3 times that of the others.

    >>> balanced_weights(50, 50), balanced_weights(10, 40), balanced_weights(80, 20)
    ((1.0, 1.0), (4.0, 1.0), (1.0, 3.0))
    """
    ratio = wanted / unwanted if wanted and unwanted else 1.0
    return max(1.0, 1 / ratio), max(1.0, ratio * 3 / 4)


def _own(example: Example) -> Turn:
    return kept_answer(example.fields["completion"])
