"""Measure what a tuned model forgot: the bare base model and the tuned one are asked the same probe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from kamerton.core.contracts import ModelFacts
from kamerton.core.errors import Fault, ModelError, RecipeError
from kamerton.core.outcomes import Forgetting
from kamerton.core.records import Encoded, Progress, Stage
from kamerton.engine.engine import TorchEngine, make_engine
from kamerton.forgetting.before import remembered
from kamerton.forgetting.benchmarks import benchmark_changes, load_tasks, take_benchmarks
from kamerton.forgetting.decide import (
    Measured,
    Precision,
    conclude_forgetting,
    masked_change,
    representation_changes,
    speech_changes,
    task_change,
    text_changes,
)
from kamerton.forgetting.probe import (
    LANGUAGES,
    Probe,
    Size,
    known_languages,
    load_probe,
    readable_languages,
    tokens_per_word,
)
from kamerton.forgetting.representation import Representation, masked, represent
from kamerton.forgetting.speech import Speech, hear, outlooks_on
from kamerton.models.load import load_model
from kamerton.models.structure import layer_stack, outer_model
from kamerton.runs.run import Run
from kamerton.session.engines import engine_of
from kamerton.session.setup import Clock, Setup, bare, make_method
from kamerton.text.language_id import language_of

LONGEST = 512
"""Most tokens of a text of the probe that are looked at."""
WRITTEN = 24
"""Most tokens of an answer to a request of the probe: its forms need no more."""
TOKENS_PER_PASS = 4096
"""The same in every run, whatever its recipe says: the base is read once for all of them."""
LOOKED_AT = 200
"""Training rows whose language is looked at."""
TASK_ROWS = 16
"""Validation rows on which the divergence from the base is measured."""


def remember(run: Run, setup: Setup, engine: TorchEngine, clock: Clock) -> Iterator[Stage | Progress]:
    """Ask the bare base model and the tuned one what neither was tuned for, and see what was forgotten."""
    if run.read_forgetting():
        return
    size, names = setup.recipe.evaluate.forgetting, setup.recipe.benchmarks.tasks
    asked = Asked((), "evaluate.forgetting is off")
    if size != "off":
        yield Progress("forgetting", 0, 2)
        meter = make_meter(setup, engine, size)
        yield Progress("forgetting", 1, 2)
        asked = ask_probe(setup, engine, meter)
        yield Progress("forgetting", 2, 2)
    if names:
        yield Progress("benchmarks", 0, 1)
        changes = measure_benchmarks(setup, engine, names, setup.recipe.benchmarks.rows)
        asked = replace(asked, measured=(*asked.measured, *changes))
        yield Progress("benchmarks", 1, 1)
    forgetting = conclude_forgetting(asked.measured, asked.left_out)
    run.write_forgetting(forgetting)
    if asked.measured or size != "off":
        yield clock.stage("forgetting", forgetting.reason)


def check_benchmarks(run: Run, setup: Setup, clock: Clock) -> Iterator[Stage]:
    """Fetch the rows of the benchmarks that the recipe asks for, before anything slow.

    Raises:
        RecipeError: they cannot be had, or the model does not write.
    """
    names = setup.recipe.benchmarks.tasks
    if names and not run.read_forgetting():
        tasks = benchmark_tasks(setup, names)
        yield clock.stage("benchmarks", f"{', '.join(tasks)}: at most {setup.recipe.benchmarks.rows} rows each")


def benchmark_tasks(setup: Setup, names: Sequence[str]) -> Mapping[str, Any]:
    """Load benchmark tasks for a run's models.

    Raises:
        RecipeError: their rows cannot be had, or the model does not write.
    """
    if setup.facts.kind != "decoder":
        rule = f"benchmarks ask models that write; {setup.facts.name} is of the kind {setup.facts.kind}"
        raise RecipeError(Fault(rule, "benchmarks.tasks", "leave them out for this model"))
    return load_tasks(names)


def measure_benchmarks(setup: Setup, engine: TorchEngine, names: Sequence[str], rows: int) -> list[Measured]:
    """Ask the bare base model and the tuned one the same rows of benchmark tasks.

    Raises:
        RecipeError: a task's rows cannot be had, or it cannot be asked.
    """
    tasks = benchmark_tasks(setup, names)
    base = load_model(setup.facts.folder, "AutoModelForCausalLM", {}, setup.recipe.seed).model
    before = take_benchmarks(engine_of(setup, base), tasks, rows)
    return [*benchmark_changes(before, take_benchmarks(engine, tasks, rows), _precision(setup))]


@dataclass(frozen=True)
class Asked:
    """What was measured, and what was not, and why."""

    measured: tuple[Measured, ...]
    left_out: str


class Meter(Protocol):
    """A base model's readings, against which tuned models are held."""

    def measure(self, engine: TorchEngine) -> list[Measured]:
        """Ask a tuned model everything."""

    def measure_deciding(self, engine: TorchEngine) -> list[Measured]:
        """Ask a tuned model only what the decision goes by."""


