"""Measure forgetting: the base model and the tuned one answer the same probe."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from kamerton.core.contracts import ModelFacts
from kamerton.core.errors import Fault, ModelError, RecipeError
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Message, Wording, msg
from kamerton.core.records import Progress, Stage
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
    LANGUAGE_NAMES,
    LANGUAGES,
    Probe,
    Size,
    known_languages,
    load_probe,
    readable_languages,
    tokens_per_word,
)
from kamerton.forgetting.representation import Representation, masked, represent
from kamerton.forgetting.speech import Speech, measure_speech, outlooks_on
from kamerton.kernels.device import AUTO, name_of
from kamerton.models.load import load_model
from kamerton.models.published import KINDS
from kamerton.models.structure import device_of, layer_stack, outer_model
from kamerton.runs.run import Run
from kamerton.session.engines import engine_of, plain_model
from kamerton.session.setup import Clock, Setup, bare, make_method
from kamerton.text.language_id import language_of

LONGEST = 512
"""Most tokens of a text of the probe that are read."""
WRITTEN = 24
"""Most tokens of an answer to a request of the probe: its formats need no more."""
TOKENS_PER_PASS = 4096
"""Fixed for every run, so that the base model is read once for all of them."""
LOOKED_AT = 200
"""Training rows whose language is identified."""
TASK_ROWS = 16
"""Validation rows on which the divergence from the base is measured."""


def probe_forgetting(run: Run, setup: Setup, engine: TorchEngine, clock: Clock) -> Iterator[Stage | Progress]:
    """Measure the base model and the tuned one on the probe and on benchmarks, and decide what was forgotten."""
    if run.read_forgetting():
        return
    size, names = setup.recipe.evaluate.forgetting, setup.recipe.benchmarks.tasks
    measured: list[Measured] = []
    if size != "off":
        yield Progress("forgetting", 0, 2)
        meter = make_meter(setup, engine, size)
        yield Progress("forgetting", 1, 2)
        measured += meter.measure(engine)
        yield Progress("forgetting", 2, 2)
    if names:
        yield Progress("benchmarks", 0, 1)
        measured += measure_benchmarks(setup, engine, names, setup.recipe.benchmarks.rows)
        yield Progress("benchmarks", 1, 1)
    unmeasured = left_out(setup) if size != "off" else msg("evaluate.forgetting is off")
    forgetting = conclude_forgetting(measured, unmeasured)
    run.write_forgetting(forgetting)
    if measured or size != "off":
        yield clock.stage("forgetting", forgetting.reason)


def check_benchmarks(run: Run, setup: Setup, clock: Clock) -> Iterator[Stage]:
    """Fetch the rows of the recipe's benchmarks, before anything slow.

    Raises:
        RecipeError: they are not available, or the model does not generate text.
    """
    wanted = setup.recipe.benchmarks
    if wanted.tasks and not run.read_forgetting():
        tasks = ", ".join(_benchmark_tasks(setup, wanted.tasks))
        yield clock.stage("benchmarks", msg("{tasks}: at most {rows} rows each", tasks=tasks, rows=wanted.rows))


def _benchmark_tasks(setup: Setup, names: Sequence[str]) -> Mapping[str, Any]:
    if setup.facts.kind != "decoder":
        rule = "benchmarks need a model that generates text; {model} is of the kind {kind}"
        fault = msg(rule, model=setup.facts.name, kind=KINDS[setup.facts.kind])
        raise RecipeError(Fault(fault, "benchmarks.tasks", msg("leave them out for this model")))
    return load_tasks(names)


def measure_benchmarks(setup: Setup, engine: TorchEngine, names: Sequence[str], rows: int) -> list[Measured]:
    """Measure the base model and the tuned one on the same rows of benchmark tasks.

    Raises:
        RecipeError: a task's rows are not available, it cannot be run, or the model does not generate text.
    """
    tasks = _benchmark_tasks(setup, names)
    base = plain_model(setup, "AutoModelForCausalLM")
    before = take_benchmarks(engine_of(setup, base), tasks, rows)
    return [*benchmark_changes(before, take_benchmarks(engine, tasks, rows), _precision(setup))]


class ForgettingMeter(ABC):
    """The base model's measurements, with which tuned models are compared."""

    @abstractmethod
    def measure(self, engine: TorchEngine) -> list[Measured]:
        """Measure a tuned model on the whole probe."""

    def measure_deciding(self, engine: TorchEngine) -> list[Measured]:
        """Measure a tuned model, and keep what decides."""
        return [one for one in self.measure(engine) if one.limits]


