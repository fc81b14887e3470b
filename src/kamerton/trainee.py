"""A model made ready to be trained: what training, the rate's probe and the forecast all begin with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from kamerton.data.balance import class_weights, oversampled
from kamerton.engines import attach_method, engine_of
from kamerton.models.engine import TorchEngine
from kamerton.models.fused import prove_fused
from kamerton.models.load import Loaded
from kamerton.models.recompute import recompute_layers
from kamerton.prepare import Setup
from kamerton.records import Encoded, Example
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
    note: str = ""
    """What is to be known of how it is computed."""


def attach(setup: Setup, loaded: Loaded) -> Trainee:
    """Attach the recipe's method to a loaded base model, and encode the training rows for it."""
    model = attach_method(setup, loaded)
    own = _balanced(setup)
    rows = [*(row for _, row in own), *replayed(setup)]
    engine = engine_of(setup, model, rows)
    note = prove_fused(model, engine.layout, setup.samples[:1])
    if setup.recipe.train.gradient_checkpointing:
        recompute_layers(model, engine.layout, setup.samples)
    ids = [example.id for example, _ in own]
    ids += [NOT_OURS] * (len(rows) - len(ids))
    return Trainee(model, engine, setup.form.grounded(engine, rows), ids, note)


def _balanced(setup: Setup) -> list[tuple[Example, Encoded]]:
    """Encode the training rows, and even out their classes as the recipe says."""
    examples = [*setup.split.train, *setup.split.added]
    golds, rows = [example.gold for example in examples], setup.encode(examples)
    match setup.recipe.data.balance:
        case "weights":
            rows = [replace(row, weight=weight) for row, weight in zip(rows, class_weights(golds), strict=True)]
        case "oversample":
            chosen = oversampled(golds, setup.recipe.seed)
            return [(examples[i], rows[i]) for i in chosen]
    return list(zip(examples, rows, strict=True))
