"""Prefix tuning: every layer attends to trained keys and values (Li and Liang 2021; Liu et al. 2022), on PEFT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from peft import PeftModel, PrefixTuningConfig, TaskType
from peft.tuners.cartridge.utils import initialize_kv_prefix_from_past_key_values
from pydantic import Field
from torch import Tensor, nn

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Wording, msg
from kamerton.models.adapters import REFUSALS
from kamerton.models.structure import short_row
from kamerton.plugins.methods._peft import adapt, task_type
from kamerton.plugins.methods._shared import body_parameters, patient_epochs
from kamerton.plugins.methods._virtual import VirtualTokens, real_tokens, sizes_of, takes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 16
UNFIT = {
    "big_bird": msg("its attention mask has no positions for a prefix"),
    "roformer": msg("its layers do not read the cache that PEFT fills"),
}
"""Families whose layers take keys and values from before, but not those of a prefix."""


class PrefixTuning(VirtualTokens):
    """Train keys and values before every row in every layer, and the new head if there is one."""

    text: str | None = Field(
        None,
        min_length=1,
        description="What a language model's prefix says at first: its real keys and values are taken. Random words "
        "of the vocabulary if open. Models with an encoder begin with zeros.",
    )

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit users who serve many tasks in one batch."""
        return Advice(0.2, msg("above prompt tuning, below LoRA (41.6 against 47.8 in PEFT's method comparison)"))

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Return the rate of P-tuning v2, and many updates."""
        return {
            "learning_rate": _rate(facts),
            "epochs": patient_epochs(facts, rows, BATCH),
            "batch_size": Advice(BATCH, msg("16 to 32 rows (P-tuning v2, Liu et al. 2022)")),
        }

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse a model whose layers take no keys and values from before, or none that PEFT makes."""
        config = model.config.get_text_config()
        if not takes(model, "past_key_values"):
            return msg("its layers do not take cached keys and values")
        if config.to_dict().get("multi_query"):
            return msg("all heads of a layer share one key, for which PEFT makes no prefix")
        return UNFIT.get(config.model_type, "") or super().refuses(model)

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Insert the prefix into the cache of every layer: of real tokens in a language model, else zeros.

        Raises:
            ModelError: the model's layers take no earlier keys and values.
        """
        word = task_type(model)
        config = PrefixTuningConfig(
            num_virtual_tokens=self.tokens,
            num_attention_heads=sizes_of(model).heads,  # PEFT finds them under some of their names
            init_weights="zero",
            task_type=word,
            modules_to_save=list(fresh) or None,
        )
        if model.config.is_encoder_decoder:
            layers = _decoder_keys(model)
            heads, width = layers[0].shape[1], layers[0].shape[3]
            config.num_layers, config.num_attention_heads, config.token_dim = len(layers), heads, heads * width
        adapted = adapt(model, config, tokens)
        if word == TaskType.CAUSAL_LM:
            self._begin_from_real_states(model, adapted)
        return adapted

    def _begin_from_real_states(self, model: PreTrainedModel, adapted: PeftModel) -> None:
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
            rule = msg(
                "a prefix of {tokens} {tokens:token|tokens} does not fit {model}: {reason}",
                tokens=self.tokens,
                model=type(model).__name__,
                reason=str(error),
            )
            remedy = msg("set method.tokens below the model's attention window")
            raise ModelError(Fault(rule, model.name_or_path, remedy)) from error


def _decoder_keys(model: PreTrainedModel) -> list[Tensor]:
    """Return the keys of a decoder's layers: `[1, heads, 1, width]` each; T5's need not add up to its hidden size.

    PEFT measures other models itself; of an encoder-decoder it would take the encoder's.
    """
    with torch.no_grad():
        cache = model(**short_row(model), use_cache=True).past_key_values
    return [layer.keys for layer in cache.self_attention_cache.layers]


def _rate(facts: ModelFacts) -> Advice:
    if facts.kind == "encoder" and body_parameters(facts) <= 30e6:
        return Advice(
            1e-2, msg("prefixes: 1e-3 to 1e-2 (P-tuning v2, Liu et al. 2022); the upper end for small encoders")
        )
    return Advice(5e-3, msg("prefixes: 5e-3 (P-tuning v2, Liu et al. 2022; PEFT's method comparison)"))
