"""Load tokenizers and models from inspected folders, reproducibly and without running their code."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers import AutoTokenizer, BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from kamerton.core.contracts import ModelFacts
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.system import keep_freed_memory
from kamerton.kernels.device import AUTO, CPU, choose_device
from kamerton.models.heads import REFUSALS, building, empty_model, new_head, whole_heads
from kamerton.models.inspect import types_of
from kamerton.models.precision import loading_in_half, matrices_in_half, read_from_half
from kamerton.models.quantize import keep_exact

PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}### Request:\n{{ message['content'] }}\n\n"
    "{% elif message['role'] == 'assistant' %}### Answer:\n{{ message['content'] }}{{ eos_token }}\n\n"
    "{% else %}{{ message['content'] }}\n\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}### Answer:\n{% endif %}"
)
"""For base models without a chat template; saved with the tuned model, so serving uses it, too."""
ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "[EOS]")
"""Tokens that end an answer, those of chat models first."""
NO_LIMIT = 1 << 20
"""Tokenizers without a limit have an astronomical one."""

# PEFT asks for an attribute that transformers is renaming; it concerns neither the user nor us
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


@dataclass(frozen=True)
class Loaded:
    """A model from disk, with its new parts: heads without pretrained weights, and new tokens."""

    model: PreTrainedModel
    fresh: tuple[str, ...]
    tokens: tuple[int, ...] = ()
    """Ids that were added to its vocabulary."""


def load_tokenizer(facts: ModelFacts, folder: Path | None = None) -> PreTrainedTokenizerBase:
    """Load a tokenizer, by default the model's own; set a padding token and a chat template where it has none.

    Raises:
        ModelError: the folder has no readable tokenizer.
    """
    try:
        where = folder or facts.folder
        tokenizer = AutoTokenizer.from_pretrained(where, local_files_only=True, trust_remote_code=False)
    except REFUSALS as error:
        rule = msg("the tokenizer cannot be read: {error}", error=str(error))
        remedy = msg("a model folder needs tokenizer.json and tokenizer_config.json")
        raise ModelError(Fault(rule, facts.folder, remedy)) from error
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
        known, remedy = tokenizer.get_vocab(), msg("name one of its tokens there as eos_token")
        if here := [token for token in ENDS if token in known]:
            remedy = msg("add {setting} there", setting=f'"eos_token": "{here[0]}"')
        rule = msg("the tokenizer has no end token, so the model could not be taught to stop")
        raise ModelError(Fault(rule, f"{folder}/tokenizer_config.json", remedy))


def load_model(
    folder: str | Path,
    model_class: str,
    config: Mapping[str, object],
    seed: int,
    quantization: BitsAndBytesConfig | None = None,
    device: str = AUTO,
    half: torch.dtype | None = None,
) -> Loaded:
    """Load a model in fp32 from an inspected folder onto a device.

    Settings of `config`, such as `num_labels`, are overridden; missing weights are initialized from `seed`;
    `quantization` names the matrices that are loaded in four bits, and how; `device` is a setting (`auto`, `cuda:1`).
    If nobody will change the pretrained matrices, they may be held in the type `half`: on a CPU those that were
    published in it, so that no number changes, elsewhere all of them.

    Raises:
        ModelError: transformers cannot build this class of model from the folder, or there is no such device.
    """
    keep_freed_memory()
    torch.manual_seed(seed)
    place, head = choose_device(device), new_head(folder, model_class, config)
    kind = getattr(transformers, model_class)
    if half:
        empty = empty_model(folder, model_class, config)
        names = matrices_in_half(empty, types_of(folder), half, rounded=place != CPU)
        kind = loading_in_half(type(empty), names, half)
    with building(folder, model_class):
        model, info = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below
            **({"quantization_config": quantization, "device_map": {"": place}} if quantization else {}),
            **config,
        )
    if half:
        model.__class__ = type(empty)
        read_from_half(model.get_submodule(name.removesuffix(".weight")) for name in names)
    drawn = head.weights if head else ()
    _refuse_other_sizes(folder, [one for one in info["mismatched_keys"] if one[0] not in drawn])
    if head:
        torch.manual_seed(seed)
        head.begin(model)
    if model.config.is_encoder_decoder and model.config.decoder_start_token_id is None:
        rule = msg("the configuration does not state which token an answer begins with")
        remedy = msg("set decoder_start_token_id there: to [CLS], or to the padding token")
        raise ModelError(Fault(rule, f"{folder}/config.json", remedy))
    if quantization is None:
        model = model.to(place)
    else:
        keep_exact(model)
    return Loaded(model, whole_heads(model, [*info["missing_keys"], *drawn]))


def _refuse_other_sizes(folder: str | Path, differing: Sequence[tuple[str, Sequence[int], Sequence[int]]]) -> None:
    if differing:
        name, saved, stated = min(differing, key=lambda one: one[0])
        sizes = {"name": name, "saved": " × ".join(map(str, saved)), "stated": " × ".join(map(str, stated))}
        rule: Wording = msg("the weights '{name}' are {saved}, and the configuration states {stated}", **sizes)
        if len(differing) > 1:
            rule = Joined((rule, msg("{count} more {count:tensor differs|tensors differ}", count=len(differing) - 1)))
        remedy = msg("download the model's config.json and its weights again, from one source")
        raise ModelError(Fault(rule, str(folder), remedy))


def count_parameters(model: nn.Module, *, trainable: bool) -> int:
    """Count a model's weights, or only the trainable ones."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad or not trainable)
