"""Prompt tuning: the embeddings of prompt tokens before every row train (Lester et al. 2021), on PEFT."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from peft import PromptTuningConfig
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from kamerton.core.contracts import Advice
from kamerton.core.messages import Joined, msg
from kamerton.plugins.methods._prompt_tokens import PromptTokens, real_tokens
from kamerton.plugins.methods._shared import Rates

USUAL = msg("prompt tuning: 0.3 with Adafactor (Lester et al. 2021), 1e-3 to 3e-2 AdamW")
OF_HEADS = msg("a new head learns at the same rate, and 3e-2 is too much for it")


class PromptTuning(PromptTokens):
    """Train the embeddings of prompt tokens before every row, and the new head if there is one."""

    configuration: ClassVar = PromptTuningConfig
    suits: ClassVar = Advice(
        0.1, msg("reaches full training only from 10B on (Lester et al. 2021), and lengthens every row")
    )
    rates: ClassVar = Rates(Advice(3e-2, USUAL), encoder=Advice(1e-2, Joined((USUAL, OF_HEADS))))
    batch: ClassVar = Advice(16, msg("16 to 32 rows (Lester et al. 2021)"))

    text: str | None = Field(
        None,
        min_length=1,
        description="What the prompt tokens say at first: the task, or its labels. Random words of the vocabulary "
        "if open; never random vectors (5.7% against 34.3% in PEFT's method comparison).",
    )

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Insert the prompt tokens before the embeddings' output, initialized as real words."""
        adapted: Any = super().attach(model, fresh, tokens)
        vectors = adapted.prompt_encoder[adapted.active_adapter].embedding.weight
        with torch.no_grad():
            vectors.copy_(model.get_input_embeddings()(real_tokens(model, self.text, len(vectors)))[0])
        return adapted
