"""A tiny model of every family of text models that transformers can put a classification head on.

The families come from transformers itself, and the sizes are set under whichever names a configuration has for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig
from transformers.models.auto import modeling_auto

from tiny_models import tiny_decoder, tiny_encoder

HEADS: dict[str, str] = dict(modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
WRITERS: dict[str, str] = dict(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
ENCODER_DECODER: dict[str, str] = dict(modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
HIDING: dict[str, str] = dict(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)

CONTEXT = 128
ADDED = 8
"""Tokens that a family's own class of tokenizer may add, such as Qwen's."""
SIZES: dict[str, object] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size", "true_hidden_size"), 32),
    **dict.fromkeys(("pooler_hidden_size",), 32),
    **dict.fromkeys(("word_embed_proj_dim", "hidden_dim", "intermediate_size", "ffn_dim", "d_ff", "n_inner"), 64),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "d_inner", "ffn_hidden_size", "moe_intermediate_size"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers"), 2),
    **dict.fromkeys(("decoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads",), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("head_dim", "d_head", "d_kv", "attention_head_size"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_seq_len"), CONTEXT),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts", "num_experts_per_tok"), 2),
    **dict.fromkeys(("num_experts_per_token", "moe_topk"), 2),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "first_k_dense_replace"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(
        ("linear_key_head_dim", "linear_value_head_dim", "mamba_n_heads", "mamba_num_heads", "mamba_head_dim"), 8
    ),
    **dict.fromkeys(
        ("index_head_dim", "linear_head_dim", "head_size", "mamba_d_state", "ssm_state_size", "state_size"), 8
    ),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads", "linear_num_heads", "index_n_heads"), 4),
    **dict.fromkeys(("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"), 64),
    **dict.fromkeys(("expert_ffn_hidden_size", "expert_ffn_size", "intermediate_size_mlp", "lru_width"), 64),
    **dict.fromkeys(("encoder_expert_count", "decoder_expert_count"), 2),
}
"""By the names that configurations have for them."""
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
"""Names of the number of layers; a model whose layers are of several kinds has one of each."""
BESIDE: dict[str, dict[str, object]] = {
    "opt": {"word_embed_proj_dim": 32},
    "mpnet": {"pad_token_id": 1},
    "mobilebert": {"intra_bottleneck_size": 32},
    "distilbert": {"hidden_dim": 64},
    **{family: {"rotary_dim": 4} for family in ("gptj", "codegen")},
    "gpt_oss": {"num_experts_per_tok": 2},
    "qwen3_moe": {"num_experts_per_tok": 2},
    "funnel": {
        "architectures": ["FunnelModel"],
        "block_sizes": [1, 1],
        "block_repeats": [1, 1],
        "num_decoder_layers": 1,
        "d_head": 8,
    },
    "mpt": {"max_seq_len": CONTEXT},
    "longformer": {"attention_window": [16, 16]},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "rembert": {"input_embedding_size": 32, "output_embedding_size": 32},
    "bigbird_pegasus": {"attention_type": "original_full"},
    "big_bird": {"attention_type": "original_full"},
    "xlnet": {"d_inner": 64},
    "modernbert": {"local_attention": 32},
    "bamba": {"mamba_d_head": 8, "attn_layer_indices": [1]},
    "granitemoehybrid": {"mamba_d_head": 8, "layer_types": ["linear_attention", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_d_head": 8},
    "recurrent_gemma": {"lru_width": 32, "block_types": ["recurrent", "attention"]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "attention_layers": ["global", "local"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    **{family: {"head_dim": 8} for family in ("hunyuan_v1_dense", "hunyuan_v1_moe", "ministral")},
    "ctrl": {"dff": 64},
    "rwkv": {"attention_hidden_size": 32},
    "fsmt": {"vocab_size": 600, "src_vocab_size": 600, "tgt_vocab_size": 600, "langs": ["en", "ru"]},
    **{
        family: {"num_kv_shared_layers": 0, "vocab_size_per_layer_input": 640}
        for family in ("gemma3n_text", "gemma4_text")
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    **{family: {"num_key_value_heads": 4} for family in ("dots3_note_text", "esmc")},
    "reformer": {
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 16],
        "attn_layers": ["local", "lsh"],
        "is_decoder": True,
    },
}
"""What a family needs beside."""

OTHER_SENSES = {"layoutlm", "layoutlmv2", "layoutlmv3", "lilt", "markuplm", "tapas", "perceiver", "luke", "canine"}
"""Families that take more than text or bytes instead of tokens."""
NESTED = {"gemma3", "qwen3_5", "modernvbert", "ultravbert", "ultrabert", "t5gemma", "t5gemma2", "mistral4"}
"""Families whose sizes stand in configurations within the configuration, so that they cannot be shrunk from outside."""
PARTICULAR = {
    "axk1", "axk2", "deepseek_v2", "qwen2_moe", "minicpm3", "deepseek_v3", "qwen3_5_text", "qwen3_next", "minimax",
    "cohere_compass_text", "esm", "esmc", "gpt_neo", "hunyuan_v1_dense", "hunyuan_v1_moe", "ministral", "reformer",
    "ctrl", "zamba", "zamba2", "jamba", "gpt-sw3", "phimoe", "jetmoe",
}  # fmt: skip
"""Families that want sizes of a kind of their own, or stay large; their heads are those of the others."""
FAMILIES = tuple(family for family in HEADS if family not in OTHER_SENSES | NESTED | PARTICULAR)
"""Those that are tried."""


def kind_of(family: str) -> str:
    """Say which of Kamerton's kinds a family is of, as transformers sees it."""
    if family in ENCODER_DECODER and AutoConfig.for_model(family).is_encoder_decoder:
        return "seq2seq"
    return "decoder" if family in WRITERS and family not in HIDING else "encoder"


