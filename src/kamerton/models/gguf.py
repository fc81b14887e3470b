"""Convert models from the GGUF format of llama.cpp to Hugging Face folders.

Transformers reads GGUF files in half a minute, and cannot save the result, which counts as quantized; the converted
folder loads in a second.
"""

from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging

PADDING = "<|endoftext|>"


def convert(unpacked: Path, folder: Path) -> None:
    """Write the one GGUF file in `unpacked` as a Hugging Face folder.

    The weights are kept in float32. A Q4_1 weight is `scale * q + minimum` with a float16 scale and
    minimum: of SmolLM2's weights 42% are not exact in float16 and 79% not in bfloat16.
    """
    (source,) = unpacked.glob("*.gguf")
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(unpacked, gguf_file=source.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(unpacked, gguf_file=source.name)
    # with the end token as padding, a loss that ignores padding would never train the model to stop
    tokenizer.pad_token = PADDING
    tokenizer.padding_side = "right"
    tokenizer.model_max_length = model.config.max_position_embeddings
    # llama.cpp's pre-tokenizer "smollm" splits digits before GPT-2's; transformers reads only the latter
    split = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.backend_tokenizer.pre_tokenizer = split
    tokenizer.save_pretrained(folder)
    settings = model.config.to_dict() | {"pad_token_id": tokenizer.pad_token_id}
    del settings["quantization_config"], settings["_model_name_or_path"]
    clean = AutoModelForCausalLM.from_config(type(model.config).from_dict(settings))
    clean.load_state_dict(model.state_dict())
    clean.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    clean.save_pretrained(folder)
