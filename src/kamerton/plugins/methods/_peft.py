"""Methods on the PEFT library: their base, and how a configuration is applied and tried."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from peft import PeftConfig, PeftModel, TaskType, get_peft_model
from torch import nn

from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Wording, msg
from kamerton.kernels.trial import is_out_of_memory
from kamerton.models.adapters import REFUSALS, merged
from kamerton.models.structure import TRAINS_TOKENS, short_row
from kamerton.plugins.methods._paired import pair_up
from kamerton.plugins.methods._shared import Knobs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


REMEDY = msg("choose another method, or change its settings")

ENDINGS = {
    "ForCausalLM": TaskType.CAUSAL_LM,
    "LMHeadModel": TaskType.CAUSAL_LM,
    "ForConditionalGeneration": TaskType.SEQ_2_SEQ_LM,
    "EncoderDecoderModel": TaskType.SEQ_2_SEQ_LM,
    "ForSequenceClassification": TaskType.SEQ_CLS,
    "ForTokenClassification": TaskType.TOKEN_CLS,
    "ForQuestionAnswering": TaskType.QUESTION_ANS,
}


class PeftMethod(Knobs):
    """Base of the methods whose adapters PEFT saves and merges."""

    configuration: ClassVar[type[PeftConfig]]

    def refuses_tokens(self, model: PreTrainedModel) -> Wording:
        """Refuse where PEFT trains no single rows of the tables."""
        return token_refusal(model, self.configuration)

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Merge what PEFT can merge: low-rank updates and factors, but no virtual tokens and no bottlenecks."""
        return merged(model)


def task_type(model: PreTrainedModel) -> TaskType | None:
    """Return PEFT's task of a transformers class; None where PEFT has none."""
    return next((word for ending, word in ENDINGS.items() if type(model).__name__.endswith(ending)), None)


def adapt(
    model: PreTrainedModel, config: PeftConfig, tokens: Sequence[int] = (), remedy: Wording = REMEDY
) -> PeftModel:
    """Apply a PEFT configuration to a model, and run a few tokens through it.

    Args:
        model: as it was loaded.
        config: of a type that fits it.
        tokens: ids whose embeddings train beside what the configuration adds.
        remedy: what to do where the two do not fit.

    Raises:
        ModelError: the two do not fit, with PEFT's reason.
    """
    if tokens:
        _train_rows(model, config, tokens)
    inputs = short_row(model)
    try:
        adapted = get_peft_model(model, config)
        adapted.eval()
        with torch.no_grad():
            pair_up(adapted, partial(adapted, **inputs, attention_mask=torch.ones_like(inputs["input_ids"])))
    except REFUSALS as error:
        if is_out_of_memory(error):
            raise
        names = {"config": type(config).__name__, "model": type(model).__name__}
        rule = msg("{config} does not fit {model}: {reason}", **names, reason=str(error))
        raise ModelError(Fault(rule, model.name_or_path, remedy)) from error
    adapted.train()
    return adapted


def structural_refusal(model: PreTrainedModel, config: PeftConfig) -> str:
    """Return why PEFT does not apply a configuration to a model, from its structure alone; an empty string if it does.

    Args:
        model: on torch's meta device; it stays as it is.
        config: one that changes layers, without virtual tokens.
    """
    try:
        with torch.device("meta"):
            get_peft_model(copy.deepcopy(model), copy.deepcopy(config))
    except REFUSALS as error:
        return "" if "meta" in str(error) else str(error)  # what needs weights is found out with weights
    return ""


def token_refusal(model: PreTrainedModel, config: type[PeftConfig]) -> Wording:
    """Return why PEFT cannot learn the embeddings of new tokens beside a configuration; an empty string if it can."""
    head: Any = model.get_output_embeddings()
    if "trainable_token_indices" not in {field.name for field in fields(config)}:
        return msg(
            "embeddings of new tokens cannot be learned, because PEFT's {config} trains no rows of a table",
            config=config.__name__,
        )
    if head is not None and head.bias is not None:
        return msg("outputs of new tokens cannot be learned, because PEFT trains no rows of a head that has a bias")
    return ""


def _train_rows(model: PreTrainedModel, config: PeftConfig, tokens: Sequence[int]) -> None:
    """Make PEFT train and save the embeddings of some tokens, and their outputs where these have weights of their own.

    Raises:
        ModelError: the configuration, or PEFT for this model, cannot.
    """
    if rule := token_refusal(model, type(config)):
        raise ModelError(Fault(rule, "model.new_tokens", TRAINS_TOKENS))
    table: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    own = [table] if head is None or head.weight is table.weight else [table, head]
    rows: Any = config
    rows.trainable_token_indices = {name: list(tokens) for name, module in model.named_modules() if module in own}
