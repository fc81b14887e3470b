"""What several methods share: their base, sizes of models, published rates, numbers of updates."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from transformers import PreTrainedModel

from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.messages import Joined, Wording, msg
from kamerton.models.method import PlainMethod

SMALL = 800
"""Rows below which encoders get the updates that small data needs."""
FEW = 100
"""Rows below which few weights should train."""
DEVLIN = Advice(16, msg("16 to 32 rows (Devlin et al. 2019, A.3)"))
LEAST_UPDATES = 40
"""Updates that a language model gets at least, within ten epochs."""


def body_parameters(facts: ModelFacts) -> int:
    """Count the weights outside the embedding table: what the published rates go by.

    A multilingual encoder of 118M has 96M in its embeddings and trains like one of 22M.
    """
    return facts.parameters - facts.vocabulary * facts.hidden


def head_parameters(facts: ModelFacts) -> int:
    """Count the weights of a head that trains: a language model's is as large as its table, another's is small."""
    return 0 if facts.kind == "encoder" else facts.vocabulary * facts.hidden


@dataclass(frozen=True)
class Rates:
    """Published learning rates of a method, by kind and size of the model."""

    usual: Advice
    encoder: Advice | None = None
    small_encoder: Advice | None = None
    """Of encoders up to 30M weights."""
    large: Advice | None = None
    """Of language models over 3B."""

    def of(self, facts: ModelFacts) -> Advice:
        """Return the rate for a model."""
        size = body_parameters(facts)
        if facts.kind == "encoder":
            return (self.small_encoder if size <= 30e6 else None) or self.encoder or self.usual
        return (self.large if size > 3e9 else None) or self.usual


FULL = Rates(
    Advice(2e-5, msg("full, language models of 0.1B to 3B: 1e-5 to 5e-5 (PEFT's method comparison: 1e-5 at 3B)")),
    encoder=Advice(2e-5, msg("full, encoders of 100M to 400M: 2e-5, 3e-5 or 5e-5 in Devlin et al. 2019, A.3")),
    small_encoder=Advice(
        1e-4, msg("full, encoders up to 30M: grid 3e-4 to 3e-5 of Turc et al. 2019 (BERT miniatures)")
    ),
    large=Advice(5e-6, msg("full, language models from 7B: 5e-6 (Tülu 3)")),
)
OF_PAIRS = msg(
    "low-rank updates, language models of 0.1B to 3B: ten times the full rate (Schulman 2025, LoRA Without Regret)"
)
OF_ENCODERS = msg(
    "low-rank updates, encoders: 4e-4 to 5e-4 at a scale of 1 (Hu et al. 2022, table 9); lower at one of 2"
)
OF_LARGE = msg("low-rank updates, language models from 7B: 1e-4 to 3e-4 (Schulman 2025; Dettmers et al. 2023)")
LOW_RANK = Rates(Advice(5e-4, OF_PAIRS), encoder=Advice(3e-4, OF_ENCODERS), large=Advice(2e-4, OF_LARGE))


class Knobs(PlainMethod):
    """Base of every method that trains."""

    rates: ClassVar[Rates]
    batch: ClassVar[Advice]
    """The default number of rows of an update."""

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Return the published rate, the epochs for these rows, and the batch size."""
        epochs = self._epochs(facts, rows, int(self.batch.value))
        return {"learning_rate": self.rates.of(facts), "epochs": epochs, "batch_size": self.batch}

    def _epochs(self, facts: ModelFacts, rows: int, batch: int) -> Advice:
        return adapter_epochs(facts, rows, batch)

    @property
    def added_tokens(self) -> int:
        """Return 0: no position of the context is used."""
        return 0

    def refuses_tokens(self, model: PreTrainedModel) -> Wording:
        """Return an empty text: the embeddings of new tokens are trained."""
        return ""

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model: nothing was added that is not a weight of its own."""
        return model


def epochs_for(rows: int, batch_size: int, *, updates: int, least: int, most: int) -> Advice:
    """Return the epochs nearest to a number of updates, within bounds."""
    per_epoch = math.ceil(rows / batch_size)
    epochs = max(least, min(most, math.ceil(updates / per_epoch)))
    reason = msg(
        "{updates} {updates:update|updates} of {rows} rows; small data needs many updates (Mosbach et al. 2021, Zhang "
        "et al. 2021)",
        updates=epochs * per_epoch,
        rows=batch_size,
    )
    return Advice(epochs, reason)


def encoder_epochs(rows: int, batch_size: int, *, least: int, most: int) -> Advice:
    """Return an encoder's epochs: about 300 updates; of small data 500, in 10 to 20 epochs (Mosbach et al. 2021)."""
    if rows < SMALL:
        return epochs_for(rows, batch_size, updates=500, least=10, most=20)
    return epochs_for(rows, batch_size, updates=300, least=least, most=most)


def writer_epochs(rows: int, batch_size: int, *, least: int, updates: int = LEAST_UPDATES) -> Advice:
    """Return a language model's epochs: three at most, or ten where fewer would be only a handful of updates."""
    most = max(3, min(10, math.ceil(LEAST_UPDATES / math.ceil(rows / batch_size))))
    return epochs_for(rows, batch_size, updates=updates, least=least, most=most)


def adapter_epochs(facts: ModelFacts, rows: int, batch_size: int) -> Advice:
    """Return the epochs for methods that train few weights beside frozen ones."""
    if facts.kind == "encoder":
        return encoder_epochs(rows, batch_size, least=5, most=20)
    return writer_epochs(rows, batch_size, updates=60, least=2)


def patient_epochs(facts: ModelFacts, rows: int, batch_size: int) -> Advice:
    """Return the epochs for methods that train so few weights that each update does little."""
    if facts.kind == "encoder":
        return epochs_for(rows, batch_size, updates=600, least=5, most=20)
    epochs = epochs_for(rows, batch_size, updates=150, least=3, most=10)
    published = msg("prefixes of language models: 5 to 10 epochs (Li and Liang 2021)")
    return replace(epochs, reason=Joined((epochs.reason, published)))
