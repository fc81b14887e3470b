"""A model made ready to be trained: what training, the rate's probe and the forecast all begin with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from kamerton.engines import attach_method, engine_of
from kamerton.models.engine import TorchEngine
from kamerton.models.load import Loaded
from kamerton.models.recompute import recompute_layers
from kamerton.prepare import Setup
from kamerton.records import Encoded
from kamerton.remedy import replayed

NOT_OURS = -1
"""The id of rows that come from no source file."""


@dataclass(frozen=True)
class Trainee:
    """A model with its method attached, an engine around it, and the rows it will be trained on."""

    model: nn.Module
    engine: TorchEngine
    rows: list[Encoded]
    """Those of the split, in its order, and after them what is replayed against forgetting."""
    ids: list[int]
    """The source row of each."""


def attach(setup: Setup, loaded: Loaded) -> Trainee:
    """Attach the recipe's method to a loaded base model, and encode the training rows for it."""
    model = attach_method(setup, loaded)
    rows = [*setup.encode(setup.split.train), *replayed(setup)]
    engine = engine_of(setup, model, rows)
    if setup.recipe.train.gradient_checkpointing:
        recompute_layers(model, engine.layout, setup.samples)
    ids = [example.id for example in setup.split.train]
    ids += [NOT_OURS] * (len(rows) - len(ids))
    return Trainee(model, engine, setup.form.grounded(engine, rows), ids)
