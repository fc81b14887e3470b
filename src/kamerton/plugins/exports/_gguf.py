"""What the exports for llama.cpp share: a model as one file, and its proof in the server."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from kamerton.core.contracts import Engine
from kamerton.core.errors import Unusable, reason_of
from kamerton.core.exporting import ExportProof, Original, Tuned
from kamerton.core.messages import Wording, msg
from kamerton.plugins.exports._gguf_tokenizer import vocabulary_of
from kamerton.plugins.exports._gguf_weights import Precision, family_of, write_model
from kamerton.plugins.exports._llama_cpp import LIBRARY, Files, prove_served, served_engine
from kamerton.plugins.exports._shared import SPARE, WEIGHT, Exporting, another, copy_cards, is_installed, merge

FILE, TWIN = "model.gguf", ".twin.gguf"
"""The exported file, and the same in full precision, which is removed once it is proven."""
WRITER = "AutoModelForCausalLM"


class GgufExport(Exporting):
    """Base of the exports that hold the whole model as one GGUF file."""

    precision: Precision = Field(
        "f32", description="Of matrices. f32 is the run's model; what is rounded answers the test rows again."
    )

    def refuses(self, tuned: Tuned) -> Wording:
        """Refuse what llama.cpp has no place for: heads, unknown families, tokenizers and pre-tokenizers."""
        return refusal(tuned)

    def room(self, tuned: Tuned) -> int:
        """Return the bytes of the file and of its twin."""
        width = {"f32": WEIGHT, "f16": WEIGHT + 2, "q8_0": WEIGHT + 2}[self.precision]
        return width * tuned.facts.parameters + SPARE

    def write(self, tuned: Tuned, folder: Path) -> Sequence[str]:
        """Write the merged model with its tokenizer and template. Raises `Unusable` where it cannot be merged."""
        model = merge(tuned)
        folder.mkdir(parents=True)
        write_model(folder / FILE, model, tuned.tokenizer, self.precision, Path(tuned.facts.name).name)
        if self.precision != "f32" and is_installed(LIBRARY):
            write_model(folder / TWIN, model, tuned.tokenizer, "f32", Path(tuned.facts.name).name)
        copy_cards(tuned, folder)
        return [f"llama-server --model {FILE} --jinja"]

    def prove(self, original: Original, folder: Path) -> ExportProof:
        """Require the run's own tokens and distributions of the file in full precision."""
        twin = folder / TWIN
        try:
            return prove_served(original, Files(twin if twin.exists() else folder / FILE))
        finally:
            twin.unlink(missing_ok=True)

    def engine(self, original: Original, folder: Path) -> Engine | None:
        """Answer with a rounded file."""
        return None if self.precision == "f32" else served_engine(original, Files(folder / FILE))


def refusal(tuned: Tuned) -> Wording:
    """Return why llama.cpp cannot take a model as transformers does, and what can; an empty string if it can."""
    if tuned.form.model_class != WRITER:
        head, other = tuned.form.model_class, another(tuned)
        return msg(
            "llama.cpp serves decoders that write, but the run's head is {head}: use {format}", head=head, format=other
        )
    config = tuned.model.config
    try:
        family_of(config)
        vocabulary_of(tuned.tokenizer, len(tuned.tokenizer))
    except Unusable as error:
        return msg("{reason}; use --to onnx, --to vllm or --to merged", reason=reason_of(error))
    return ""
