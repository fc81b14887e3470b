"""The models of a run, each ready to be asked: the one in training, the saved one, the untuned base."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from kamerton import plugins
from kamerton.deliver.saved import load_saved
from kamerton.models.engine import TorchEngine, make_engine
from kamerton.models.load import load_model
from kamerton.prepare import Setup
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
        tokens_per_pass=setup.recipe.train.tokens_per_pass,
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
