"""A request with a chosen and a rejected answer: training makes the chosen one likelier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from kamerton.core.contracts import Engine, Tokenizer
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Turn
from kamerton.forms.given import GivenAnswers, behind_shots, request_of
from kamerton.forms.messages import kept_answer, said
from kamerton.forms.supervision import sequences_of, target_losses
from kamerton.forms.turns import exchanged, room_before, supervise

PreferenceLoss = Literal["dpo", "orpo", "simpo"]


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
        turns, answers = behind_shots(example, shown), []
        for answer in _answers(example):
            before, after = exchanged(turns, answer, tokenizer)
            answers.append(after)
        room = room_before(max(map(len, answers)), max_tokens)  # one for both: they answer the same prompt
        lost = max(0, len(before) - room)
        pair = [supervise(before[-room:], answer, max_tokens) for answer in answers]
        chosen, rejected = (replace(item, cut=item.cut + lost) for item in pair)
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
