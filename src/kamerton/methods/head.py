"""Head only: the pretrained layers stay as they are; what stands above them trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import nn

from kamerton.contracts import Advice, ModelFacts
from kamerton.methods._shared import Knobs, epochs_for
from kamerton.methods._structure import train_above

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 32


class Head(Knobs):
    """Train the final norm, the pooler and the head over frozen layers, whose output is computed once."""

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit very small data, and the first look at a problem."""
        return Advice(0.4, "fastest of all: the layers are run once over each row, then only the head trains")

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Give a high rate and many epochs: they cost almost nothing here."""
        return {
            "learning_rate": Advice(1e-3, "head: 1e-3 to 1e-2 on frozen features (SetFit's head: 1e-2)"),
            "epochs": epochs_for(rows, BATCH, updates=600, least=10, most=40),
            "batch_size": Advice(BATCH, "features are cached, so an update is cheap"),
        }

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Freeze the embeddings and the layers; untie an output head that shares the embeddings' weights."""
        train_above(model, 0, fresh, tokens)
        return model

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Return the model: nothing was added."""
        return model
