"""The adapter: what was trained beside the base model, as PEFT loads it."""

import shutil
from pathlib import Path

from transformers import PreTrainedModel

from kamerton.core.contracts import Method, Tuned
from kamerton.core.errors import Unusable
from kamerton.core.messages import msg


class Adapter:
    """Copy the adapter, a small file that PEFT loads over the base model."""

    def is_exact(self, method: Method) -> bool:
        """Require the run's own logits: nothing is computed anew."""
        return True

    def write(self, tuned: Tuned, folder: Path) -> None:
        """Copy what the run keeps. Raises `Unusable` if that is a full model."""
        if isinstance(tuned.model, PreTrainedModel):
            raise Unusable(msg("there is no adapter to export, because the method changed the model's own weights"))
        shutil.copytree(tuned.folder, folder, copy_function=shutil.copyfile)
