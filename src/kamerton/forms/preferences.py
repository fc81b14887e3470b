"""A request with a chosen and a rejected answer: the model learns to find the chosen one likelier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from kamerton.contracts import Engine
from kamerton.forms.messages import kept_answer, kept_messages, said
from kamerton.forms.supervision import target_losses, written
from kamerton.forms.templates import RefusedError
from kamerton.forms.turns import (
    ended,
    refuse_faulty,
    room_before,
    same_prompt,
    supervise,
    tokenize,
    without_reasoning,
    write_exchange,
    write_prompt,
)
from kamerton.forms.usual import Usual
from kamerton.forms.values import room_for
from kamerton.records import Encoded, Example, Message, Prediction, Taught

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase as Tokenizer

Objective = Literal["dpo", "orpo", "simpo"]


@dataclass(frozen=True)
class Preferences(Usual):
    """Two answers to one request; `Encoded.rivals` holds the rejected one."""

    objective: Objective
    beta: float
    gamma: float
    """The margin that SimPO wants, in units of its reward."""
    smoothing: float
    """Share of the rows whose answers may be the wrong way round, in DPO."""
    answers: tuple[str, ...]
    """The chosen training answers, from which the room for generated ones is measured."""
    model_class: ClassVar = "AutoModelForCausalLM"
    untuned_class: ClassVar = "AutoModelForCausalLM"

    def watched(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Compare every validation row's answers: nothing is written."""
        return examples

    def answer_tokens(self, tokenizer: Tokenizer) -> int:
        """Measure how long nearly all chosen answers are, with some room: for requests that bring none."""
        return room_for([len(ids) for ids in tokenize([(answer,) for answer in self.answers], tokenizer)])

    def encode(self, examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize both answers, each after the same prompt; what does not fit is cut at the end."""
        return [_tried(example, tokenizer, max_tokens) for example in examples]

    def prompts(self, examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Give what serving sends: the request up to where the assistant begins."""
        return [prompt_of(example, tokenizer, max_tokens) for example in examples]

    def flaw(self, item: Encoded, prompt: Encoded, tokenizer: Tokenizer) -> str:
        """Find prompts that differ from serving's or from each other, and untaught ends."""
        for sequence in item.sequences:
            if not same_prompt(sequence, prompt):
                return "the prompt is written differently in training and in serving"
            if not item.cut and sequence.targets[-1] != tokenizer.eos_token_id:
                return "the end token is not trained, so the model would not learn to stop"
        if item.targets == item.rivals[0].targets:
            return "the chosen answer and the rejected one have the same tokens"
        return ""

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Mark the chosen answer's tokens; each is read at the one before it."""
        return Taught(tuple(read + 1 for read in item.reads), (written(item.targets, tokenizer),))

    def called(self, at: int, count: int) -> str:
        """Tell the two answers apart."""
        return ("chosen answer", "rejected answer")[at]

    def supervised(self, item: Encoded) -> int:
        """Count a pair as one, if something is left of both answers."""
        return int(len(item.sequences) == 2 and all(sequence.targets for sequence in item.sequences))

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Give each pair's loss by the objective: `[items]`, with gradients."""
        sequences = [sequence for item in items for sequence in item.sequences]
        chosen, rejected = (-target_losses(logits, sequences)).view(-1, 2).unbind(1)
        lengths = chosen.new_tensor([[len(sequence.targets) for sequence in item.sequences] for item in items])
        if self.objective == "simpo":
            return simpo_losses(chosen / lengths[:, 0], rejected / lengths[:, 1], self.beta, self.gamma)
        if self.objective == "orpo":
            return orpo_losses(chosen / lengths[:, 0], rejected / lengths[:, 1], self.beta)
        reference = chosen.new_tensor([item.number for item in items])
        return dpo_losses(chosen - rejected, reference, self.beta, self.smoothing)

    def grounded(self, engine: Engine, items: Sequence[Encoded]) -> list[Encoded]:
        """Note how much likelier the model finds the chosen answer before training; only DPO asks for it."""
        if self.objective != "dpo":
            return list(items)
        losses = engine.losses([sequence for item in items for sequence in item.sequences]).reshape(-1, 2)
        return [
            replace(item, number=float(rejected - chosen))
            for item, (chosen, rejected) in zip(items, losses, strict=True)
        ]

    def predict(self, engine: Engine, examples: Sequence[Example]) -> list[Prediction]:
        """Say which answer is likelier per token; where there are none to compare, write one."""
        return self.predict_untuned(engine, examples, ())

    def predict_untuned(
        self, engine: Engine, examples: Sequence[Example], shots: Sequence[Example]
    ) -> list[Prediction]:
        """Compare the answers after `shots` with their chosen ones, put as earlier turns of the conversation."""
        compared = [example for example in examples if example.gold and example.fields["rejected"]]
        results = {p.id: p for p in _compare(engine, compared, shots)}
        asking = [example for example in examples if example.id not in results]
        room = max(1, engine.max_tokens - engine.max_new_tokens)
        prompts = self.prompts(asking, engine.tokenizer, room)
        refuse_faulty(prompts)
        texts = engine.generate(prompts) if asking else []
        results |= {
            example.id: Prediction(example.id, without_reasoning(text), cut=prompt.cut)
            for example, text, prompt in zip(asking, texts, prompts, strict=True)
        }
        return [results[example.id] for example in examples]


def dpo_losses(likelier: Tensor, reference: Tensor, beta: float, smoothing: float) -> Tensor:
    """Give DPO's losses (Rafailov et al. 2023, equation 7; smoothing as in cDPO, Mitchell 2023).

    Args:
        likelier: log-likelihood of the chosen answers minus that of the rejected ones, `[pairs]`, nats.
        reference: the same before training.
        beta: how much a difference counts.
        smoothing: 0 for DPO itself.
    """
    reward = beta * (likelier - reference)
    return -logsigmoid(reward) * (1 - smoothing) - logsigmoid(-reward) * smoothing


def simpo_losses(chosen: Tensor, rejected: Tensor, beta: float, gamma: float) -> Tensor:
    """Give SimPO's losses (Meng et al. 2024, equation 6) of mean log-likelihoods per token `[pairs]`."""
    return -logsigmoid(beta * (chosen - rejected) - gamma)


def orpo_losses(chosen: Tensor, rejected: Tensor, weight: float) -> Tensor:
    """Give ORPO's losses (Hong et al. 2024, equations 6 and 7) of mean log-likelihoods per token `[pairs]`.

    The first part is the loss of the chosen answer alone, as in the paper; some implementations add the request's.
    """
    odds = (chosen - rejected) - (torch.log(-torch.expm1(chosen)) - torch.log(-torch.expm1(rejected)))
    return -chosen - weight * logsigmoid(odds)


def asked(example: Example) -> tuple[Message, ...]:
    """Give the turns that both answers answer."""
    return kept_messages(example.fields["prompt"])


def _tried(example: Example, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
    """Tokenize a pair, or say why the template cannot write it."""
    try:
        return _pair(example, (), tokenizer, max_tokens)
    except RefusedError as error:
        return Encoded((), (), (), fault=error.faults[0].rule)


def prompt_of(example: Example, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
    """Tokenize a request, or say why the template cannot write it."""
    try:
        [ids] = tokenize([write_prompt(asked(example), tokenizer)], tokenizer)
    except RefusedError as error:
        return Encoded((), (), (), fault=error.faults[0].rule)
    return Encoded(tuple(ids[-max_tokens:]), (), (), max(0, len(ids) - max_tokens))


def _answers(example: Example) -> list[Message]:
    """Give the chosen answer and the rejected one."""
    return [kept_answer(example.fields[role]) for role in ("chosen", "rejected")]


def _pair(example: Example, shots: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> Encoded:
    shown = [turn for shot in shots for turn in (*asked(shot)[-1:], _answers(shot)[0])]
    turns, answers = asked(example), []
    head = next((at for at, turn in enumerate(turns) if turn.role not in ("system", "tools")), len(turns))
    whole = (*turns[:head], *shown, *turns[head:])
    for answer in _answers(example):
        exchange = write_exchange(whole, answer, tokenizer)
        [before, after] = tokenize([exchange.prompt, exchange.answer], tokenizer)
        answers.append(ended(after, tokenizer))
    room = room_before(max(map(len, answers)), max_tokens)  # one for both: they answer the same prompt
    lost = max(0, len(before) - room)
    pair = [supervise(before[-room:], answer, max_tokens) for answer in answers]
    chosen, rejected = (replace(item, cut=item.cut + lost) for item in pair)
    return replace(chosen, rivals=(rejected,), cut=chosen.cut + rejected.cut)


def _shown(example: Example, shots: Sequence[Example], engine: Engine) -> Encoded:
    """Write both answers after as many shots as fit."""
    for first in range(len(shots) + 1):
        item = _pair(example, shots[first:], engine.tokenizer, engine.max_tokens)
        if not item.cut:
            break
    return item


def _compare(engine: Engine, examples: Sequence[Example], shots: Sequence[Example]) -> list[Prediction]:
    items = [_shown(example, shots, engine) for example in examples]
    sequences = [sequence for item in items for sequence in item.sequences]
    lengths = np.array([max(1, len(sequence.targets)) for sequence in sequences]).reshape(-1, 2)
    means = engine.losses(sequences).reshape(-1, 2) / lengths
    results = []
    for example, (chosen, rejected), item in zip(examples, means, items, strict=True):
        margin = float(rejected - chosen)
        text = example.gold if margin > 0 else said(_answers(example)[1])
        score = float(1 / (1 + np.exp(-abs(margin))))
        results.append(Prediction(example.id, text, score, float(np.logaddexp(0, -margin)), 1, cut=item.cut))
    return results
