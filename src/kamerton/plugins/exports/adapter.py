"""The adapter: what was trained beside the base model, as PEFT loads it."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers import PreTrainedModel

from kamerton.core.contracts import Method, Tuned


class Adapter:
    """Copy the adapter, which PEFT loads over the base model; a small file."""

    def is_exact(self, method: Method) -> bool:
        """Demand the run's own logits: nothing is computed anew."""
        return True

    def write(self, tuned: Tuned, folder: Path) -> None:
        """Copy what the run keeps.

        Raises:
            ValueError: the run keeps a full model.
        """
        if isinstance(tuned.model, PreTrainedModel):
            raise ValueError("there is no adapter to export, because the method changed the model's own weights")
        shutil.copytree(tuned.folder, folder)