def tiny_family(family: str, folder: Path, **beside: object) -> Path:
    """Save a tiny model of a family without a classification head, with the tokenizer of its kind.

    Settings `beside` those that the family needs are put into its configuration.
    """
    kind = kind_of(family)
    donor = (tiny_encoder if kind == "encoder" else tiny_decoder)(folder)
    tokenizer = AutoTokenizer.from_pretrained(donor, model_max_length=CONTEXT)
    (folder / "config.json").unlink()
    config = _shrunk(AutoConfig.for_model(family), tokenizer, {**BESIDE.get(family, {}), **beside})
    auto = {"encoder": "AutoModel", "decoder": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM"}[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        getattr(transformers, auto).from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _shrunk(config: PreTrainedConfig, tokenizer: Any, beside: dict[str, object]) -> PreTrainedConfig:
    """Make a configuration of tiny sizes that fits a tokenizer."""
    known = config.to_dict()
    for part in vars(config).values():
        if isinstance(part, PreTrainedConfig):
            _shrunk(part, tokenizer, {})
    kinds = known.get("layer_types") or known.get("block_types") or ()
    kept = sorted({kinds.index(kind) for kind in kinds} if len(set(kinds)) > 1 else {0, 1})
    for name, value in SIZES.items():
        if isinstance(known.get(name), int):
            setattr(config, name, len(kept) if name in DEPTHS else value)
    if "num_key_value_heads" in known:
        config.num_key_value_heads = 4 if "kv_lora_rank" in known else SIZES["num_key_value_heads"]
    if known.get("per_layer_config"):
        config.per_layer_config = {}
    depth = next((known[name] for name in DEPTHS if isinstance(known.get(name), int)), 0)
    for name, value in known.items():
        if isinstance(value, list) and len(value) == depth:
            setattr(config, name, [value[at] for at in kept])
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    ids["decoder_start_token_id"] = tokenizer.pad_token_id
    for name, value in {"vocab_size": len(tokenizer) + ADDED, **ids, **beside}.items():
        setattr(config, name, value)
    return config
