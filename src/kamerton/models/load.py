"""Load tokenizers and models from inspected folders, reproducibly and without running anybody's code."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoTokenizer, BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from kamerton.core.contracts import ModelFacts
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import msg
from kamerton.core.system import keep_freed_memory
from kamerton.kernels.trial import is_out_of_memory
from kamerton.models.heads import new_head, whole_heads
from kamerton.models.quantize import keep_exact

PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}### Request:\n{{ message['content'] }}\n\n"
    "{% elif message['role'] == 'assistant' %}### Answer:\n{{ message['content'] }}{{ eos_token }}\n\n"
    "{% else %}{{ message['content'] }}\n\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}### Answer:\n{% endif %}"
)
"""For base models that bring no chat template; it is saved with the tuned model, so serving uses the same."""
ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "[EOS]")
"""Tokens with which models end, those of a chat first."""
NO_LIMIT = 1 << 20
"""Tokenizers without a known limit carry an astronomical one."""

# PEFT asks for an attribute that transformers is renaming; it concerns neither the user nor us
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
# bitsandbytes, which PEFT imports where it is installed, would fetch code from the Hub by the package `kernels` and
# run it. None in a module's place is Python's own way to say that it cannot be imported.
sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


@dataclass(frozen=True)
class Loaded:
    """A model from disk, and what of it is new: heads without pretrained weights, tokens that it did not know."""

    model: PreTrainedModel
    fresh: tuple[str, ...]
    tokens: tuple[int, ...] = ()
    """Ids that are new in its vocabulary."""


def machine_device() -> torch.device:
    """Give the device that all models are on: the accelerator that torch sees, as Accelerate does, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def load_tokenizer(facts: ModelFacts, folder: Path | None = None) -> PreTrainedTokenizerBase:
    """Load a tokenizer; one without a padding token pads with its end token, one without a template gets the plain one.

    Args:
        facts: of the model.
        folder: where the tokenizer is; the model's own if not given.

    Raises:
        ModelError: the folder holds no tokenizer that can be read.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder or facts.folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        remedy = "a model folder needs tokenizer.json and tokenizer_config.json"
        raise ModelError(Fault(f"the tokenizer cannot be read: {error}", facts.folder, remedy)) from error
    if folder is None:
        _require_embeddings(tokenizer, facts)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
    if tokenizer.chat_template is None and facts.kind != "encoder":
        tokenizer.chat_template = PLAIN_TEMPLATE
    if tokenizer.model_max_length > NO_LIMIT:
        tokenizer.model_max_length = facts.context
    return tokenizer


def _require_embeddings(tokenizer: PreTrainedTokenizerBase, facts: ModelFacts) -> None:
    """Refuse a tokenizer with tokens that texts can hold and the model has no embedding for.

    Special tokens that only other modalities use may lie beyond the embeddings, as in Gemma 3 of 1B.
    """
    used = {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}
    template = str(tokenizer.chat_template)
    missing = [
        token.content
        for id, token in tokenizer.added_tokens_decoder.items()
        if 0 < facts.vocabulary <= id and (not token.special or id in used or token.content in template)
    ]
    if missing:
        rule = msg(
            "the model has no embedding for {count} {count:token|tokens} of its tokenizer, such as '{first}'",
            count=len(missing),
            first=missing[0],
        )
        remedy = msg(
            "use the tokenizer that the model was saved with, and let `--set model.new_tokens=FILE` add words; or save "
            "the model again after `model.resize_token_embeddings({tokens})`",
            tokens=str(len(tokenizer)),
        )
        raise ModelError(Fault(rule, facts.folder, remedy))


def require_end(tokenizer: PreTrainedTokenizerBase, folder: str) -> None:
    """Check that a tokenizer has an end token.

    Raises:
        ModelError: it has none, with the tokens that could be it.
    """
    if tokenizer.eos_token_id is None:
        known = tokenizer.get_vocab()
        here = [f'"eos_token": "{token}"' for token in ENDS if token in known]
        remedy = f"write {here[0]} there" if here else "name one of its tokens there as eos_token"
        rule = "the tokenizer has no end token, so the model could not be taught to stop"
        raise ModelError(Fault(rule, f"{folder}/tokenizer_config.json", remedy))


def load_model(
    folder: str | Path,
    model_class: str,
    config: Mapping[str, object],
    seed: int,
    quantization: BitsAndBytesConfig | None = None,
) -> Loaded:
    """Load a model in fp32 onto the machine's device; weights that the folder does not have are drawn from `seed`.

    Args:
        folder: an inspected model folder.
        model_class: a transformers auto class.
        config: what its configuration must carry beside its own: `num_labels` and the like.
        seed: of new weights.
        quantization: which matrices come in four bits, and how.

    Raises:
        ModelError: transformers cannot make this class of model from the folder.
    """
    keep_freed_memory()
    torch.manual_seed(seed)
    device, head = machine_device(), new_head(folder, model_class, config)
    try:
        model, info = getattr(transformers, model_class).from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, in plain words
            **({"quantization_config": quantization, "device_map": {"": device}} if quantization else {}),
            **config,
        )
    except (OSError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        remedy = "choose another model, or another task for this one"
        raise ModelError(Fault(f"{model_class} cannot be made: {error}", str(folder), remedy)) from error
    drawn = head.weights if head else ()
    _refuse_other_sizes(folder, [one for one in info["mismatched_keys"] if one[0] not in drawn])
    if head:
        torch.manual_seed(seed)
        head.begin(model)
    if model.config.is_encoder_decoder and model.config.decoder_start_token_id is None:
        rule = "the model does not say which token an answer begins with"
        raise ModelError(
            Fault(rule, f"{folder}/config.json", "set decoder_start_token_id there: [CLS], or the padding")
        )
    if quantization is None:
        model = model.to(device)
    else:
        keep_exact(model)
    return Loaded(model, whole_heads(model, [*info["missing_keys"], *drawn]))


def _refuse_other_sizes(folder: str | Path, differing: Sequence[tuple[str, Sequence[int], Sequence[int]]]) -> None:
    """Refuse weights that are not of the sizes that the configuration states.

    Raises:
        ModelError: there are some.
    """
    if differing:
        name, saved, stated = min(differing, key=lambda one: one[0])
        rule = f"the weights '{name}' are {_size(saved)}, and the configuration states {_size(stated)}"
        more = f"; so it is with {len(differing) - 1} more" if len(differing) > 1 else ""
        remedy = "get the model's config.json and its weights again, from one place"
        raise ModelError(Fault(rule + more, str(folder), remedy))


def _size(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def count_parameters(model: nn.Module, *, trainable: bool) -> int:
    """Count a model's weights, or only those that train."""
    chosen: list[Any] = [p for p in model.parameters() if p.requires_grad or not trainable]
    return sum(parameter.numel() for parameter in chosen)
