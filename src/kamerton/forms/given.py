"""Answers from the data: their likelihood is scored, and one is generated only where none is given.

A chosen and a rejected answer to a request: training makes the chosen one likelier. An answer that people wanted or did
not: KTO makes the one likelier and the other less likely.
"""

import zlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from kamerton.core.contracts import Engine, Tokenizer
from kamerton.core.errors import Fault
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Taught, Turn
from kamerton.forms.messages import kept_answer, kept_messages, said
from kamerton.forms.supervision import sequences_of, target_losses
from kamerton.forms.templates import RefusedError
from kamerton.forms.turns import (
    cut_start,
    encode_each,
    exchanged,
    room_before,
    supervise,
    tokenize,
    without_reasoning,
    write_prompt,
)
from kamerton.forms.usual import Prompted

PreferenceLoss = Literal["dpo", "orpo", "simpo"]
SMALLEST = 1e-12
"""The least probability in a logarithm."""


class GivenAnswers(Prompted):
    """Base of forms whose rows hold a request and one or two answers to it."""

    room_around: ClassVar = False

    @abstractmethod
    def is_given(self, example: Example) -> bool:
        """Return whether a row holds what is scored."""

    @abstractmethod
    def write(self, example: Example, shots: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
        """Tokenize a row's answers after solved examples.

        Raises:
            RefusedError: the template cannot render the row.
        """

    @abstractmethod
    def judge(self, engine: Engine, examples: ExampleSeq, items: Sequence[Encoded]) -> list[Prediction]:
        """Score the answers of rows, which `write` encoded as `items`."""

    def encode(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize the answers after their request; what does not fit is cut at the end."""
        return encode_each(lambda example: self.training_row(example, tokenizer, max_tokens), examples)

    def training_row(self, example: Example, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
        """Tokenize a row as it is trained on: as it is scored, unless the loss needs more."""
        return self.write(example, (), tokenizer, max_tokens)

    def prompts(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Return what serving sends: the request up to where the assistant begins."""

        def encode(example: Example) -> Encoded:
            [ids] = tokenize([write_prompt(request_of(example), tokenizer)], tokenizer)
            return cut_start(ids, max_tokens)

        return encode_each(encode, examples)

    def predict_untuned(self, engine: Engine, examples: ExampleSeq, shots: ExampleSeq) -> list[Prediction]:
        """Score the answers after `shots`, which are earlier turns of the conversation."""
        given = [example for example in examples if self.is_given(example)]
        items = [self._fitting(example, shots, engine) for example in given]
        results = {one.id: one for one in (self.judge(engine, given, items) if given else ())}
        asking = [example for example in examples if example.id not in results]
        prompts = self.prompts(asking, engine.tokenizer, max(1, engine.max_tokens - engine.max_new_tokens))
        if fault := next((prompt.fault for prompt in prompts if prompt.fault), ""):
            raise RefusedError(Fault(fault, remedy=msg("change the row")))
        texts = engine.generate(prompts) if asking else []
        results |= {
            example.id: Prediction(example.id, without_reasoning(text), cut=prompt.cut)
            for example, text, prompt in zip(asking, texts, prompts, strict=True)
        }
        return [results[example.id] for example in examples]

    def _fitting(self, example: Example, shots: ExampleSeq, engine: Engine) -> Encoded:
        for first in range(len(shots) + 1):
            item = self.write(example, shots[first:], engine.tokenizer, engine.max_tokens)
            if not item.cut:
                break
        return item


def request_of(example: Example) -> tuple[Turn, ...]:
    """Return the turns before the answers."""
    return kept_messages(example.fields["prompt"])


def behind_shots(example: Example, shown: Sequence[Turn]) -> tuple[Turn, ...]:
    """Put solved examples between the system's turn and the request."""
    turns = request_of(example)
    head = next((at for at, turn in enumerate(turns) if turn.role not in ("system", "tools")), len(turns))
    return (*turns[:head], *shown, *turns[head:])


@dataclass(frozen=True)
class Preferences(GivenAnswers):
    """Two answers to one request; `Encoded.extra` holds the rejected one."""

    objective: PreferenceLoss
    beta: float
    gamma: float
    """SimPO's target margin, in units of its reward."""
    smoothing: float
    """Share of the rows whose answers may be swapped, in DPO."""
    answers: tuple[str, ...]
    """The chosen training answers."""

    def is_given(self, example: Example) -> bool:
        """Return whether a row holds both answers."""
        return bool(example.gold and example.fields["rejected"])

    def write(self, example: Example, shots: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
        """Tokenize both answers, each after the same prompt and the chosen answers of the shots."""
        shown = [turn for shot in shots for turn in (*request_of(shot)[-1:], _answers(shot)[0])]
        turns = behind_shots(example, shown)
        pairs = [exchanged(turns, answer, tokenizer) for answer in _answers(example)]
        before, answers = pairs[-1][0], [answer for _, answer in pairs]
        room = room_before(max(map(len, answers)), max_tokens)  # one for both: they answer the same prompt
        lost = max(0, len(before) - room)
        both = [supervise(before[-room:], answer, max_tokens) for answer in answers]
        chosen, rejected = (replace(item, cut=item.cut + lost) for item in both)
        return replace(chosen, extra=(rejected,), cut=chosen.cut + rejected.cut)

    def flaw(self, item: Encoded, prompt: Encoded, tokenizer: Tokenizer) -> Wording:
        """Find prompts that differ from serving's or from each other, untrained ends, and equal answers."""
        for sequence in item.sequences:
            if flaw := super().flaw(sequence, prompt, tokenizer):
                return flaw
        if item.targets == item.extra[0].targets:
            return msg("the chosen answer and the rejected one have the same tokens")
        return ""

    def sequence_name(self, at: int, count: int) -> Wording:
        """Name the chosen or the rejected answer."""
        return msg("rejected answer") if at else msg("chosen answer")

    def supervised(self, item: Encoded) -> int:
        """Count a pair as one, if something is left of both answers."""
        return int(len(item.sequences) == 2 and all(sequence.targets for sequence in item.sequences))

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Compute each pair's loss by the objective: `[items]`, with gradients."""
        chosen, rejected = (-target_losses(logits, sequences_of(items))).view(-1, 2).unbind(1)
        lengths = chosen.new_tensor([[len(sequence.targets) for sequence in item.sequences] for item in items])
        if self.objective == "simpo":
            return simpo_losses(chosen / lengths[:, 0], rejected / lengths[:, 1], self.beta, self.gamma)
        if self.objective == "orpo":
            return orpo_losses(chosen / lengths[:, 0], rejected / lengths[:, 1], self.beta)
        reference = chosen.new_tensor([item.number for item in items])
        return dpo_losses(chosen - rejected, reference, self.beta, self.smoothing)

    def with_reference(self, engine: Engine, items: Sequence[Encoded]) -> list[Encoded]:
        """Add the margin of the chosen answer before training; only DPO needs it."""
        if self.objective != "dpo":
            return list(items)
        losses = engine.losses(sequences_of(items)).reshape(-1, 2)
        return [
            replace(item, number=float(rejected - chosen))
            for item, (chosen, rejected) in zip(items, losses, strict=True)
        ]

    def judge(self, engine: Engine, examples: ExampleSeq, items: Sequence[Encoded]) -> list[Prediction]:
        """Return the answer that is likelier per token."""
        sequences = sequences_of(items)
        means = engine.losses(sequences) / [max(1, len(sequence.targets)) for sequence in sequences]
        results = []
        for example, (chosen, rejected), item in zip(examples, means.reshape(-1, 2), items, strict=True):
            margin = float(rejected - chosen)
            text = example.gold if margin > 0 else said(_answers(example)[1])
            score = float(1 / (1 + np.exp(-abs(margin))))
            results.append(Prediction(example.id, text, score, float(np.logaddexp(0, -margin)), 1, cut=item.cut))
        return results


def dpo_losses(likelier: Tensor, reference: Tensor, beta: float, smoothing: float) -> Tensor:
    """Return DPO's losses (Rafailov et al. 2023, equation 7; smoothing as in cDPO, Mitchell 2023).

    Args:
        likelier: log-likelihood of the chosen answers minus that of the rejected ones, `[pairs]`, nats.
        reference: the same before training.
        beta: scale of the rewards.
        smoothing: 0 for DPO itself.
    """
    reward = beta * (likelier - reference)
    return -logsigmoid(reward) * (1 - smoothing) - logsigmoid(-reward) * smoothing


def simpo_losses(chosen: Tensor, rejected: Tensor, beta: float, gamma: float) -> Tensor:
    """Return SimPO's losses (Meng et al. 2024, equation 6) of mean log-likelihoods per token `[pairs]`."""
    return -logsigmoid(beta * (chosen - rejected) - gamma)


def orpo_losses(chosen: Tensor, rejected: Tensor, weight: float) -> Tensor:
    """Return ORPO's losses (Hong et al. 2024, equations 6 and 7) of mean log-likelihoods per token `[pairs]`.

    The first part is the loss of the chosen answer alone, as in the paper; some implementations add the request's.
    """
    odds = (chosen - rejected) - (torch.log(-torch.expm1(chosen)) - torch.log(-torch.expm1(rejected)))
    return -chosen - weight * logsigmoid(odds)


def _answers(example: Example) -> list[Turn]:
    return [kept_answer(example.fields[role]) for role in ("chosen", "rejected")]


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
        before = torch.tensor([sequence.number for sequence in sequences], dtype=torch.float64)
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
    """Return KTO's losses (Ethayarajh et al. 2024, "KTO: Model Alignment as Prospect Theoretic Optimization", 7 and 8).

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
