"""A base model in four bits: which of its matrices, how they are loaded, and how the choice is kept with an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from kamerton.core import registry
from kamerton.core.contracts import ModelFacts, Quantization
from kamerton.core.errors import Fault, ModelError
from kamerton.core.files import read_json, write_json
from kamerton.models.heads import empty_model
from kamerton.models.structure import linear_layers, outer_model

FILE = "base_quantization.json"
"""Beside an adapter: how its base was loaded, in transformers' own form."""
BLOCK = 64
"""Weights that share a scale; a row of a matrix must be made of whole blocks."""


def quantized(
    folder: str | Path, model_class: str, config: Mapping[str, object], how: Quantization
) -> BitsAndBytesConfig:
    """Say to transformers which matrices to load in four bits: those of the layers, whose rows are whole blocks.

    Heads, poolers and embeddings stay as they are: new ones have nothing to quantize, and they train.

    Raises:
        RecipeError: bitsandbytes is not installed.
        ModelError: no matrix of the layers has rows of whole blocks.
    """
    registry.require("bitsandbytes", "bitsandbytes")
    empty = empty_model(folder, model_class, config)
    precise = set(empty._keep_in_fp32_modules or ())  # what transformers keeps in any case, for the family's sake
    fitting = {name for name in linear_layers(empty) if not precise & set(name.split("."))}
    linear = {name: module for name, module in empty.named_modules() if isinstance(module, nn.Linear)}
    kept = [name for name, module in linear.items() if name not in fitting or module.in_features % BLOCK]
    if len(kept) == len(linear):
        rule = f"no linear layer has a number of inputs that is a multiple of {BLOCK}, which four bits need"
        raise ModelError(Fault(rule, str(folder), "choose another model, or another method"))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=how.type,
        bnb_4bit_use_double_quant=how.double,
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=kept,
    )


def keep_exact(model: nn.Module) -> None:
    """Let matrices of four bits be multiplied in fp32 while evaluating, as they are while training.

    On a CPU with bf16 instructions bitsandbytes packs them anew at the first evaluation, computes in bf16 from then
    on, and gives training after it no gradients.
    """
    layer = registry.require("bitsandbytes", "bitsandbytes").nn.Linear4bit
    for module in model.modules():
        if isinstance(module, layer):
            module.support_avx512bf16_for_cpu = False


def is_quantized(model: nn.Module) -> bool:
    """Say whether a model's matrices were loaded in four bits."""
    return "quantization_config" in outer_model(model).config.to_dict()


def write_quantization(folder: Path, model: nn.Module) -> None:
    """Write down how the base of a saved adapter was loaded, if not in full precision."""
    if is_quantized(model):
        write_json(folder / FILE, outer_model(model).config.quantization_config.to_dict())


def read_quantization(folder: Path) -> BitsAndBytesConfig | None:
    """Read how the base of a saved adapter was loaded; None if in full precision."""
    if not (folder / FILE).exists():
        return None
    config: BitsAndBytesConfig = BitsAndBytesConfig.from_dict(read_json(folder / FILE))
    return config


def cost(model: PreTrainedModel, facts: ModelFacts) -> str:
    """Say in one line what four bits save and cost."""
    now, before = model.get_memory_footprint() / 1e6, 4 * facts.parameters / 1e6
    saved = f"the base model takes {now:,.0f} MB in place of {before:,.0f}"
    return f"{saved}; its matrices are rounded to 16 values, and made fp32 again for each product"
