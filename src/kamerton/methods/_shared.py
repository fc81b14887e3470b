"""What several methods share: sizes of models, numbers of updates, and PEFT."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn

from kamerton.contracts import Advice, ModelFacts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOSBACH = "small data needs many updates (Mosbach et al. 2021, Zhang et al. 2021)"


def body_parameters(facts: ModelFacts) -> int:
    """Count the weights outside the embedding table: what the published rates go by.

    A multilingual encoder of 118M has 96M in its embeddings and trains like one of 22M.
    """
    return facts.parameters - facts.vocabulary * facts.hidden


def epochs_for(rows: int, batch_size: int, *, updates: int, least: int, most: int) -> Advice:
    """Choose the epochs that come nearest to a number of updates, within bounds."""
    per_epoch = math.ceil(rows / batch_size)
    epochs = max(least, min(most, math.ceil(updates / per_epoch)))
    return Advice(epochs, f"{epochs * per_epoch} updates of {batch_size} rows; {MOSBACH}")


def freeze(model: nn.Module) -> None:
    """Leave nothing to train."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def modules_above_layers(model: PreTrainedModel) -> list[str]:
    """Name the modules outside the embeddings and the stack of layers: final norm, pooler, heads."""
    backbone = model.base_model
    stacks = [name for name, module in backbone.named_modules() if isinstance(module, nn.ModuleList)]
    stack = max(stacks, key=lambda name: len(backbone.get_submodule(name)))
    inside = {*_with_parents(stack), *_with_parents(_name_of(backbone, model.get_input_embeddings()))}
    prefix = _name_of(model, backbone)
    above = [f"{prefix}.{name}".strip(".") for name, _ in backbone.named_children() if name not in inside]
    heads = [name for name, module in model.named_children() if module is not backbone]
    return [name for name in (*above, *heads) if any(True for _ in model.get_submodule(name).parameters())]


def task_type(model: PreTrainedModel) -> str | None:
    """Name PEFT's task for a transformers class; None for one that PEFT has no word for."""
    endings = {
        "ForCausalLM": "CAUSAL_LM",
        "LMHeadModel": "CAUSAL_LM",
        "ForConditionalGeneration": "SEQ_2_SEQ_LM",
        "ForSequenceClassification": "SEQ_CLS",
        "ForTokenClassification": "TOKEN_CLS",
        "ForQuestionAnswering": "QUESTION_ANS",
    }
    return next((word for ending, word in endings.items() if type(model).__name__.endswith(ending)), None)


def _name_of(root: nn.Module, wanted: nn.Module) -> str:
    return next(name for name, module in root.named_modules() if module is wanted)


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
