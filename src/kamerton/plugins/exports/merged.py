"""The merged model: plain weights of the base's own architecture, which transformers loads alone."""

from pathlib import Path

from kamerton.core.contracts import Method, Tuned


class Merged:
    """Fold what was trained into plain weights, which transformers loads without PEFT and without the base."""

    def is_exact(self, method: Method) -> bool:
        """Require the run's own logits, unless the weights are folded into matrices that were rounded."""
        return method.quantization is None

    def write(self, tuned: Tuned, folder: Path) -> None:
        """Merge as the method does, and save in full precision. Raises `Unusable` with the method's reason."""
        tuned.method.merge(tuned.model).save_pretrained(folder)
        tuned.tokenizer.save_pretrained(folder)
