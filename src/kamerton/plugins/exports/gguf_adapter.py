"""A low-rank adapter as a GGUF file, which llama.cpp and Ollama load over the base model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
from pydantic import Field

from kamerton.core.exporting import ExportProof, Original, Tuned
from kamerton.core.files import shell_word
from kamerton.core.messages import Wording, msg
from kamerton.plugins.exports._gguf import TWIN, refusal
from kamerton.plugins.exports._gguf_weights import Precision, family_of, permuted, tensor_name, write_model
from kamerton.plugins.exports._llama_cpp import LIBRARY, Files, prove_served
from kamerton.plugins.exports._low_rank import low_rank, not_plain, pairs
from kamerton.plugins.exports._shared import SPARE, WEIGHT, Exporting, copy_cards, is_installed

FILE, BASE = "adapter.gguf", "base.gguf"


class GgufAdapter(Exporting):
    """Write the low-rank adapter as a GGUF file, for llama.cpp's server or Ollama over the base model.

    llama.cpp scales by alpha/rank: a rank-stabilized adapter gets the alpha that gives its own scale.
    """

    base: Precision | None = Field(None, description="Also write the base model beside it, in this precision.")

    def refuses(self, tuned: Tuned) -> Wording:
        """Refuse what is no plain low-rank adapter over a base model that llama.cpp has as it is."""
        if reason := refusal(tuned):
            return reason
        if reason := not_plain(tuned):
            return msg("{reason}; use --to gguf", reason=reason)
        if tuned.method.quantization:
            return msg("the adapter was trained over rounded matrices, which llama.cpp does not have; use --to gguf")
        return ""

    def room(self, tuned: Tuned) -> int:
        """Return the bytes of the base model, which is written for the proof, and of the adapter."""
        return 2 * WEIGHT * tuned.facts.parameters + SPARE

    def write(self, tuned: Tuned, folder: Path) -> Sequence[str]:
        """Write the pairs of the adapter, and for its proof the base model."""
        folder.mkdir(parents=True)
        write_adapter(folder / FILE, tuned)
        model: Any = tuned.model
        base = model.unload()
        if is_installed(LIBRARY):
            write_model(folder / TWIN, base, tuned.tokenizer, "f32", Path(tuned.facts.name).name)
        if self.base:
            write_model(folder / BASE, base, tuned.tokenizer, self.base, Path(tuned.facts.name).name)
        copy_cards(tuned, folder)
        under = BASE if self.base else f"{Path(tuned.facts.name).name}.gguf"
        return [f"llama-server --model {shell_word(under)} --lora {FILE} --jinja"]

    def prove(self, original: Original, folder: Path) -> ExportProof:
        """Require the run's own tokens and distributions of the adapter over the base in full precision."""
        try:
            return prove_served(original, Files(folder / TWIN, folder / FILE))
        finally:
            (folder / TWIN).unlink(missing_ok=True)


def write_adapter(path: Path, tuned: Tuned) -> None:
    """Write an adapter's pairs; those with another scale than most have it in their second matrix."""
    outer: Any = tuned.model
    config, found = outer.get_base_model().config, list(pairs(tuned))
    family = family_of(config)
    names = gguf.get_tensor_name_map(family.arch, config.num_hidden_layers)
    scale = found[0].scale
    lora: Any = low_rank(tuned)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[family.arch])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, lora.peft_type.value.lower())
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, scale * lora.r)
    writer.add_name(tuned.folder.parent.name)
    for pair in found:
        name, rank = tensor_name(names, f"{pair.module}.weight"), pair.a.shape[0]
        # llama.cpp multiplies by alpha / rank
        b = pair.b.float() * (pair.scale / (scale * lora.r / rank))
        writer.add_tensor(f"{name}.lora_a", pair.a.float().cpu().contiguous().numpy())
        writer.add_tensor(f"{name}.lora_b", permuted(name, b, config, family).cpu().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
