"""P-tuning: prompt tokens before every row, written by a small trained network (Liu et al. 2021), on PEFT."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from peft import PromptEncoderConfig
from pydantic import Field
from transformers import PreTrainedModel

from kamerton.core.contracts import Advice
from kamerton.core.messages import msg
from kamerton.plugins.methods._prompt_tokens import PromptTokens
from kamerton.plugins.methods._shared import Rates


class PTuning(PromptTokens):
    """Train a network that writes the embeddings of prompt tokens, and the new head if there is one."""

    configuration: ClassVar = PromptEncoderConfig
    suits: ClassVar = Advice(
        0.1, msg("steadier than prompt tuning, below LoRA (35.0 against 47.8 in PEFT's method comparison)")
    )
    rates: ClassVar = Rates(Advice(5e-3, msg("p-tuning: 1e-3 to 1e-2 (Liu et al. 2021; PEFT's method comparison)")))
    batch: ClassVar = Advice(16, msg("16 to 32 rows, as for prompt tuning (Lester et al. 2021)"))

    width: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Of the network's inner layer; the hidden size of the model if open."
    )

    def settings(self, model: PreTrainedModel) -> Mapping[str, Any]:
        """Return those of prompt tokens, and the network's width."""
        width = self.width or model.config.get_text_config().hidden_size
        return {**super().settings(model), "encoder_hidden_size": width}
