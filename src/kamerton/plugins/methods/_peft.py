"""Methods on the PEFT library: their base, and how a configuration is applied and tried."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, ClassVar

import torch
from peft import PeftConfig, PeftModel, TaskType, get_peft_model
from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
from torch import nn
from transformers import PreTrainedModel

from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Wording, msg
from kamerton.kernels.trial import is_out_of_memory
from kamerton.models.adapters import merged
from kamerton.models.heads import REFUSALS
from kamerton.models.structure import TRAINS_TOKENS, short_row
from kamerton.plugins.methods._paired import pair_up
from kamerton.plugins.methods._shared import Knobs

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

    @property
    def keeps_matrices(self) -> bool:
        """Return True: all that trains is added to them."""
        return True

    @abstractmethod
    def settings(self, model: PreTrainedModel) -> Mapping[str, Any]:
        """Return the configuration's settings for a model, beside its task and the new modules."""

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Insert what PEFT adds by the configuration. Raises `ModelError` where it does not fit the model."""
        settings = {**self.settings(model), "task_type": task_type(model), "modules_to_save": list(fresh) or None}
        return adapt(model, self.configuration(**settings), tokens)

    def refuses_tokens(self, model: PreTrainedModel) -> Wording:
        """Refuse where PEFT trains no single rows of the tables."""
        return token_refusal(model, self.configuration)

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Merge what PEFT can merge: low-rank updates and factors, but no prompt tokens and no bottlenecks."""
        return merged(model)


def allowed(model: PreTrainedModel, config: type[PeftConfig], names: Sequence[str]) -> list[str]:
    """Return the layers that PEFT lets a configuration adapt: not the maps that Mamba's kernels read unasked."""
    return [name for name in names if not _is_barred(model, config, name)]


def _is_barred(model: PreTrainedModel, config: type[PeftConfig], name: str) -> bool:
    try:
        _check_lora_target_modules_mamba(config(), model, name.rpartition(".")[2])
    except ValueError:
        return True
    return False


def task_type(model: PreTrainedModel) -> TaskType | None:
    """Return PEFT's task of a transformers class; None where PEFT has none."""
    return next((word for ending, word in ENDINGS.items() if type(model).__name__.endswith(ending)), None)


def adapt(
    model: PreTrainedModel, config: PeftConfig, tokens: Sequence[int] = (), remedy: Wording = REMEDY
) -> PeftModel:
    """Apply a PEFT configuration to a model, and run a few tokens through it.

    The embeddings of `tokens` train beside what the configuration adds.

    Raises:
        ModelError: the two do not fit, with PEFT's reason and a remedy.
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
    """Make PEFT train and save the embeddings of some tokens, and their outputs where these have own weights."""
    if rule := token_refusal(model, type(config)):
        raise ModelError(Fault(rule, "model.new_tokens", TRAINS_TOKENS))
    table: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    own = [table] if head is None or head.weight is table.weight else [table, head]
    rows: Any = config
    rows.trainable_token_indices = {name: list(tokens) for name, module in model.named_modules() if module in own}
