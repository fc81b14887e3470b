"""An answer that people wanted or did not: the model learns to find the one likelier and the other less likely (KTO).

Ethayarajh et al. 2024, "KTO: Model Alignment as Prospect Theoretic Optimization", equations 7 and 8: the reward of an
answer is how much likelier than before training it is, and it counts beyond a reference point, the mean reward of
answers that belong to other requests.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from kamerton.core.contracts import Engine
from kamerton.core.records import Encoded, Example, Prediction, Taught, Turn
from kamerton.forms.given import GivenAnswers, behind_shots, request_of
from kamerton.forms.messages import kept_answer
from kamerton.forms.supervision import target_losses, written
from kamerton.forms.turns import ended, room_before, same_prompt, supervise, tokenize, write_exchange

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase as Tokenizer

SMALLEST = 1e-12
"""The least chance of an answer's tokens, or of others, that a loss is taken of."""


@dataclass(frozen=True)
class BinaryFeedback(GivenAnswers):
    """One answer to a request, and whether it was wanted; `Encoded.extra` holds another row's answer to the request.

    The other answer's `weight` is that of the row, negative where the answer was not wanted.
    """

    beta: float
    """How much a reward counts."""
    desirable: float
    """The weight of answers that people wanted."""
    undesirable: float
    answers: tuple[str, ...]
    """Different training answers, of which each row gets one that is not its own."""

    def is_given(self, example: Example) -> bool:
        """Return whether a row holds an answer."""
        return bool(example.gold)

    def write(self, example: Example, shots: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> Encoded:
        """Tokenize a row's answer after the request, behind the shots that people wanted."""
        shown = [turn for shot in shots if shot.fields["wanted"] for turn in (*request_of(shot)[-1:], _own(shot))]
        return _answered(behind_shots(example, shown), _own(example), tokenizer, max_tokens)

    def training_row(self, example: Example, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
        """Tokenize a row's answer, and another row's after the same request."""
        item = self.write(example, (), tokenizer, max_tokens)
        other = _answered(request_of(example), self._other(example), tokenizer, max_tokens)
        weight = self.desirable if example.fields["wanted"] else -self.undesirable
        return replace(item, extra=(replace(other, weight=weight),), cut=item.cut + other.cut)

    def _other(self, example: Example) -> str:
        """Choose another row's answer by the row's own text: the same wherever and whenever it is encoded."""
        start = zlib.crc32(f"{example.key} {example.gold}".encode())
        tried = (self.answers[(start + at) % len(self.answers)] for at in range(min(2, len(self.answers))))
        return next((answer for answer in tried if answer != example.gold), "")

    def flaw(self, item: Encoded, prompt: Encoded, tokenizer: Tokenizer) -> str:
        """Find a prompt that differs from serving's, and an untaught end."""
        if not same_prompt(item, prompt):
            return "the prompt is written differently in training and in serving"
        if not item.cut and item.targets[-1] != tokenizer.eos_token_id:
            return "the end token is not trained, so the model would not learn to stop"
        return ""

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Mark the answer's tokens; each is read at the one before it."""
        what = "wanted" if item.extra and item.extra[0].weight > 0 else "not wanted"
        return Taught(
            tuple(read + 1 for read in item.output_positions), (f"{what}: {written(item.targets, tokenizer)}",)
        )

    def sequence_name(self, at: int, count: int) -> str:
        """Name the answer, and the one that the reference point is measured by."""
        return ("the row's answer", "another row's answer, for the reference point")[at]

    def supervised(self, item: Encoded) -> int:
        """Count an answer as one, if something is left of it."""
        return int(len(item.sequences) == 2 and bool(item.targets))

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Return each answer's loss: `[items]`, with gradients; the reference point is that of these items."""
        sequences = [sequence for item in items for sequence in item.sequences]
        before = logits.new_tensor([sequence.number for sequence in sequences], dtype=torch.float64)
        rewards = (-target_losses(logits, sequences) - before).view(-1, 2)
        weights = rewards.new_tensor([item.extra[0].weight for item in items])
        return kto_losses(rewards[:, 0], rewards[:, 1], weights, self.beta)

    def with_reference(self, engine: Engine, items: Sequence[Encoded]) -> list[Encoded]:
        """Note how likely the model finds both answers before training."""
        known = [item for item in items if item.extra]
        likely = iter((-engine.losses([one for item in known for one in item.sequences])).reshape(-1, 2).tolist())
        return [_with_reference(item, *next(likely)) if item.extra else item for item in items]

    def judge(self, engine: Engine, examples: Sequence[Example], items: Sequence[Encoded]) -> list[Prediction]:
        """Measure how likely each answer's tokens are, and what that costs by whether it was wanted."""
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
    """Return the weights of both kinds by which neither outweighs the other.

    The paper (section 4.2) wants the wanted ones' share, weight times count, 1 to 4/3 times that of the others.

    >>> balanced_weights(50, 50), balanced_weights(10, 40), balanced_weights(80, 20)
    ((1.0, 1.0), (4.0, 1.0), (1.0, 3.0))
    """
    ratio = wanted / unwanted if wanted and unwanted else 1.0
    return max(1.0, 1 / ratio), max(1.0, ratio * 3 / 4)


def _with_reference(item: Encoded, own: float, other: float) -> Encoded:
    return replace(item, number=own, extra=(replace(item.extra[0], number=other),))


def _answered(turns: Sequence[Turn], answer: str | Turn, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
    exchange = write_exchange(turns, answer, tokenizer)
    [before, after] = tokenize([exchange.prompt, exchange.answer], tokenizer)
    end = ended(after, tokenizer)
    room = room_before(len(end), max_tokens)
    lost = max(0, len(before) - room)
    item = supervise(before[-room:], end, max_tokens)
    return replace(item, cut=item.cut + lost)


def _own(example: Example) -> Turn:
    """Return the answer with its calls of tools and its reasoning."""
    return kept_answer(example.fields["completion"])
