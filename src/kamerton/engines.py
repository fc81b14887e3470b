"""The models of a run, each ready to be asked: the one in training, the saved one, the untuned base."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from kamerton import plugins
from kamerton.contracts import Quantization
from kamerton.deliver.saved import load_saved
from kamerton.models.engine import TorchEngine, make_engine
from kamerton.models.load import Loaded, load_model, set_dropout
from kamerton.models.precision import set_precision
from kamerton.models.quantize import quantized
from kamerton.plan import make_method
from kamerton.prepare import Setup
from kamerton.recipe import MOST_TOKENS_PER_PASS
from kamerton.records import Encoded
from kamerton.run import Run


def engine_of(setup: Setup, model: nn.Module, rows: Sequence[Encoded] = ()) -> TorchEngine:
    """Make an engine of a model under the run's limits; `rows` are those it will be trained on."""
    return make_engine(
        model,
        setup.tokenizer,
        setup.facts,
        setup.samples,
        max_tokens=setup.max_tokens,
        max_new_tokens=min(setup.recipe.evaluate.max_new_tokens or 1, setup.max_tokens // 2),
        tokens_per_pass=MOST_TOKENS_PER_PASS,
        rows=rows,
        temperature=setup.recipe.evaluate.temperature,
        seed=setup.recipe.seed,
    )


def saved_engine(run: Run, setup: Setup) -> TorchEngine:
    """Load the tuned model of a run; its method is imported first, for it may bring PEFT a type of its own."""
    plugins.choose("methods", setup.recipe.method.name or "")
    return engine_of(setup, load_saved(run.model, setup.form, setup.facts))


def untuned_engine(setup: Setup) -> TorchEngine:
    """Load the bare base model, without anything of the method."""
    return engine_of(setup, load_model(setup.facts.folder, setup.form.untuned_class, {}, setup.recipe.seed).model)


def load_base(setup: Setup, how: Quantization | None) -> Loaded:
    """Load the base model with the head that the form asks for, as the method wants it."""
    folder, form = setup.facts.folder, setup.form
    quantization = quantized(folder, form.model_class, form.config, how) if how else None
    return load_model(folder, form.model_class, form.config, setup.recipe.seed, quantization=quantization)


def attach_method(setup: Setup, loaded: Loaded) -> nn.Module:
    """Make a base model ready to train: the form's start, the recipe's dropout and precision, the method."""
    recipe = setup.recipe
    setup.form.start(loaded.model, loaded.fresh)
    set_dropout(loaded.model, recipe.train.dropout)
    set_precision(loaded.model, recipe.model.precision or "fp32")
    return make_method(recipe).attach(loaded.model, loaded.fresh)