class SpeechMeter(ForgettingMeter):
    """For models that generate text: the probe is given to them as text.

    An encoder-decoder predicts the second half of each text from the first; questions and requests are left out,
    because most such models were never trained to follow any.
    """

    def __init__(self, setup: Setup, size: Size) -> None:
        self.halves = setup.facts.kind == "seq2seq"
        base = _base_engine(setup, "AutoModelForSeq2SeqLM" if self.halves else "AutoModelForCausalLM")
        self.setup, self.precision, self.probe = setup, _precision(setup), speech_probe(setup, size)
        languages = [document.language for document in self.probe.documents]
        circumstances = _circumstances(base, [*dict.fromkeys(languages)], size)
        self.base = remembered(Speech, circumstances, lambda: measure_speech(base, self.probe, halves=self.halves))
        self.task_rows = setup.encode((setup.split.validation or setup.split.typical)[:TASK_ROWS])
        self.task = outlooks_on(base, self.task_rows, halves=self.halves)

    def measure(self, engine: TorchEngine) -> list[Measured]:
        """Measure the whole probe, and the divergence on the task's own rows."""
        probing = _probing(engine, self.setup)
        tuned = measure_speech(probing, self.probe, halves=self.halves)
        changes = speech_changes(self.probe, self.base, tuned, self.precision)
        task = outlooks_on(probing, self.task_rows, halves=self.halves)
        return [*changes, task_change(self.task, task, self.precision)]

    def measure_deciding(self, engine: TorchEngine) -> list[Measured]:
        """Measure only the losses of the texts."""
        texts = replace(self.probe, questions=(), requests=())
        tuned = measure_speech(_probing(engine, self.setup), texts, halves=self.halves)
        return [one for one in text_changes(texts, self.base, tuned, self.precision) if one.limits]


class RepresentationMeter(ForgettingMeter):
    """For encoders: they are measured through their embeddings, and on masked words."""

    def __init__(self, setup: Setup, size: Size) -> None:
        base = _base_engine(setup, "AutoModel")
        languages = known_languages(setup.tokenizer)
        self.setup, self.precision, self.probe = setup, _precision(setup), load_probe(languages, size)
        self.layers = len(layer_stack(outer_model(base.model)))
        circumstances = _circumstances(base, languages, size)
        self.base = remembered(Representation, circumstances, lambda: represent(base, self.probe))
        self.head = masked_language_model(setup.facts, setup.device)
        mask = setup.tokenizer.mask_token_id
        self.masked = masked(base, self.probe, mask) if self.head and mask is not None else []
        self.masked_losses = self._masked_losses(base)

    def measure(self, engine: TorchEngine) -> list[Measured]:
        """Embed the probe, and predict masked words with the base's own head above the tuned layers.

        Layers that the base does not have are left out: their output is for the task's head alone.
        """
        tuned = outer_model(engine.model).base_model
        with _cut(layer_stack(tuned), self.layers):
            body = _probing(engine_of(self.setup, tuned), self.setup)
            changes = [*representation_changes(self.probe, self.base, represent(body, self.probe), self.precision)]
            if self.masked:
                words = np.array([float(len(item.targets)) for item in self.masked])
                changes.append(masked_change(self.masked_losses, self._masked_losses(body), words, self.precision))
        return changes

    def _masked_losses(self, body: TorchEngine) -> np.ndarray:
        """Return the losses of each document's masked words with the base's head above a body: `[documents]`."""
        if not self.masked or self.head is None:
            return np.zeros(0)
        setattr(self.head, self.head.base_model_prefix, body.model)
        shortest = sorted(self.masked, key=lambda item: len(item.tokens))[:3]
        given = self.head, body.tokenizer, body.facts, shortest
        engine = make_engine(*given, max_tokens=body.max_tokens, max_new_tokens=1, tokens_per_pass=TOKENS_PER_PASS)
        return engine.losses(self.masked)


