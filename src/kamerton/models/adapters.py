"""Folding an adapter into the weights that it stands beside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peft import PeftModel
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REFUSALS = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RuntimeError, IndexError)
"""How PEFT says that a model and a configuration do not fit."""


def merged(model: nn.Module) -> PreTrainedModel:
    """Fold an adapter into the weights that it stands beside.

    Raises:
        ValueError: it cannot be folded, with the reason.
    """
    if not isinstance(model, PeftModel):
        raise ValueError("cannot merge, because the model carries no adapter")
    if model.active_peft_config.is_prompt_learning:
        raise ValueError("cannot merge, because virtual tokens are inputs of the model and no change of its weights")
    try:
        return model.merge_and_unload()
    except REFUSALS as error:
        raise ValueError(f"cannot merge, because {error}") from error
