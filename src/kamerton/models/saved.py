"""The tuned model on disk: what transformers' or PEFT's `from_pretrained` loads, tokenizer and template included."""

import shutil
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kamerton.core import registry
from kamerton.core.contracts import ModelFacts, ModelHead
from kamerton.core.errors import Fault, RunError
from kamerton.core.files import Writing, sync
from kamerton.core.messages import msg
from kamerton.kernels.device import AUTO
from kamerton.kernels.trial import is_out_of_memory
from kamerton.models.first_use import trust
from kamerton.models.heads import REFUSALS, building
from kamerton.models.inspect import require_safe, tensors_of, weight_files
from kamerton.models.load import load_model
from kamerton.models.naming import ADAPTER
from kamerton.models.quantize import read_quantization, write_quantization
from kamerton.models.vocabulary import make_room

PREFIX, FIRST = "base_model.model.", "default"
"""Before the names of what an adapter changes, and PEFT's own name of the first adapter."""
ONE_BY_ONE = msg("use each run separately")


def save_model(folder: Path, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
    """Save a model in a temporary folder, then rename it: the folder, which must not exist, is whole or not there."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with Writing(folder):
            if isinstance(model, PreTrainedModel):
                model.save_pretrained(temporary)
            else:
                adapted = cast(Any, model)
                for config in adapted.peft_config.values():  # Python orders sets differently in each process
                    ordered = {name: sorted(value) for name, value in vars(config).items() if isinstance(value, set)}
                    vars(config).update(ordered)
                # else PEFT saves the whole embedding table beside its new rows
                adapted.save_pretrained(temporary, save_embedding_layers=False)
            tokenizer.save_pretrained(temporary)
            trust(temporary)
            write_quantization(temporary, model)
            for path in temporary.rglob("*"):
                sync(path)
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # on a full disk, half a model is of no use
    sync(folder.parent)


def is_adapter(folder: Path) -> bool:
    """Return whether a saved model is an adapter, which needs its base."""
    return (folder / ADAPTER).exists()


def unplaced(model: nn.Module, folder: Path) -> list[str]:
    """Return the tensors that a loaded adapter has and its file lacks, or the other way round.

    PEFT loads what fits and warns of the rest: an adapter over another base is then no change at all. Tables of
    embeddings that were saved whole beside an adapter are no part of it.
    """
    if not is_adapter(folder):
        return []
    wanted = set(registry.load("peft:get_peft_model_state_dict")(model, save_embedding_layers=False))
    saved = {name for path in weight_files(folder) for name in tensors_of(path)}
    known = {name.replace(f".{FIRST}", "") for name in model.state_dict()}
    return sorted((wanted - saved) | (saved - wanted - known))


def _table_rows(model: PreTrainedModel, folder: Path) -> int:
    """Return the rows of the table of embeddings that was saved whole beside an adapter; 0 if there is none."""
    table = next(name for name, module in model.named_modules() if module is model.get_input_embeddings())
    tensors = {name: one for path in weight_files(folder) for name, one in tensors_of(path).items()}
    own = (name for name in tensors if name.startswith(f"{PREFIX}{table}.") and name.endswith("weight"))
    return max((int(tensors[name]["shape"][0]) for name in own), default=0)


def add_adapter(model: nn.Module, folder: Path, name: str) -> None:
    """Load another adapter into a model that has one, and activate it.

    Raises:
        ModelError: the folder is unsafe or damaged.
        RunError: PEFT cannot keep the two over one base.
    """
    require_safe(folder)
    adapted = cast(Any, model)
    try:
        adapted.load_adapter(folder, adapter_name=name)
        adapted.set_adapter(name)
    except REFUSALS as error:
        if is_out_of_memory(error):
            raise
        rule = msg("the adapters do not fit over one base: {error}", error=str(error))
        raise RunError(Fault(rule, str(folder), ONE_BY_ONE)) from error


def load_saved(
    folder: Path,
    form: ModelHead,
    facts: ModelFacts,
    tokenizer: PreTrainedTokenizerBase | None = None,
    device: str = AUTO,
    half: torch.dtype | None = None,
) -> nn.Module:
    """Load a tuned model; an adapter over its base, with the `tokenizer` that was saved where it has new tokens.

    The base's matrices may be held in the type `half`, as `load_model` says.

    Raises:
        ModelError: the folder is unsafe or damaged, or does not fit its base.
    """
    require_safe(folder)
    if not is_adapter(folder):
        return load_model(folder, form.model_class, {}, seed=0, device=device).model
    quantization = read_quantization(folder)
    loaded = load_model(facts.folder, form.model_class, form.config, 0, quantization, device, half)
    base = loaded.model
    if tokenizer:
        make_room(base, tokenizer, _table_rows(base, folder))
    with building(folder, "PeftModel"):  # PEFT takes seconds to import: only where there is an adapter
        return registry.load("peft:PeftModel").from_pretrained(base, folder)
