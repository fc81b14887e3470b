"""Decide the open settings of a recipe from the data, the model and the method, with reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kamerton.core import registry
from kamerton.core.contracts import Advice, Answerer, Method, ModelFacts, Task
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.records import Example
from kamerton.runs.recipe import Decision
from kamerton.session.machine import Machine
from kamerton.session.memory import EITHER, Footprint
from kamerton.train.optimizer import preferred_optimizer

WRITTEN = msg("99% of the training answers, with some room, up to a bound: writing is slow")


@dataclass(frozen=True)
class Candidate:
    """A method, judged for a model, a number of rows and a machine."""

    word: str
    advice: Advice
    footprint: Footprint
    refusal: Wording = ""
    """Why the model's structure does not allow it; empty if it does."""

    @property
    def fits(self) -> bool:
        """Whether the model allows it, and the memory suffices for the smallest pass."""
        return not self.refusal and self.footprint.least_bytes() <= self.footprint.room

    @property
    def obstacle(self) -> Wording:
        """Why it does not fit; empty if it does."""
        if self.fits:
            return ""
        if self.refusal:
            return msg("does not fit the model: {reason}", reason=self.refusal)
        needs, free = self.footprint.least_bytes(), self.footprint.machine.free_bytes
        rule = "does not fit: it takes at least {needs}, and {free} are free"
        return msg(rule, needs=Figure(needs, "memory"), free=Figure(free, "memory"))

    @property
    def reason(self) -> Wording:
        """The arguments for or against it."""
        return Joined((self.obstacle, self.advice.reason)) if self.obstacle else self.advice.reason


def candidates(facts: ModelFacts, rows: int, machine: Machine, model: PreTrainedModel | None = None) -> list[Candidate]:
    """Return the methods, those first that fit the machine, the most suitable one first.

    Those that the structure of a given model does not allow come last.
    """
    every = []
    for word in registry.names("methods"):
        method: Method = registry.choose("methods", word)()
        footprint = Footprint.of(method, facts, machine)
        refusal = method.refuses(model) if model else ""
        every.append(Candidate(word, method.suitability(facts, rows), footprint, refusal))
    return sorted(every, key=lambda one: (not one.fits, -one.advice.value))


def choose_method(facts: ModelFacts, rows: int, machine: Machine, model: PreTrainedModel | None = None) -> Decision:
    """Choose the most suitable method of those that fit the model and the machine."""
    every = candidates(facts, rows, machine)
    best = next(one for one in every if model is None or not registry.choose("methods", one.word)().refuses(model))
    better = [one for one in every if one.advice.value > best.advice.value][:1]
    passed = [msg("{method} would suit more but {obstacle}", method=a.word, obstacle=a.obstacle) for a in better]
    return Decision(best.word, Joined([best.advice.reason, *passed]))


def choose_pass(
    method: Method, facts: ModelFacts, machine: Machine, longest: int = 0, recomputes: Sequence[bool] = EITHER
) -> Mapping[str, Decision]:
    """Choose the tokens per training pass, and whether activations are recomputed, by the memory of a machine.

    `longest` are the tokens of the longest row, which no pass divides; `recomputes` are the ways that are possible.
    """
    footprint = Footprint.of(method, facts, machine)
    size = footprint.choose_pass(longest, recomputes)
    kept = msg(
        "a pass then keeps about {bytes} for its backward pass", bytes=Figure(footprint.kept_bytes(size), "memory")
    )
    free = Figure(footprint.machine.free_bytes, "memory")
    why = msg("the memory suffices without")
    if size.recomputed:
        why = msg("a pass would not fit into {free} otherwise", free=free)
    several = {"train.parallel": _parallel(footprint)} if machine.processes > 1 else {}
    return {
        **several,
        "train.tokens_per_pass": Decision(size.tokens, kept),
        "train.gradient_checkpointing": Decision(size.recomputed, why),
    }


def _parallel(footprint: Footprint) -> Decision:
    """Choose whether each process has the whole model, by the memory of a device."""
    whole = replace(footprint, parts=1)
    needs, free = Figure(whole.least_bytes(), "memory"), Figure(footprint.machine.free_bytes, "memory")
    if footprint.parts == 1:
        rule = "each of {count} processes has room for the whole model: it takes at least {needs}, and {free} are free"
        return Decision("ddp", msg(rule, count=footprint.machine.processes, needs=needs, free=free))
    rule = (
        "the whole model takes at least {needs}, and {free} are free: its weights are divided among {count} processes"
    )
    return Decision("fsdp", msg(rule, count=footprint.parts, needs=needs, free=free))


def settings(
    method: Method,
    facts: ModelFacts,
    task: Task,
    form: Answerer,
    train: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    machine: Machine,
) -> Mapping[str, Decision]:
    """Decide every open setting but those of the pass, once the data, the model and the method are known."""
    advice = method.advise(facts, len(train))
    values = {name: int(a.value) if float(a.value).is_integer() else a.value for name, a in advice.items()}
    optimizer, metric, tokens = preferred_optimizer(), task.metrics(train)[0], form.answer_tokens(tokenizer)
    return {
        **{f"train.{name}": Decision(value, advice[name].reason) for name, value in values.items()},
        "train.optimizer": Decision(optimizer, registry.choose("optimizers", optimizer).suitability.reason),
        "model.precision": machine.precision,
        "evaluate.metric": Decision(metric, msg("the first of the task's metrics for these rows")),
        **({"evaluate.max_new_tokens": Decision(tokens, WRITTEN)} if tokens else {}),
    }
