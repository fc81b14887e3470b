"""What methods with prompt tokens share: trained vectors before every row."""

from collections.abc import Mapping
from inspect import signature
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.messages import Wording, msg
from kamerton.plugins.methods._peft import PeftMethod, task_type
from kamerton.plugins.methods._shared import patient_epochs

UNFIT = {"LongformerForSequenceClassification": msg("it needs the tokens themselves, even where it gets embeddings")}
"""Classes whose signature takes embeddings, and which fail on them."""


class PromptTokens(PeftMethod):
    """Base of the methods that train vectors before every row."""

    tokens: Annotated[int, Field(ge=1, le=1024)] = Field(
        20, description="How many prompt tokens; 20 to 100 (Lester et al. 2021)."
    )

    @property
    def added_tokens(self) -> int:
        """Return the number of prompt tokens; each uses a position of the context."""
        return self.tokens

    def _epochs(self, facts: ModelFacts, rows: int, batch: int) -> Advice:
        return patient_epochs(facts, rows, batch)

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse a model that PEFT has no prompt tokens for, or that takes no embeddings in place of tokens."""
        if task_type(model) is None:
            return msg("PEFT has no prompt tokens for a {model}", model=type(model).__name__)
        if not takes(model, "inputs_embeds"):
            return msg("it does not take embeddings in place of tokens")
        return UNFIT.get(type(model).__name__, "")

    def settings(self, model: PreTrainedModel) -> Mapping[str, Any]:
        """Return how many tokens there are, and sizes that PEFT finds only in some families' configurations."""
        return {
            "num_virtual_tokens": self.tokens,
            "token_dim": model.get_input_embeddings().weight.shape[1],  # narrower than the layers in ALBERT, ELECTRA
            "num_layers": model.config.get_text_config().num_hidden_layers,
            "num_attention_heads": heads_of(model),
        }


def takes(model: PreTrainedModel, name: str) -> bool:
    """Return whether a model, or the base model within it, takes an input of this name."""
    return any(name in signature(type(part).forward).parameters for part in (model, model.base_model))


def heads_of(model: PreTrainedModel) -> int:
    """Return the attention heads of a layer; 1 for FNet, which has none, and needs none for tokens before a row."""
    config, name = model.config.get_text_config(), "num_attention_heads"
    return int(config.to_dict().get(config.attribute_map.get(name, name), 1))


def real_tokens(model: PreTrainedModel, text: str | None, count: int) -> Tensor:
    """Return tokens to begin from: those of a text, repeated or cut to `count`; without it random ones.

    Where rows begin with [CLS], so do these: the head of a classifier reads the first position, which is then the
    first prompt token's.

    Returns:
        `[1, count]`.
    """
    tokenizer = AutoTokenizer.from_pretrained(model.name_or_path, local_files_only=True, trust_remote_code=False)
    if text is None:
        ids = torch.randint(0, model.config.get_text_config().vocab_size, (count,)).tolist()
    else:
        ids = (tokenizer(text, add_special_tokens=False)["input_ids"] * count)[:count]
    if tokenizer.cls_token_id is not None:
        ids = [tokenizer.cls_token_id, *ids[: count - 1]]
    return torch.tensor([ids], device=model.device)
