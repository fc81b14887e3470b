"""What vLLM serves: the adapter's folder where vLLM takes it, else the merged model, and the command line."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field
from safetensors import safe_open

from kamerton.core.errors import Unusable
from kamerton.core.exporting import ExportProof, Original, Tuned
from kamerton.core.files import shell_word
from kamerton.core.messages import Wording, msg
from kamerton.core.readers import read_object
from kamerton.models.naming import ADAPTER
from kamerton.plugins.exports._low_rank import PREFIX, low_rank, not_plain
from kamerton.plugins.exports._shared import Exporting, another, copy_cards, merge
from kamerton.plugins.exports._transformers import prove_loaded

RANKS = 1, 8, 16, 32, 64, 128, 256, 320, 512
"""What `--max-lora-rank` allows (vLLM 0.32, vllm/config/lora.py)."""
WEIGHTS, NAME = "adapter_model.safetensors", "tuned"
WRITER, CLASSIFIER = "AutoModelForCausalLM", "AutoModelForSequenceClassification"
HEADS = WRITER, CLASSIFIER, "AutoModelForTokenClassification"
"""Heads of transformers that vLLM serves."""
PER_MODULE = "rank_pattern", "alpha_pattern"
"""Settings of single layers, which vLLM does not read."""


class Vllm(Exporting):
    """Write what vLLM serves: the adapter over its base, or plain weights, with the command line for it.

    The folder is loaded in a fresh process and must meet vLLM's own rules; vLLM itself is not run here.
    """

    merge: bool | None = Field(None, description="Plain weights; if open, only where vLLM takes no adapter.")

    def refuses(self, tuned: Tuned) -> Wording:
        """Refuse heads that vLLM does not serve, and adapters that it does not take where one is wanted."""
        if tuned.form.model_class not in HEADS:
            head = tuned.form.model_class
            return msg("vLLM serves no model with such a head ({head}); use {format}", head=head, format=another(tuned))
        reason = self._no_adapter(tuned)
        if self.merge is False and reason:
            return msg("{reason}; leave out --set merge=false", reason=reason)
        return ""

    def _no_adapter(self, tuned: Tuned) -> Wording:
        """Return why vLLM takes no adapter of this run; an empty string if it does."""
        if tuned.form.model_class != WRITER:
            return msg("vLLM takes adapters of models that write only")
        if tuned.method.quantization and self.merge is None:
            return msg("the adapter fits rounded matrices only")
        config: Any = low_rank(tuned)
        if reason := not_plain(tuned):
            return reason
        if any(vars(config)[name] for name in PER_MODULE) or config.modules_to_save:
            return msg("vLLM reads one rank and one alpha, and no whole modules")
        if config.r > RANKS[-1]:
            return msg("vLLM takes ranks up to {most}, and this is {rank}", most=RANKS[-1], rank=config.r)
        return ""

    def write(self, tuned: Tuned, folder: Path) -> Sequence[str]:
        """Copy the adapter or save the merged model. Raises `Unusable` where it can be neither."""
        if not self.merge and not self._no_adapter(tuned):
            shutil.copytree(tuned.folder, folder, copy_function=shutil.copyfile)
            config: Any = low_rank(tuned)
            rank = next(rank for rank in RANKS if rank >= config.r)
            loading = " --quantization bitsandbytes" if tuned.method.quantization else ""
            base = tuned.facts.name if _is_on_the_hub(tuned.facts.name) else tuned.facts.folder
            return [f"vllm serve {shell_word(base)}{loading} --enable-lora --max-lora-rank {rank} "
                    f"--lora-modules {NAME}=."]  # fmt: skip
        merge(tuned).save_pretrained(folder)
        tuned.tokenizer.save_pretrained(folder)
        copy_cards(tuned, folder)
        serving = "" if tuned.form.model_class == WRITER else " --runner pooling"
        return [f"vllm serve . --served-model-name {NAME}{serving}"]

    def prove(self, original: Original, folder: Path) -> ExportProof:
        """Require the run's own logits in a fresh process, and of an adapter what vLLM requires."""
        adapter = (folder / ADAPTER).exists()
        if adapter and (reason := breaks_rules(folder)):
            raise Unusable(reason)
        proof = prove_loaded(original, folder, adapter or original.method.quantization is None)
        return replace(proof, unproven=msg("vLLM itself was not run here; the command below does it"))


def _is_on_the_hub(name: str) -> bool:
    return name.count("/") == 1 and not Path(name).exists()


def breaks_rules(folder: Path) -> Wording:
    """Return which of vLLM's rules an adapter's folder breaks (0.32, vllm/lora/peft_helper.py and lora_model.py)."""
    config = read_object(folder / ADAPTER)
    if config.get("use_dora") or config.get("bias", "none") != "none" or config.get("modules_to_save"):
        return msg("vLLM refuses adapters with DoRA, biases or whole modules")
    targets, rank = config.get("target_modules"), config.get("r")
    if not targets or not isinstance(rank, int) or not config.get("lora_alpha"):
        return msg("vLLM needs r, lora_alpha and target_modules in {file}", file=ADAPTER)
    with safe_open(folder / WEIGHTS, framework="numpy") as weights:
        for name in weights.keys():  # noqa: SIM118 (it is no mapping)
            shape = weights.get_slice(name).get_shape()
            module, _, part = name.removesuffix(".weight").rpartition(".")
            side = {"lora_A": 0, "lora_B": 1}.get(part)
            if side is None or not name.startswith(PREFIX) or shape[side] != rank:
                return msg("vLLM has no place for the weight '{name}'", name=name)
            if not any(module.endswith(target) for target in targets):
                return msg("vLLM does not find '{name}' in target_modules", name=module)
    return ""
