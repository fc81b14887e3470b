"""Engines for the models of a run: the one in training, the saved one, the untuned base."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel

from kamerton.core.contracts import Method
from kamerton.core.errors import Fault, RunError
from kamerton.core.messages import msg
from kamerton.core.records import Encoded
from kamerton.engine.engine import TorchEngine, make_engine
from kamerton.kernels.device import CPU
from kamerton.kernels.dropout import set_dropout, use_fast_dropout
from kamerton.kernels.norm import fuse_norms
from kamerton.models.load import Loaded, load_model, load_tokenizer
from kamerton.models.precision import HALVES, hold_in_half, set_precision
from kamerton.models.quantize import quantized
from kamerton.models.saved import ONE_BY_ONE, add_adapter, is_adapter, load_saved
from kamerton.models.structure import device_of
from kamerton.models.vocabulary import begin_words, make_room, new_ids
from kamerton.runs.recipe import MOST_TOKENS_PER_PASS
from kamerton.runs.run import Run
from kamerton.session.setup import Setup, bare, make_method

FIRST = "default"
"""PEFT's name for the adapter that a model is loaded with."""


def engine_of(setup: Setup, model: nn.Module, rows: Sequence[Encoded] = ()) -> TorchEngine:
    """Build an engine for a model within the run's limits; `rows` are its training rows."""
    return make_engine(
        model,
        setup.tokenizer,
        setup.facts,
        setup.samples,
        max_tokens=setup.max_tokens,
        max_new_tokens=min(setup.recipe.evaluate.max_new_tokens or 1, setup.max_tokens // 2),
        tokens_per_pass=MOST_TOKENS_PER_PASS,
        rows=rows,
        cache=setup.cache,
        temperature=setup.recipe.evaluate.temperature,
        seed=setup.recipe.seed,
    )


def saved_engine(run: Run, setup: Setup) -> TorchEngine:
    """Load the tuned model of a run; its method is imported first, since it may register a type with PEFT."""
    half = half_beside(setup, make_method(setup.recipe))
    model = load_saved(run.checked_model(), setup.form, setup.facts, setup.tokenizer, setup.device, half)
    engine = engine_of(setup, model)
    return replace(engine, adapter=FIRST) if is_adapter(run.model) else engine


def adapter_engine(run: Run, setup: Setup, other: TorchEngine) -> TorchEngine:
    """Load the adapter of a run over the base of another engine; each engine activates its own adapter.

    Raises:
        RunError: a run has no adapter, or the two do not fit over one base.
    """
    if not (other.adapter and is_adapter(run.model)):
        raise RunError(Fault(msg("only adapters can share one base"), str(run.path), ONE_BY_ONE))
    make_method(setup.recipe)
    name = str(run.path).replace(".", "_")  # PEFT allows no dots in names
    add_adapter(other.model, run.checked_model(), name)
    return replace(engine_of(setup, other.model), adapter=name)


def untuned_engine(setup: Setup) -> TorchEngine:
    """Load the base model as it is, without the method and without new tokens."""
    setup = bare(setup)
    return engine_of(setup, plain_model(setup, setup.form.untuned_class))


def plain_model(setup: Setup, model_class: str) -> PreTrainedModel:
    """Load the base model with a class's own head."""
    half = HALVES.get(setup.recipe.model.precision or "")
    return load_model(setup.facts.folder, model_class, {}, setup.recipe.seed, device=setup.device, half=half).model


def half_beside(setup: Setup, method: Method) -> torch.dtype | None:
    """Return the type of 16 bits that the base's matrices are held in beside what trains; None for fp32.

    Rows of the tables are added for new tokens, and trained in fp32; and a base in four bits has its own types.
    """
    held = method.keeps_matrices and not method.quantization and not setup.recipe.model.new_tokens
    return HALVES.get(setup.recipe.model.precision or "") if held else None


def load_base(setup: Setup, method: Method) -> Loaded:
    """Load the base model with the form's head, quantized or in 16 bits as the method allows it."""
    folder, form, how = setup.facts.folder, setup.form, method.quantization
    quantization = quantized(folder, form.model_class, form.config, how) if how else None
    half = half_beside(setup, method)
    loaded = load_model(folder, form.model_class, form.config, setup.recipe.seed, quantization, setup.device, half)
    words = setup.recipe.model.new_tokens
    if not words:
        return loaded
    ids = new_ids(setup.tokenizer, words)
    make_room(loaded.model, setup.tokenizer)
    begin_words(loaded.model, load_tokenizer(setup.facts), ids, words, setup.recipe.model.new_tokens_start)
    return replace(loaded, tokens=ids)


def attach_method(setup: Setup, loaded: Loaded) -> nn.Module:
    """Prepare a base model for training: the form's start, the recipe's dropout and precision, the method."""
    recipe = setup.recipe
    setup.form.start(loaded.model, loaded.fresh)
    set_dropout(loaded.model, recipe.train.dropout)
    set_precision(loaded.model, recipe.model.precision or "fp32")
    method = make_method(recipe)
    model = method.attach(loaded.model, loaded.fresh, loaded.tokens)
    half = HALVES.get(recipe.model.precision or "")
    if half and not isinstance(model, PreTrainedModel):  # else all weights are saved
        hold_in_half(model, half, rounded=method.keeps_matrices and device_of(model) != CPU)
    use_fast_dropout(model)
    fuse_norms(model)
    return model
