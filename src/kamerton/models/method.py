"""What a method is unless it says otherwise: it adds no tokens of its own type, rounds nothing and fits every model."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedModel

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.messages import Wording
from kamerton.core.weights import Quantization, WeightCounts


class PlainMethod(BaseModel):
    """Base of every method: frozen settings, no unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    brings_type: ClassVar[bool] = False
    suits: ClassVar[Advice]
    """How well it suits, where that does not depend on the model or the rows."""

    @classmethod
    def suitability(cls, facts: ModelFacts, rows: int) -> Advice:
        """Suit every model and any number of rows alike."""
        return cls.suits

    def count_weights(self, facts: ModelFacts) -> WeightCounts:
        """Count all weights as frozen; what trains beside them is little."""
        return WeightCounts(0, facts.parameters)

    @property
    def quantization(self) -> Quantization | None:
        """Return None: the base is loaded in full precision."""
        return None

    @property
    def keeps_matrices(self) -> bool:
        """Return False: some of the pretrained matrices may change."""
        return False

    def refuses(self, model: PreTrainedModel) -> Wording:
        """Return an empty text: every model is accepted."""
        return ""