class SpeechMeter:
    """For models that write: the probe is put to them as text.

    One that reads with one half and writes with the other is asked for each text's second half after its first;
    questions and requests are not put to it, for most such models were never trained to follow any.
    """

    def __init__(self, setup: Setup, size: Size) -> None:
        self.halves = setup.facts.kind == "seq2seq"
        base = _base_engine(setup, "AutoModelForSeq2SeqLM" if self.halves else "AutoModelForCausalLM")
        self.setup, self.precision, self.probe = setup, _precision(setup), speech_probe(setup, size)
        languages = [document.language for document in self.probe.documents]
        circumstances = _circumstances(base, [*dict.fromkeys(languages)], size)
        self.base = remembered(Speech, circumstances, lambda: hear(base, self.probe, halves=self.halves))
        self.task_rows = setup.encode(setup.split.validation[:TASK_ROWS])
        self.task = outlooks_on(base, self.task_rows, halves=self.halves)

    def measure(self, engine: TorchEngine) -> list[Measured]:
        """Ask everything, and look at the task's own rows."""
        asked = _probing(engine, self.setup)
        heard = hear(asked, self.probe, halves=self.halves)
        changes = speech_changes(self.probe, self.base, heard, self.precision)
        task = outlooks_on(asked, self.task_rows, halves=self.halves)
        return [*changes, task_change(self.task, task, self.precision)]

    def measure_deciding(self, engine: TorchEngine) -> list[Measured]:
        """Ask only for the texts' losses."""
        texts = replace(self.probe, questions=(), requests=())
        heard = hear(_probing(engine, self.setup), texts, halves=self.halves)
        changes = text_changes(texts, self.base, heard, self.precision)
        return [one for one in changes if one.limits]


class RepresentationMeter:
    """For models that only represent: they are asked through their embeddings, and for masked words."""

    def __init__(self, setup: Setup, size: Size) -> None:
        base = _base_engine(setup, "AutoModel")
        languages = known_languages(setup.tokenizer)
        self.setup, self.precision, self.probe = setup, _precision(setup), load_probe(languages, size)
        self.layers = len(layer_stack(outer_model(base.model)))
        self.base = remembered(
            Representation, _circumstances(base, languages, size), lambda: represent(base, self.probe)
        )
        self.head = masked_language_model(setup.facts)
        mask = setup.tokenizer.mask_token_id
        self.masked = masked(base, self.probe, mask) if self.head and mask is not None else []
        self.masked_losses = self._masked_losses(base)

    def measure(self, engine: TorchEngine) -> list[Measured]:
        """Embed the probe, and let the base's own head guess masked words above the tuned layers.

        Layers that the base does not have are left out: what they give is for the task's head alone, and what was
        known is still there below them.
        """
        tuned = outer_model(engine.model).base_model
        with _cut(layer_stack(tuned), self.layers):
            body = _probing(engine_of(self.setup, tuned), self.setup)
            changes = [*representation_changes(self.probe, self.base, represent(body, self.probe), self.precision)]
            if self.masked:
                words = np.array([float(len(item.targets)) for item in self.masked])
                changes.append(masked_change(self.masked_losses, self._masked_losses(body), words, self.precision))
        return changes

    def measure_deciding(self, engine: TorchEngine) -> list[Measured]:
        """Ask everything, since an encoder answers it in one pass; keep what decides."""
        return [one for one in self.measure(engine) if one.limits]

    def _masked_losses(self, body: TorchEngine) -> np.ndarray:
        """Give the losses of each document's masked words with the base's head above a body: `[documents]`."""
        if not self.masked or self.head is None:
            return np.zeros(0)
        setattr(self.head, self.head.base_model_prefix, body.model)
        shortest: Sequence[Encoded] = sorted(self.masked, key=lambda item: len(item.tokens))[:3]
        engine = make_engine(
            self.head,
            body.tokenizer,
            body.facts,
            shortest,
            max_tokens=body.max_tokens,
            max_new_tokens=1,
            tokens_per_pass=TOKENS_PER_PASS,
        )
        return engine.losses(self.masked)


