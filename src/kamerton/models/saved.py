"""The tuned model on disk: what transformers' or PEFT's `from_pretrained` loads, tokenizer and template included."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kamerton.core import registry
from kamerton.core.contracts import ModelFacts, ModelHead
from kamerton.core.errors import Fault, RunError
from kamerton.core.files import Writing, sync_folder
from kamerton.kernels.trial import is_out_of_memory
from kamerton.models.load import load_model
from kamerton.models.quantize import read_quantization, write_quantization
from kamerton.models.vocabulary import make_room

ADAPTER = "adapter_config.json"


def save_model(folder: Path, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
    """Save a model beside, then rename: the folder is whole or not there.

    Args:
        folder: where it goes; must not exist yet.
        model: transformers' or PEFT's, with the weights to keep.
        tokenizer: with the chat template that was trained with.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with Writing(folder):
            _write(temporary, model, tokenizer)
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # of a full disk: what is half written helps nobody
    sync_folder(folder.parent)


def _write(folder: Path, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
    if isinstance(model, PreTrainedModel):
        model.save_pretrained(folder)
    else:  # PEFT would save a whole table that got new rows; those rows it saves anyway
        model.save_pretrained(folder, save_embedding_layers=False)  # type: ignore[operator]
    tokenizer.save_pretrained(folder)
    write_quantization(folder, model)
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def is_adapter(folder: Path) -> bool:
    """Say whether a saved model needs its base: it holds only what was trained on top of one."""
    return (folder / ADAPTER).exists()


def add_adapter(model: nn.Module, folder: Path, name: str) -> None:
    """Load one more adapter into a model that has one, and let it answer.

    Raises:
        RunError: PEFT cannot keep the two over one base.
    """
    adapted = cast(Any, model)
    try:
        adapted.load_adapter(folder, adapter_name=name)
        adapted.set_adapter(name)
    except (ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        remedy = "ask each run by itself"
        raise RunError(Fault(f"the adapters do not fit over one base: {error}", str(folder), remedy)) from error


def load_saved(
    folder: Path, form: ModelHead, facts: ModelFacts, tokenizer: PreTrainedTokenizerBase | None = None
) -> nn.Module:
    """Load a tuned model, with its base below it if it is an adapter.

    Args:
        folder: what `save_model` wrote.
        form: the task's form, which names the model's class.
        facts: of the base model.
        tokenizer: that was saved with it, where it has tokens that the base does not know.
    """
    if not is_adapter(folder):
        return load_model(folder, form.model_class, {}, seed=0).model
    quantization = read_quantization(folder)
    base = load_model(facts.folder, form.model_class, form.config, seed=0, quantization=quantization).model
    if tokenizer:
        make_room(base, tokenizer)
    # PEFT takes seconds to import: only where there is an adapter
    adapted: nn.Module = registry.load("peft:PeftModel").from_pretrained(base, folder)
    return adapted
