"""Merge an adapter into the weights of its base model."""

from pathlib import Path

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from kamerton.core.errors import Unusable
from kamerton.core.messages import msg, verbatim
from kamerton.kernels.trial import is_out_of_memory
from kamerton.models.heads import REFUSALS


def merged(model: nn.Module) -> PreTrainedModel:
    """Merge a model's adapter into its weights.

    Raises:
        Unusable: it cannot be merged, with the reason.
    """
    if not isinstance(model, PeftModel):
        raise Unusable(msg("cannot merge, because the model has no adapter"))
    if model.active_peft_config.is_prompt_learning:
        raise Unusable(msg("cannot merge, because prompt tokens are inputs of the model, not a change of its weights"))
    try:
        return model.merge_and_unload()
    except REFUSALS as error:
        if is_out_of_memory(error):
            raise
        raise Unusable(msg("cannot merge, because {reason}", reason=str(error))) from error


def merged_over(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """Load a saved adapter over its base model, and merge it.

    Raises:
        Unusable: the two do not fit, with the reason.
    """
    try:
        adapted = PeftModel.from_pretrained(model, adapter)
    except REFUSALS as error:
        if is_out_of_memory(error):
            raise
        raise Unusable(verbatim(str(error))) from error
    return merged(adapted)
