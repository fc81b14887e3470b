"""Decide the open settings of a recipe from the data, the model and the method, with reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kamerton.core import registry
from kamerton.core.contracts import Advice, Answerer, Method, ModelFacts, Task
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.records import Example
from kamerton.kernels.device import CPU, free_bytes
from kamerton.models.precision import choose_precision
from kamerton.runs.recipe import MOST_TOKENS_PER_PASS, Decision
from kamerton.train.optimizer import preferred_optimizer

ROOM = 0.9
"""Share of the free memory that a run may fill."""
PASS_BYTES, PASS_SHARE = 2e9, 0.25
"""Most bytes of activations that a training pass may keep; on a card, a share of what is free if that is more."""
KEPT = 80
"""Bytes kept for a token, for each layer and each hidden number: 74 in a Llama with LoRA, 85 in a BERT, measured."""
WRITTEN = msg("99% of the training answers, with some room, up to a bound: writing is slow")
STEP = 256
"""Granularity of the tokens per pass."""


@dataclass(frozen=True)
class Candidate:
    """A method, judged for a model, a number of rows and this machine."""

    word: str
    advice: Advice
    least_bytes: int
    free_bytes: int
    refusal: Wording = ""
    """Why the model's structure does not allow it; empty if it does."""

    @property
    def fits(self) -> bool:
        """Whether the model allows it, and the memory suffices with some room for the rows."""
        return not self.refusal and self.least_bytes <= ROOM * self.free_bytes

    @property
    def obstacle(self) -> Wording:
        """Why it does not fit; empty if it does."""
        if self.fits:
            return ""
        if self.refusal:
            return msg("does not fit the model: {reason}", reason=self.refusal)
        needs, free = Figure(self.least_bytes, "memory"), Figure(self.free_bytes, "memory")
        return msg("does not fit: it takes at least {needs}, and {free} are free", needs=needs, free=free)

    @property
    def reason(self) -> Wording:
        """The arguments for or against it."""
        return Joined((self.obstacle, self.advice.reason)) if self.obstacle else self.advice.reason


def candidates(facts: ModelFacts, rows: int, free: int, model: PreTrainedModel | None = None) -> list[Candidate]:
    """Return the methods, those first that fit into `free` bytes, the most suitable one first.

    Those that the structure of a given model does not allow come last.
    """
    chosen = {word: registry.choose("methods", word) for word in registry.names("methods")}
    every = [
        Candidate(w, m.suitability(facts, rows), m.least_memory(facts), free, m().refuses(model) if model else "")
        for w, m in chosen.items()
    ]
    return sorted(every, key=lambda one: (not one.fits, -one.advice.value))


def choose_method(facts: ModelFacts, rows: int, free: int, model: PreTrainedModel | None = None) -> Decision:
    """Choose the most suitable method of those that fit the model and `free` bytes of memory."""
    every = candidates(facts, rows, free)
    best = next(one for one in every if model is None or not registry.choose("methods", one.word)().refuses(model))
    better = [one for one in every if one.advice.value > best.advice.value][:1]
    passed = [msg("{method} would suit more but {obstacle}", method=a.word, obstacle=a.obstacle) for a in better]
    return Decision(best.word, Joined([best.advice.reason, *passed]))


def choose_pass(facts: ModelFacts, device: torch.device = CPU) -> Decision:
    """Choose the tokens per training pass, so that its activations fit into a bound, or a share of a free card."""
    tokens = _pass_tokens(facts, PASS_BYTES if device == CPU else max(PASS_BYTES, PASS_SHARE * free_bytes(device)))
    memory = Figure(tokens * KEPT * facts.layers * facts.hidden, "memory")
    return Decision(tokens, msg("a pass then keeps about {bytes} for its backward pass", bytes=memory))


def pass_bytes(facts: ModelFacts) -> int:
    """Return the bytes of activations that a training pass of this choice keeps on a CPU."""
    return _pass_tokens(facts) * KEPT * facts.layers * facts.hidden


def _pass_tokens(facts: ModelFacts, room: float = PASS_BYTES) -> int:
    kept = KEPT * facts.layers * facts.hidden
    return max(STEP, min(MOST_TOKENS_PER_PASS, int(room / kept) // STEP * STEP))


def settings(
    method: Method,
    facts: ModelFacts,
    task: Task,
    form: Answerer,
    train: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device = CPU,
) -> Mapping[str, Decision]:
    """Decide every open setting, once the data, the model and the method are known."""
    advice = method.advise(facts, len(train))
    values = {name: int(a.value) if float(a.value).is_integer() else a.value for name, a in advice.items()}
    optimizer, metric, tokens = preferred_optimizer(), task.metrics(train)[0], form.answer_tokens(tokenizer)
    return {
        **{f"train.{name}": Decision(value, advice[name].reason) for name, value in values.items()},
        "train.optimizer": Decision(optimizer, registry.choose("optimizers", optimizer).suitability.reason),
        "train.tokens_per_pass": choose_pass(facts, device),
        "model.precision": choose_precision(device),
        "evaluate.metric": Decision(metric, msg("the first of the task's metrics for these rows")),
        **({"evaluate.max_new_tokens": Decision(tokens, WRITTEN)} if tokens else {}),
    }
