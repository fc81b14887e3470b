"""Prefix tuning: every layer attends to trained keys and values (Li and Liang 2021; Liu et al. 2022), on PEFT."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from peft import PrefixTuningConfig, TaskType
from peft.tuners.cartridge.utils import initialize_kv_prefix_from_past_key_values
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from kamerton.core.contracts import Advice
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Wording, msg
from kamerton.models.heads import REFUSALS
from kamerton.models.structure import short_row
from kamerton.plugins.methods._peft import task_type
from kamerton.plugins.methods._prompt_tokens import PromptTokens, heads_of, real_tokens, takes
from kamerton.plugins.methods._shared import Rates

UNFIT = {
    "big_bird": msg("its attention mask has no positions for a prefix"),
    "roformer": msg("its layers do not read the cache that PEFT fills"),
}
"""Families whose layers take keys and values from before, but not those of a prefix."""


class PrefixTuning(PromptTokens):
    """Train keys and values before every row in every layer, and the new head if there is one."""

    configuration: ClassVar = PrefixTuningConfig
    suits: ClassVar = Advice(
        0.2, msg("above prompt tuning, below LoRA (41.6 against 47.8 in PEFT's method comparison)")
    )
    rates: ClassVar = Rates(
        Advice(5e-3, msg("prefixes: 5e-3 (P-tuning v2, Liu et al. 2022; PEFT's method comparison)")),
        small_encoder=Advice(
            1e-2, msg("prefixes: 1e-3 to 1e-2 (P-tuning v2, Liu et al. 2022); the upper end for small encoders")
        ),
    )
    batch: ClassVar = Advice(16, msg("16 to 32 rows (P-tuning v2, Liu et al. 2022)"))

    text: str | None = Field(
        None,
        min_length=1,
        description="What a language model's prefix says at first: its real keys and values are taken. Random words "
        "of the vocabulary if open. Models with an encoder begin with zeros.",
    )

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse a model whose layers take no keys and values from before, or none that PEFT makes."""
        config = model.config.get_text_config()
        if not takes(model, "past_key_values"):
            return msg("its layers do not take cached keys and values")
        if config.to_dict().get("multi_query"):
            return msg("all heads of a layer share one key, for which PEFT makes no prefix")
        return UNFIT.get(config.model_type, "") or super().refuses(model)

    def settings(self, model: PreTrainedModel) -> Mapping[str, Any]:
        """Return how many tokens there are, and the sizes that PEFT would not find, or would take from the encoder."""
        settings = {"num_virtual_tokens": self.tokens, "init_weights": "zero"}
        if not model.config.is_encoder_decoder:
            return {**settings, "num_attention_heads": heads_of(model)}  # PEFT finds them under some of their names
        with torch.no_grad():
            cache = model(**short_row(model) | {"use_cache": True}).past_key_values.self_attention_cache
        _, heads, _, width = cache.layers[0].keys.shape  # T5's need not add up to its hidden size
        sizes = {"num_layers": len(cache.layers), "num_attention_heads": heads, "token_dim": heads * width}
        return {**settings, **sizes}

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Insert the prefix into the cache of every layer: of real tokens in a language model, else zeros."""
        adapted = super().attach(model, fresh, tokens)
        if task_type(model) == TaskType.CAUSAL_LM:
            self._begin_from_real_states(model, adapted)
        return adapted

    def _begin_from_real_states(self, model: PreTrainedModel, adapted: nn.Module) -> None:
        """Copy the keys and values of real tokens: 41.6% against 18.6% from random ones in PEFT's comparison."""
        training = model.training
        model.eval()
        with torch.no_grad():
            cache = model(real_tokens(model, self.text, self.tokens), use_cache=True).past_key_values
        model.train(training)
        states = tuple((layer.keys, layer.values) for layer in cache.layers)
        try:
            initialize_kv_prefix_from_past_key_values(adapted, past_key_values=states)
        except REFUSALS as error:
            names = {"model": type(model).__name__, "reason": str(error)}
            rule = msg(
                "a prefix of {tokens} {tokens:token|tokens} does not fit {model}: {reason}", tokens=self.tokens, **names
            )
            remedy = msg("set method.tokens below the model's attention window")
            raise ModelError(Fault(rule, model.name_or_path, remedy)) from error