def speech_probe(setup: Setup, size: Size) -> Probe:
    """Choose the probe of a generating model: in the languages it knows, and texts of the one it is tuned in."""
    known = known_languages(setup.tokenizer)
    probe = load_probe(known, size)
    if setup.facts.kind == "seq2seq":
        probe = replace(probe, questions=(), requests=())
    tuned = [language for language in _tuned_in(setup) if language not in known]
    return replace(probe, documents=(*probe.documents, *load_probe(tuned, size).documents))


def _tuned_in(setup: Setup) -> list[str]:
    """List the probe's language that most training rows are in, if the tokenizer knows its letters."""
    spoken = [language_of(f"{example.text} {example.gold}") for example in setup.split.typical[:LOOKED_AT]]
    return [code for code in readable_languages(setup.tokenizer) if spoken.count(LANGUAGES[code]) > len(spoken) / 2]


def make_meter(setup: Setup, engine: TorchEngine, size: Size) -> ForgettingMeter:
    """Choose how a tuned model can be measured, and measure its base."""
    setup = bare(setup)  # both are measured in tokens that both know
    writes = outer_model(engine.model).get_output_embeddings() is not None
    return SpeechMeter(setup, size) if writes else RepresentationMeter(setup, size)


def masked_language_model(facts: ModelFacts, device: str = AUTO) -> PreTrainedModel | None:
    """Load a base model with its masked-language head; None if its folder holds none."""
    try:
        loaded = load_model(facts.folder, "AutoModelForMaskedLM", {}, seed=0, device=device)
    except ModelError:  # a kind of model that has no such head
        return None
    return None if loaded.fresh else loaded.model


@contextmanager
def _cut(stack: nn.ModuleList, layers: int) -> Iterator[None]:
    """Keep only the lowest layers of a stack within the block."""
    others = list(stack[layers:])
    del stack[layers:]
    try:
        yield
    finally:
        stack.extend(others)


def _base_engine(setup: Setup, model_class: str) -> TorchEngine:
    return _probing(engine_of(setup, plain_model(setup, model_class)), setup)


def _probing(engine: TorchEngine, setup: Setup) -> TorchEngine:
    """Set an engine's limits for the probe: the same for base and tuned model."""
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
    """List what a base model's measurements depend on: threads and layouts change the rounding of sums."""
    limits = (base.max_tokens, base.max_new_tokens, base.tokens_per_pass)
    machine = (torch.__version__, torch.get_num_threads(), name_of(device_of(base.model)))
    return (base.facts.fingerprint, str(base.layout.name), limits, tuple(languages), size, machine)


def _precision(setup: Setup) -> Precision:
    evaluate = setup.recipe.evaluate
    return Precision(evaluate.confidence, evaluate.resamples, setup.recipe.seed)


def left_out(setup: Setup) -> Wording:
    """Return which language was not measured, or only by the loss of its texts, and why."""
    known = known_languages(setup.tokenizer)
    others = [code for code in LANGUAGES if code not in known]
    tuned = _tuned_in(setup) if setup.facts.kind != "encoder" else []
    return Joined([_partly_measured(setup, code, code in tuned) for code in others], " ") if others else ""


def _partly_measured(setup: Setup, code: str, tuned: bool) -> Message:
    name, tokens = LANGUAGE_NAMES[code], Figure(tokens_per_word(setup.tokenizer, code), "tenths")
    if tuned:
        return msg(
            "{language} is tokenized nearly character by character ({tokens} tokens per word): since the training rows "
            "are in it, the loss of its texts is measured, and nothing else.",
            language=name,
            tokens=tokens,
        )
    if code not in readable_languages(setup.tokenizer):
        return msg("{language} is not measured: the tokenizer does not know its letters.", language=name)
    return msg("{language} is not measured: its words take {tokens} tokens each here.", language=name, tokens=tokens)
