"""The adapter: what was trained beside the base model, as PEFT loads it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from kamerton.core.exporting import ExportProof, Original, Tuned
from kamerton.core.messages import Wording, msg
from kamerton.plugins.exports._shared import SPARE, Exporting, is_full
from kamerton.plugins.exports._transformers import prove_loaded


class Adapter(Exporting):
    """Copy the adapter, a small file that PEFT loads over the base model."""

    def refuses(self, tuned: Tuned) -> Wording:
        """Refuse a full model."""
        if not is_full(tuned):
            return ""
        return msg("there is no adapter to export, because the method changed the model's own weights; use --to merged")

    def room(self, tuned: Tuned) -> int:
        """Return the size of what the run keeps."""
        return sum(path.stat().st_size for path in tuned.folder.rglob("*")) + SPARE

    def write(self, tuned: Tuned, folder: Path) -> Sequence[str]:
        """Copy what the run keeps."""
        shutil.copytree(tuned.folder, folder, copy_function=shutil.copyfile)
        return ()

    def prove(self, original: Original, folder: Path) -> ExportProof:
        """Require the run's own logits: nothing is computed anew."""
        return prove_loaded(original, folder, exact=True)
