"""Weights as GGUF files carry them: names, layouts and hyperparameters of llama.cpp's architectures."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from kamerton.core.contracts import Tokenizer
from kamerton.core.errors import Unusable
from kamerton.core.messages import msg
from kamerton.plugins.exports._gguf_tokenizer import vocabulary_of

Precision = Literal["f32", "f16", "q8_0"]
TYPES = {"f32": gguf.GGMLQuantizationType.F32, "f16": gguf.GGMLQuantizationType.F16,
         "q8_0": gguf.GGMLQuantizationType.Q8_0}  # fmt: skip
FILE_TYPES = {"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16,
              "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}  # fmt: skip
Writing = Callable[[gguf.GGUFWriter, Any], None]


@dataclass(frozen=True)
class Family:
    """How an architecture of transformers is written for llama.cpp."""

    arch: gguf.MODEL_ARCH
    interleaved: bool = False
    """Whether rotary pairs are neighbors there: rows of queries and keys are permuted then."""
    norm_offset: float = 0.0
    """What is added to the weights of norms: Gemma's count from one."""
    windows: bool = True
    """Whether llama.cpp computes sliding windows; else the context ends with the window."""
    full_every: int = 0
    """Of how many layers one has no sliding window, in the architectures that have such a pattern."""
    refuses: tuple[tuple[str, object], ...] = ()
    """Settings that llama.cpp takes for granted, and the one value of each."""
    keys: Writing = lambda writer, config: None
    """Writes the keys that only this family has."""


def _sliding(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_sliding_window(config.sliding_window or config.max_position_embeddings)


def _gemma2(writer: gguf.GGUFWriter, config: Any) -> None:
    _sliding(writer, config)
    writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    writer.add_final_logit_softcapping(config.final_logit_softcapping)


GEMMA_ACT = ("hidden_activation", "gelu_pytorch_tanh")
LOCAL_BASE = 10000.0
"""Base of the rotary positions within sliding windows, which llama.cpp has no key for."""
FAMILIES: Mapping[str, Family] = {
    "llama": Family(gguf.MODEL_ARCH.LLAMA, interleaved=True, windows=False, refuses=(("hidden_act", "silu"),)),
    "mistral": Family(gguf.MODEL_ARCH.LLAMA, interleaved=True, windows=False, refuses=(("hidden_act", "silu"),)),
    "qwen2": Family(gguf.MODEL_ARCH.QWEN2, refuses=(("hidden_act", "silu"), ("use_sliding_window", False))),
    "qwen3": Family(gguf.MODEL_ARCH.QWEN3, refuses=(("hidden_act", "silu"), ("use_sliding_window", False))),
    "gemma": Family(gguf.MODEL_ARCH.GEMMA, norm_offset=1.0),
    "gemma2": Family(gguf.MODEL_ARCH.GEMMA2, norm_offset=1.0, full_every=2, refuses=(GEMMA_ACT,), keys=_gemma2),
    "gemma3_text": Family(gguf.MODEL_ARCH.GEMMA3, norm_offset=1.0, full_every=6, refuses=(GEMMA_ACT,), keys=_sliding),
    "phi3": Family(gguf.MODEL_ARCH.PHI3, windows=False, refuses=(("hidden_act", "silu"),), keys=_sliding),
}
"""By transformers' `model_type`. SmolLM 1 and 2 are llama."""


def family_of(config: Any) -> Family:
    """Return how a model is written. Raises `Unusable` for an architecture, or a setting of it, that is not."""
    if config.model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise Unusable(msg("models of the family {family} are not written as GGUF; these are: {known}",
                           family=config.model_type, known=known))  # fmt: skip
    family = FAMILIES[config.model_type]
    for name, value in family.refuses:
        _require(config, name, value)
    if family.full_every:
        kinds = ["full_attention" if (i + 1) % family.full_every == 0 else "sliding_attention"
                 for i in range(config.num_hidden_layers)]  # fmt: skip
        _require(config, "layer_types", kinds)
        _require(config, "query_pre_attn_scalar", config.head_dim)
        sliding = config.rope_parameters.get("sliding_attention", {})
        if sliding.get("rope_theta", LOCAL_BASE) != LOCAL_BASE:
            raise Unusable(msg("rotary positions scaled by '{kind}' are not written as GGUF", kind="sliding_attention"))
    _rotation(config)
    return family


def _require(config: Any, name: str, value: object) -> None:
    """Raise `Unusable` if a setting is not the one that llama.cpp takes for granted."""
    if getattr(config, name) != value:
        rule = msg("llama.cpp computes {family} with {setting}={value} only", family=config.model_type, setting=name,
                   value=str(value))  # fmt: skip
        raise Unusable(rule)


def _rotation(config: Any) -> Mapping[str, Any]:
    """Return the rotary settings of full attention. Raises `Unusable` for a scaling that is not written."""
    settings = config.rope_parameters
    settings = settings.get("full_attention", settings)
    kind = settings.get("rope_type", "default")
    if kind not in ("default", "llama3", "linear"):
        raise Unusable(msg("rotary positions scaled by '{kind}' are not written as GGUF", kind=kind))
    return settings


def write_model(path: Path, model: PreTrainedModel, tokenizer: Tokenizer, precision: Precision, name: str) -> None:
    """Write a model as one GGUF file, a tensor at a time.

    Matrices get the precision, vectors stay in f32. What q8_0 cannot hold (rows that are no multiple of 32) is f16.

    Raises:
        Unusable: the architecture or the tokenizer is not one that llama.cpp reads as transformers does.
    """
    config: Any = model.config
    family = family_of(config)
    vocabulary = vocabulary_of(tokenizer, model.get_input_embeddings().weight.shape[0])
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[family.arch])
    writer.add_name(name)
    writer.add_file_type(FILE_TYPES[precision])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _write_sizes(writer, config, len(vocabulary.tokens), family)
    family.keys(writer, config)
    vocabulary.write(writer)
    tensors = [(name, tensor, _type(tensor, precision)) for name, tensor in _tensors(model, family)]
    for name, tensor, kind in tensors:
        shape = gguf.quant_shape_to_byte_shape(tensor.shape, kind) if kind == TYPES["q8_0"] else tuple(tensor.shape)
        size = math.prod(tensor.shape) // gguf.GGML_QUANT_SIZES[kind][0] * gguf.GGML_QUANT_SIZES[kind][1]
        dtype = np.dtype(np.uint8 if kind == TYPES["q8_0"] else np.float16 if kind == TYPES["f16"] else np.float32)
        writer.add_tensor_info(name, shape, dtype, size, raw_dtype=kind if kind == TYPES["q8_0"] else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, tensor, kind in tensors:
        writer.write_tensor_data(gguf.quantize(_array(name, tensor, config, family), kind))
    writer.close()


def _write_sizes(writer: gguf.GGUFWriter, config: Any, tokens: int, family: Family) -> None:
    """Write the hyperparameters that all families have."""
    heads, rotation = config.num_attention_heads, _rotation(config)
    width = config.to_dict().get("head_dim") or config.hidden_size // heads
    writer.add_vocab_size(tokens)
    window = None if family.windows else config.to_dict().get("sliding_window")
    writer.add_context_length(min(config.max_position_embeddings, window or config.max_position_embeddings))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(int(width * rotation.get("partial_rotary_factor", 1.0)))
    writer.add_rope_freq_base(rotation["rope_theta"])
    if rotation.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rotation["factor"])


