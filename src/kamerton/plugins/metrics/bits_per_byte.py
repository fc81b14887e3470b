"""Bits per byte: how well a model predicts text, whatever its tokenizer."""

import math
from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Loss, Ratio


class BitsPerByte(Loss, Ratio):
    """All rows' losses in bits over the UTF-8 bytes of their gold texts (Gao et al. 2020, section 3.1).

    Comparable between models with different tokenizers, on the same text. Rows without a loss are not counted; NaN
    if there is none with one.
    """

    meaning: ClassVar = msg(
        "How many bits the model needs for each byte of the text; it compares models with different tokens."
    )

    def counts(self, gold: str, prediction: Prediction) -> tuple[float, float]:
        """Return bits and bytes."""
        if prediction.loss is None:
            return 0.0, 0.0
        return prediction.loss / math.log(2), float(len(gold.encode("utf-8", "surrogatepass")))
