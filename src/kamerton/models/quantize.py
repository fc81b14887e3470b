"""A base model in four bits: which matrices, how they are loaded, and how the choice is saved with an adapter."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from kamerton.core import registry
from kamerton.core.contracts import ModelFacts
from kamerton.core.errors import Fault, ModelError
from kamerton.core.figures import Figure
from kamerton.core.files import write_json
from kamerton.core.messages import Message, msg
from kamerton.core.weights import Quantization
from kamerton.models.heads import REFUSALS, empty_model
from kamerton.models.naming import DOWNLOAD_AGAIN, read_settings
from kamerton.models.structure import linear_layers, outer_model

FILE = "base_quantization.json"
"""Saved with an adapter: how its base was loaded, as transformers writes it."""
CHOSEN = ("bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "llm_int8_skip_modules")
"""What of it differs between adapters."""
BLOCK = 64
"""Weights that share a scale; a matrix row must consist of whole blocks."""


def quantized(
    folder: str | Path, model_class: str, config: Mapping[str, object], how: Quantization
) -> BitsAndBytesConfig:
    """Return a configuration that loads the layers' matrices in four bits where their rows are whole blocks.

    Heads, poolers and embeddings are not quantized: new ones are trained.

    Raises:
        RecipeError: bitsandbytes is not installed.
        ModelError: no layer has a matrix with rows of whole blocks.
    """
    registry.require("bitsandbytes", "bitsandbytes")
    empty = empty_model(folder, model_class, config)
    precise = set(empty._keep_in_fp32_modules or ())  # transformers keeps these in fp32
    fitting = {name for name in linear_layers(empty) if not precise & set(name.split("."))}
    linear = {name: module for name, module in empty.named_modules() if isinstance(module, nn.Linear)}
    kept = [name for name, module in linear.items() if name not in fitting or module.in_features % BLOCK]
    if len(kept) == len(linear):
        rule = msg("four bits need linear layers with a multiple of {block} inputs, and there is none", block=BLOCK)
        raise ModelError(Fault(rule, str(folder), msg("choose another model, or another method")))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=how.type,
        bnb_4bit_use_double_quant=how.double,
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=kept,
    )


def keep_exact(model: nn.Module) -> None:
    """Multiply four-bit matrices in fp32 in evaluation, as in training.

    On a CPU with bf16 instructions, bitsandbytes repacks them at the first evaluation and computes in bf16 from then
    on; training after that gets no gradients.
    """
    layer = registry.require("bitsandbytes", "bitsandbytes").nn.Linear4bit
    for module in model.modules():
        if isinstance(module, layer):
            module.support_avx512bf16_for_cpu = False


def write_quantization(folder: Path, model: nn.Module) -> None:
    """Save how the base of an adapter was loaded, unless in full precision."""
    config = outer_model(model).config
    if "quantization_config" in config.to_dict():
        write_json(folder / FILE, config.quantization_config.to_dict())


def read_quantization(folder: Path) -> BitsAndBytesConfig | None:
    """Read how the base of an adapter was loaded; None if in full precision.

    Raises:
        ModelError: the file does not say it.
    """
    if not (folder / FILE).exists():
        return None
    try:
        settings = read_settings(folder / FILE)
        return BitsAndBytesConfig(load_in_4bit=True, **{name: settings[name] for name in CHOSEN})
    except REFUSALS as error:
        rule = msg("the file does not say how the base was rounded")
        raise ModelError(Fault(rule, str(folder / FILE), DOWNLOAD_AGAIN)) from error


def cost(model: PreTrainedModel, facts: ModelFacts) -> Message:
    """Return what four bits save and cost."""
    return msg(
        "the base model takes {now} instead of {before}; its matrices are rounded to 16 values, and are fp32 again in "
        "each product",
        now=Figure(model.get_memory_footprint(), "memory"),
        before=Figure(4 * facts.parameters, "memory"),
    )