def _tensors(model: PreTrainedModel, family: Family) -> Iterator[tuple[str, Tensor]]:
    """Yield llama.cpp's names and the weights, a tied head left out. Raises `Unusable` for one without a name."""
    config: Any = model.config
    names = gguf.get_tensor_name_map(family.arch, config.num_hidden_layers)
    if _rotation(config).get("rope_type") == "llama3":
        yield "rope_freqs.weight", _llama3_factors(config)
    tied = config.tie_word_embeddings
    for name, tensor in model.state_dict().items():
        if not (tied and tensor.data_ptr() == model.get_input_embeddings().weight.data_ptr() and "lm_head" in name):
            yield tensor_name(names, name), tensor


def tensor_name(names: gguf.TensorNameMap, name: str) -> str:
    """Return llama.cpp's name of a weight. Raises `Unusable` if it has none: to leave one out is to break a model."""
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise Unusable(msg("llama.cpp has no place for the weight '{name}'", name=name))
    return str(found)


def _type(tensor: Tensor, precision: Precision) -> gguf.GGMLQuantizationType:
    if tensor.dim() < 2:
        return TYPES["f32"]
    return TYPES["f16"] if precision == "q8_0" and tensor.shape[-1] % 32 else TYPES[precision]


def _array(name: str, tensor: Tensor, config: Any, family: Family) -> np.ndarray:
    values = tensor.detach().float().cpu()
    if family.norm_offset and name.endswith("norm.weight"):
        values = values + family.norm_offset
    return permuted(name, values, config, family).contiguous().numpy()


def permuted(name: str, values: Tensor, config: Any, family: Family) -> Tensor:
    """Return rows of queries and keys in llama.cpp's order: rotary pairs side by side, not half a head apart."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    part = name.split(".")[-2] if "." in name else ""
    if not family.interleaved or part not in heads:
        return values
    halves = values.reshape(heads[part], 2, -1, *values.shape[1:])
    return halves.transpose(1, 2).reshape(values.shape)


def _llama3_factors(config: Any) -> Tensor:
    """Return what divides each rotary frequency: as transformers' `_compute_llama3_parameters` has it."""
    rotation = _rotation(config)
    width = config.head_dim or config.hidden_size // config.num_attention_heads
    plain = 1.0 / rotation["rope_theta"] ** (torch.arange(0, width, 2).double() / width)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    return (plain / scaled.double()).float()
