"""Head only: the pretrained layers stay as they are; what stands above them trains."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Message, Wording, msg
from kamerton.core.weights import WeightCounts
from kamerton.models.structure import TOKENS_BELOW, train_above
from kamerton.plugins.methods._mean import NOT_FIRST, read_mean
from kamerton.plugins.methods._shared import FEW, Knobs, Rates, epochs_for, head_parameters


class Head(Knobs):
    """Train the final norm, the pooler and the head over frozen layers, whose output is computed once."""

    rates: ClassVar = Rates(
        Advice(3e-4, msg("head on frozen features: over three seeds 3e-4 beat 1e-3 on film reviews"))
    )
    batch: ClassVar = Advice(32, msg("features are cached, so an update is cheap"))

    reads: Literal["mean", "first"] | None = Field(
        None,
        description="What the head of an encoder's classifier reads: the mean of all tokens, which one more frozen "
        "layer computes (better than the first token of a frozen BERT: Reimers and Gurevych 2019), or the first "
        "token. If open, the mean where it is proven to be computed, else what the model reads by itself.",
    )

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit very small data, and the first look at a problem."""
        if facts.kind == "encoder" and rows < FEW:
            reason = msg(
                "a head hardly overfits fewer than {few} rows: SetFit reaches 62.3 points with 8 per class (Tunstall "
                "et al. 2022, table 2)",
                few=FEW,
            )
            return Advice(0.6, reason)
        return Advice(0.4, msg("fastest of all: the layers are run once over each row, then only the head trains"))

    def count_weights(self, facts: ModelFacts) -> WeightCounts:
        """Count the head as trained."""
        return WeightCounts(head_parameters(facts), facts.parameters)

    def _epochs(self, facts: ModelFacts, rows: int, batch: int) -> Advice:
        return epochs_for(rows, batch, updates=1500, least=10, most=100)  # they cost almost nothing here

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Refuse to read the mean where the head is no classifier of texts: tags, spans and words are read each."""
        classifies = type(model).__name__.endswith("ForSequenceClassification") and not model.config.is_encoder_decoder
        return "" if self.reads != "mean" or classifies else _no_mean(NOT_FIRST)

    def refuses_tokens(self, model: PreTrainedModel) -> Wording:
        """Refuse: the embeddings stand below what trains."""
        return TOKENS_BELOW

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Freeze the embeddings and the layers; untie an output head that shares the embeddings' weights.

        Raises `ModelError` if the mean of the tokens is asked for, and this model cannot read it.
        """
        against = None if self.reads == "first" else read_mean(model)
        if against and self.reads == "mean":
            remedy = msg("leave method.reads open, or set it to first")
            raise ModelError(Fault(_no_mean(against), model.name_or_path, remedy))
        train_above(model, 0, fresh, tokens)
        return model


def _no_mean(reason: Wording) -> Message:
    return msg("the head cannot read the mean of the tokens: {reason}", reason=reason)
