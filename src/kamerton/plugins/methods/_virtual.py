"""What methods with virtual tokens share: trained vectors before every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from peft import PromptLearningConfig
from pydantic import Field
from torch import Tensor
from transformers import AutoTokenizer

from kamerton.core.messages import Wording, msg
from kamerton.plugins.methods._peft import PeftMethod, task_type

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HEADS = "num_attention_heads"
EMBEDDINGS = "inputs_embeds"
"""How transformers calls a layer's heads, and embeddings that are given in place of tokens."""

UNFIT = {"LongformerForSequenceClassification": msg("it needs the tokens themselves, even where it gets embeddings")}
"""Classes whose signature takes embeddings, and which fail on them."""


class VirtualTokens(PeftMethod):
    """Base of the methods that train vectors before every row."""

    configuration: ClassVar = PromptLearningConfig

    tokens: Annotated[int, Field(ge=1, le=1024)] = Field(
        20, description="How many virtual tokens; 20 to 100 (Lester et al. 2021)."
    )

    @property
    def added_tokens(self) -> int:
        """Take a position of the context for each virtual token."""
        return self.tokens

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse a model that PEFT has no virtual tokens for, or that takes no embeddings in place of tokens."""
        if task_type(model) is None:
            return msg("PEFT has no virtual tokens for a {model}", model=type(model).__name__)
        if not takes(model, EMBEDDINGS):
            return msg("it does not take embeddings in place of tokens")
        return UNFIT.get(type(model).__name__, "")


def takes(model: PreTrainedModel, name: str) -> bool:
    """Return whether a model, or the base model within it, takes an input of this name."""
    return any(name in signature(type(part).forward).parameters for part in (model, model.base_model))


@dataclass(frozen=True)
class Sizes:
    """What PEFT needs to know of a model, and finds only in some families' configurations."""

    width: int
    """Of the embeddings, which in some families (ALBERT, ELECTRA) are narrower than the layers."""
    layers: int
    heads: int


def sizes_of(model: PreTrainedModel) -> Sizes:
    """Measure a model."""
    config = model.config.get_text_config()
    width = model.get_input_embeddings().weight.shape[1]
    name = config.attribute_map.get(HEADS, HEADS)
    heads = int(config.to_dict().get(name, 1))  # FNet has none, and needs none for tokens before a row
    return Sizes(width, config.num_hidden_layers, heads)


def settings_of(model: PreTrainedModel, tokens: int, fresh: Sequence[str]) -> dict[str, Any]:
    """Return what PEFT's configurations of virtual tokens have in common."""
    sizes = sizes_of(model)
    return {
        "num_virtual_tokens": tokens,
        "token_dim": sizes.width,
        "num_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "task_type": task_type(model),
        "modules_to_save": list(fresh) or None,
    }


def real_tokens(model: PreTrainedModel, text: str | None, count: int) -> Tensor:
    """Return tokens to begin from: those of a text, repeated or cut to `count`; without it random ones.

    Where rows begin with [CLS], so do these: the head of a classifier reads the first position, which is then the
    first virtual token's.

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
