"""Prompt tuning: the embeddings of virtual tokens before every row train (Lester et al. 2021), on PEFT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from peft import PromptTuningConfig
from pydantic import Field
from torch import nn

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.messages import Joined, msg
from kamerton.plugins.methods._peft import adapt
from kamerton.plugins.methods._shared import patient_epochs
from kamerton.plugins.methods._virtual import VirtualTokens, real_tokens, settings_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 16


class PromptTuning(VirtualTokens):
    """Train the embeddings of virtual tokens before every row, and the new head if there is one."""

    text: str | None = Field(
        None,
        min_length=1,
        description="What the virtual tokens say at first: the task, or its labels. Random words of the vocabulary "
        "if open; never random vectors (5.7% against 34.3% in PEFT's method comparison).",
    )

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit large language models, where it approaches full training (Lester et al. 2021, figure 1)."""
        return Advice(0.1, msg("reaches full training only from 10B on (Lester et al. 2021), and lengthens every row"))

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Return a rate some hundred times that of full training, and many updates."""
        usual = msg("prompt tuning: 0.3 with Adafactor (Lester et al. 2021), 1e-3 to 3e-2 AdamW")
        rate = Advice(3e-2, usual)
        if facts.kind == "encoder":
            head = msg("a new head learns at the same rate, and 3e-2 is too much for it")
            rate = Advice(1e-2, Joined((usual, head)))
        return {
            "learning_rate": rate,
            "epochs": patient_epochs(facts, rows, BATCH),
            "batch_size": Advice(BATCH, msg("16 to 32 rows (Lester et al. 2021)")),
        }

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Insert the virtual tokens before the embeddings' output, initialized as real words.

        Raises:
            ModelError: the model does not take embeddings in place of tokens.
        """
        config = PromptTuningConfig(
            **settings_of(model, self.tokens, fresh),
        )
        adapted = adapt(model, config, tokens)
        vectors = adapted.prompt_encoder[adapted.active_adapter].embedding.weight
        with torch.no_grad():
            vectors.copy_(model.get_input_embeddings()(real_tokens(model, self.text, len(vectors)))[0])
        return adapted