def speech_probe(setup: Setup, size: Size) -> Probe:
    """Choose what a model that writes is asked: in the languages it knows, and texts of the one it is tuned in."""
    known = known_languages(setup.tokenizer)
    probe = load_probe(known, size)
    if setup.facts.kind == "seq2seq":
        probe = replace(probe, questions=(), requests=())
    tuned = [language for language in _tuned_in(setup) if language not in known]
    return replace(probe, documents=(*probe.documents, *load_probe(tuned, size).documents))


def _tuned_in(setup: Setup) -> list[str]:
    """Name the probe's language that most training rows are in, if the tokenizer has its letters; none if no one is."""
    rows = setup.split.train[:LOOKED_AT]
    spoken = [language_of(f"{example.text} {example.gold}") for example in rows]
    readable = readable_languages(setup.tokenizer)
    return [code for code in readable if spoken.count(LANGUAGES[code]) > len(rows) / 2]


def make_meter(setup: Setup, engine: TorchEngine, size: Size) -> Meter:
    """Choose how a tuned model can be asked, and read its base."""
    setup = bare(setup)  # both are asked in tokens that both know
    writes = outer_model(engine.model).get_output_embeddings() is not None
    return SpeechMeter(setup, size) if writes else RepresentationMeter(setup, size)


def measure_forgetting(setup: Setup, engine: TorchEngine, meter: Meter) -> Forgetting:
    """Ask a tuned model the whole probe and decide what it forgot."""
    asked = ask_probe(setup, engine, meter)
    return conclude_forgetting(asked.measured, asked.left_out)


def ask_probe(setup: Setup, engine: TorchEngine, meter: Meter) -> Asked:
    """Ask a tuned model the whole probe."""
    return Asked(tuple(meter.measure(engine)), left_out(setup))


def masked_language_model(facts: ModelFacts) -> PreTrainedModel | None:
    """Load a base model with its masked-language head; None if its folder holds none."""
    try:
        loaded = load_model(facts.folder, "AutoModelForMaskedLM", {}, seed=0)
    except ModelError:
        return None  # a kind of model that has no such head
    return None if loaded.fresh else loaded.model


@contextmanager
def _cut(stack: nn.ModuleList, layers: int) -> Iterator[None]:
    """Leave only the lowest layers in a stack for a while."""
    others = list(stack[layers:])
    del stack[layers:]
    try:
        yield
    finally:
        stack.extend(others)


def _base_engine(setup: Setup, model_class: str) -> TorchEngine:
    """Load the bare base model, ready for the probe."""
    return _probing(engine_of(setup, load_model(setup.facts.folder, model_class, {}, setup.recipe.seed).model), setup)


def _probing(engine: TorchEngine, setup: Setup) -> TorchEngine:
    """Set an engine's limits for the probe: the same for base and tuned model, and in every run of the method."""
    room = setup.facts.context - make_method(setup.recipe).added_tokens
    return replace(
        engine,
        tokenizer=setup.tokenizer,
        max_tokens=min(LONGEST, room),
        max_new_tokens=min(WRITTEN, room // 2),
        tokens_per_pass=TOKENS_PER_PASS,
        temperature=0.0,
    )


def _circumstances(base: TorchEngine, languages: Sequence[str], size: Size) -> tuple[object, ...]:
    """List what a base model's readings depend on: with other threads or layouts sums are rounded otherwise."""
    limits = (base.max_tokens, base.max_new_tokens, base.tokens_per_pass)
    machine = (torch.__version__, torch.get_num_threads(), str(base.model.device))
    return (base.facts.fingerprint, str(base.layout.name), limits, tuple(languages), size, machine)


def _precision(setup: Setup) -> Precision:
    evaluate = setup.recipe.evaluate
    return Precision(evaluate.confidence, evaluate.resamples, setup.recipe.seed)


def left_out(setup: Setup) -> str:
    """Say which language was not measured, or only by the loss of its texts, and why."""
    known = known_languages(setup.tokenizer)
    others = [code for code in LANGUAGES if code not in known]
    tuned = _tuned_in(setup) if setup.facts.kind != "encoder" else []
    said = []
    for code in others:
        name, spent = LANGUAGES[code], tokens_per_word(setup.tokenizer, code)
        if code in tuned:
            rule = "the loss of texts is measured, for the training rows are in it, and nothing else"
            said.append(f"{name} is broken into letters here, {spent:.1f} tokens a word: {rule}.")
        elif code not in readable_languages(setup.tokenizer):
            said.append(f"{name} is not measured: the model does not have its letters.")
        else:
            said.append(f"{name} is not measured: its words take {spent:.1f} tokens each here.")
    return " ".join(said)
