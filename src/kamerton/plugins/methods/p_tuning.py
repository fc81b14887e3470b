"""P-tuning: virtual tokens before every row, written by a small trained network (Liu et al. 2021), on PEFT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from peft import PromptEncoderConfig
from pydantic import Field
from torch import nn

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.messages import msg
from kamerton.plugins.methods._peft import adapt
from kamerton.plugins.methods._shared import patient_epochs
from kamerton.plugins.methods._virtual import VirtualTokens, settings_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 16


class PTuning(VirtualTokens):
    """Train a network that writes the embeddings of virtual tokens, and the new head if there is one."""

    width: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Of the network's inner layer; the hidden size of the model if open."
    )

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit users who compare with published figures."""
        return Advice(
            0.1, msg("steadier than prompt tuning, below LoRA (35.0 against 47.8 in PEFT's method comparison)")
        )

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Return a rate for the network, and many updates."""
        return {
            "learning_rate": Advice(5e-3, msg("p-tuning: 1e-3 to 1e-2 (Liu et al. 2021; PEFT's method comparison)")),
            "epochs": patient_epochs(facts, rows, BATCH),
            "batch_size": Advice(BATCH, msg("16 to 32 rows, as for prompt tuning (Lester et al. 2021)")),
        }

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Insert the virtual tokens before the embeddings' output.

        Raises:
            ModelError: the model does not take embeddings in place of tokens.
        """
        config = PromptEncoderConfig(
            **settings_of(model, self.tokens, fresh),
            encoder_hidden_size=self.width or model.config.get_text_config().hidden_size,
        )
        return adapt(model, config, tokens)
