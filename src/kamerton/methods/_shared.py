"""What several methods share: sizes of models, numbers of updates, and PEFT."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kamerton.contracts import Advice, ModelFacts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOSBACH = "small data needs many updates (Mosbach et al. 2021, Zhang et al. 2021)"


def body_parameters(facts: ModelFacts) -> int:
    """Count the weights outside the embedding table: what the published rates go by.

    A multilingual encoder of 118M has 96M in its embeddings and trains like one of 22M.
    """
    return facts.parameters - facts.vocabulary * facts.hidden


def epochs_for(rows: int, batch_size: int, *, updates: int, least: int, most: int) -> Advice:
    """Choose the epochs that come nearest to a number of updates, within bounds."""
    per_epoch = math.ceil(rows / batch_size)
    epochs = max(least, min(most, math.ceil(updates / per_epoch)))
    return Advice(epochs, f"{epochs * per_epoch} updates of {batch_size} rows; {MOSBACH}")


def full_rate(facts: ModelFacts) -> Advice:
    """Give the published rate for training weights themselves, by kind and size of the model."""
    size = body_parameters(facts)
    if facts.kind == "encoder" and size <= 30e6:
        return Advice(1e-4, "full, encoders up to 30M: grid 3e-4 to 3e-5 of Turc et al. 2019 (BERT miniatures)")
    if facts.kind == "encoder":
        return Advice(2e-5, "full, encoders of 100M to 400M: 2e-5, 3e-5 or 5e-5 in Devlin et al. 2019, A.3")
    if size <= 3e9:
        return Advice(2e-5, "full, language models of 0.1B to 3B: 1e-5 to 5e-5 (PEFT's method comparison: 1e-5 at 3B)")
    return Advice(5e-6, "full, language models from 7B: 5e-6 (Tülu 3)")


def task_type(model: PreTrainedModel) -> str | None:
    """Name PEFT's task for a transformers class; None for one that PEFT has no word for."""
    endings = {
        "ForCausalLM": "CAUSAL_LM",
        "LMHeadModel": "CAUSAL_LM",
        "ForConditionalGeneration": "SEQ_2_SEQ_LM",
        "ForSequenceClassification": "SEQ_CLS",
        "ForTokenClassification": "TOKEN_CLS",
        "ForQuestionAnswering": "QUESTION_ANS",
    }
    return next((word for ending, word in endings.items() if type(model).__name__.endswith(ending)), None)
