"""Engines over the tiny models, made as a run makes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kamerton.core.contracts import ModelFacts
from kamerton.core.records import Encoded
from kamerton.engine.engine import TorchEngine, make_engine
from kamerton.models.inspect import inspect_folder
from kamerton.models.load import load_model, load_tokenizer

HEAD, TEXT, BARE = "AutoModelForSequenceClassification", "AutoModelForCausalLM", "AutoModel"


def facts_of(folder: Path) -> ModelFacts:
    """Inspect a tiny model."""
    return inspect_folder(folder, folder.name)


def tiny_engine(
    folder: Path,
    model_class: str,
    samples: Sequence[Encoded],
    *,
    classes: int = 0,
    max_new_tokens: int = 8,
    tokens_per_pass: int = 512,
) -> TorchEngine:
    """Load a tiny model and make an engine of it; `classes` is the size of a new head."""
    facts = facts_of(folder)
    model = load_model(folder, model_class, {"num_labels": classes} if classes else {}, seed=0).model
    return make_engine(
        model,
        load_tokenizer(facts),
        facts,
        samples,
        max_tokens=facts.context,
        max_new_tokens=max_new_tokens,
        tokens_per_pass=tokens_per_pass,
    )
