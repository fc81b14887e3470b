"""The memory of training, predicted from a model's facts alone: its weights need not be here, nor the machine.

`kamerton.pipeline.cost` predicts it more exactly once the model is loaded. docs/gpu.md holds the sums of this module
against published measurements.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from kamerton.core.contracts import Method, ModelFacts
from kamerton.core.weights import WeightCounts
from kamerton.engine.engine import LOGITS_PER_PASS
from kamerton.kernels.device import CPU
from kamerton.models.precision import HALVES, WORDS
from kamerton.runs.recipe import MOST_TOKENS_PER_PASS
from kamerton.session.machine import Machine

ROOM = 0.9
"""Share of the free memory that a run may fill; the rest is for fragmentation and, on a card, the driver's context."""
FULL_BYTES = 4
TRAINED, FOUR_BIT = 16, 4.127 / 8
"""Bytes of a number that trains: in fp32, its gradient, and AdamW's two averages; of one in four bits with doubly
quantized scales (Dettmers et al. 2023, section 3)."""
LIBRARIES = 5e8
"""Bytes that a process on a CPU takes with all libraries loaded, as measured on Linux. With full passes, the estimate
is within 6% of the forecast before training for minilm, e5-small (in full) and smollm2 (LoRA) on rows of 400 words."""
KEPT = 20
"""Numbers kept for a token, for each layer and each hidden number: 74 bytes in SmolLM2 with LoRA, 83 with the wider
layers of Llama 3, 85 in a BERT, in fp32, measured. Korthikanti et al. 2022 count 34 bytes in 16 bits where attention
is not kept (section 4)."""
LOGIT = 12
"""Bytes of a logit: in fp32, its logarithm, and the gradient."""
PASS_BYTES, PASS_SHARE = 2e9, 0.25
"""Most bytes of activations that a training pass may keep; on a card, a share of what is free if that is more."""
STEP = 256
"""Granularity of the tokens per pass."""
EITHER = (False, True)
"""Whether activations are recomputed, the faster way first."""


@dataclass(frozen=True)
class PassSize:
    """How large a training pass is."""

    tokens: int
    recomputed: bool = False
    """Whether its activations are recomputed in the backward pass."""


@dataclass(frozen=True)
class Footprint:
    """What a method holds of a model on a machine."""

    facts: ModelFacts
    weights: WeightCounts
    machine: Machine
    rounds: bool = True
    """Whether the frozen weights may be held in the working type."""
    parts: int = 1
    """Among how many processes weights, gradients and averages are divided."""
    activation_bytes: int = FULL_BYTES
    """Of an activation: only products are rounded to 16 bits here, other programs keep what they need in them."""

    @classmethod
    def of(cls, method: Method, facts: ModelFacts, machine: Machine) -> Self:
        """Return what a method would hold: all of a model, or its part if several processes hold none whole."""
        whole = cls(facts, method.count_weights(facts), machine, method.keeps_matrices)
        return whole if whole.least_bytes() <= whole.room else replace(whole, parts=machine.processes)

    @property
    def room(self) -> float:
        """Bytes that it may take."""
        return ROOM * self.machine.free_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes that are held whatever the pass: weights, gradients, averages, and on a CPU the process itself.

        Of weights that are divided, two layers are gathered at a time: one that runs, and the next.
        """
        counts, process = self.weights, LIBRARIES if self.machine.kind == CPU.type else 0
        weights = self._weight_bytes * counts.frozen + FOUR_BIT * counts.four_bit
        held = TRAINED * counts.trained + weights
        gathered = 2 * (FULL_BYTES * counts.trained + weights) / self.facts.layers if self.parts > 1 else 0
        return int(held / self.parts + gathered + process)

    @property
    def _weight_bytes(self) -> int:
        """Bytes of a frozen weight: on a CPU, none is rounded that was published in another type."""
        half = HALVES.get(str(self.machine.precision.value))
        if half is None or not self.rounds or (self.machine.kind == CPU.type and self.facts.published != WORDS[half]):
            return FULL_BYTES
        return half.itemsize

    def kept_bytes(self, size: PassSize) -> int:
        """Return the bytes of activations that a pass keeps for its backward pass.

        Where they are recomputed, each layer keeps its input, and one layer at a time all of it.
        """
        layers = self.facts.layers + KEPT if size.recomputed else KEPT * self.facts.layers
        return self.activation_bytes * layers * self.facts.hidden * size.tokens

    def peak_bytes(self, size: PassSize, outputs: int | None = None) -> int:
        """Return the most bytes that are held at once; `outputs` are positions with logits, all tokens if not given."""
        return self.held_bytes + self.kept_bytes(size) + self._logit_bytes(size.tokens if outputs is None else outputs)

    def least_bytes(self, longest: int = 0, recomputes: Sequence[bool] = EITHER) -> int:
        """Return the peak with the smallest pass, which holds at least the longest row."""
        return min(self.peak_bytes(PassSize(max(STEP, longest), way)) for way in recomputes)

    def choose_pass(self, longest: int = 0, recomputes: Sequence[bool] = EITHER) -> PassSize:
        """Choose the largest pass that fits, up to a bound; recompute activations only where no pass fits else."""
        return next(
            (self._largest(way) for way in recomputes if self.least_bytes(longest, (way,)) <= self.room),
            PassSize(STEP, recomputes[-1]),
        )

    def _largest(self, recomputed: bool) -> PassSize:
        free, each = self.machine.free_bytes, self.kept_bytes(PassSize(1, recomputed))
        bound = PASS_BYTES if self.machine.kind == CPU.type else max(PASS_BYTES, PASS_SHARE * free)
        left = self.room - self.held_bytes - self._logit_bytes(MOST_TOKENS_PER_PASS)
        tokens = int(min(bound, left) / each) // STEP * STEP
        return PassSize(max(STEP, min(MOST_TOKENS_PER_PASS, tokens)), recomputed)

    def _logit_bytes(self, outputs: int) -> int:
        if self.facts.kind == "encoder":
            return 0
        return LOGIT * min(LOGITS_PER_PASS, outputs * self.facts.vocabulary)
