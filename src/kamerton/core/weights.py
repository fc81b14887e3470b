"""How a method holds the weights of a model while it trains."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class WeightCounts:
    """How many numbers a method holds in which way while it trains."""

    trained: int
    """In fp32, each with its gradient and the optimizer's two averages."""
    frozen: int
    """In the working type: two bytes each where it has 16 bits, else four."""
    four_bit: int = 0
    """As indices of four bits, with their scales."""


@dataclass(frozen=True)
class Quantization:
    """The base model's matrices in four bits: blocks of indices into a table of 16 values, and a scale for each."""

    type: Literal["nf4", "fp4"]
    """The table: normally distributed values, or those of a float of four bits."""
    double: bool
    """Whether the scales are quantized too, to 8 bits."""
