"""The merged model: plain weights of the base's own architecture, which transformers loads alone."""

from collections.abc import Sequence
from pathlib import Path

from kamerton.core.contracts import Engine
from kamerton.core.exporting import ExportProof, Original, Tuned
from kamerton.plugins.exports._shared import Exporting, copy_cards, merge
from kamerton.plugins.exports._transformers import prove_loaded


class Merged(Exporting):
    """Fold what was trained into plain weights, which transformers loads without PEFT and without the base."""

    def write(self, tuned: Tuned, folder: Path) -> Sequence[str]:
        """Merge as the method does, and save in full precision. Raises `Unusable` with the method's reason."""
        merge(tuned).save_pretrained(folder)
        tuned.tokenizer.save_pretrained(folder)
        copy_cards(tuned, folder)
        return ()

    def prove(self, original: Original, folder: Path) -> ExportProof:
        """Require the run's own logits, unless the weights are folded into matrices that were rounded."""
        return prove_loaded(original, folder, original.method.quantization is None)

    def engine(self, original: Original, folder: Path) -> Engine | None:
        """Answer with what was folded into rounded matrices."""
        return None if original.method.quantization is None else original.loaded(folder)
