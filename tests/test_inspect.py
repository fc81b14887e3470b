"""A model folder is judged before any library touches it: the honest are described, the hostile refused unread."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import transformers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    DistilBertConfig,
    DistilBertForMaskedLM,
    EncoderDecoderModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from hostile_models import HOSTILE, PICKLE, content, setting
from kamerton.core.errors import ModelError
from kamerton.models.inspect import fingerprint, inspect_folder

# ── the honest ────────────────────────────────────────────────────────────────────────────────


def with_tokenizer(model: PreTrainedModel, source: Path, folder: Path) -> Path:
    model.save_pretrained(folder)
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
    return folder


@pytest.mark.parametrize(
    ("fixture", "kind", "family", "context"),
    [
        ("encoder_folder", "encoder", "bert", 128),
        ("decoder_folder", "decoder", "llama", 256),
        ("seq2seq_folder", "seq2seq", "t5", 128),
    ],
)
def test_the_facts_agree_with_the_loaded_model(
    fixture: str, kind: str, family: str, context: int, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(fixture)
    facts = inspect_folder(folder, "tiny")
    tensors = loaded(folder)
    assert (facts.name, facts.kind, facts.family, facts.context) == ("tiny", kind, family, context)
    assert facts.parameters == tensors.num_parameters()
    assert facts.vocabulary == tensors.config.vocab_size
    assert facts.hidden == tensors.config.hidden_size


def loaded(folder: Path) -> PreTrainedModel:
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    return getattr(transformers, architecture).from_pretrained(folder)


FAMILIES: dict[str, tuple[Callable[[], PreTrainedModel], str, int]] = {
    "gpt2": (lambda: GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=40)), "decoder", 2),
    "distilbert": (
        lambda: DistilBertForMaskedLM(DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32)), "encoder", 2,
    ),
    "bart": (
        lambda: BartForConditionalGeneration(
            BartConfig(vocab_size=50, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
                       decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32)
        ), "seq2seq", 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_are_understood(family: str, encoder_folder: Path, tmp_path: Path) -> None:
    build, kind, layers = FAMILIES[family]
    model = build()
    facts = inspect_folder(with_tokenizer(model, encoder_folder, tmp_path / "model"), family)
    assert (facts.family, facts.kind, facts.layers) == (family, kind, layers)
    buffers = sum(tensor.numel() for name, tensor in model.named_buffers() if name in model.state_dict())
    assert facts.parameters == model.num_parameters() + buffers
    assert facts.hidden == 16
    assert facts.context == model.config.max_position_embeddings


def test_a_model_of_two_encoders_is_a_seq2seq_model_of_both(encoder_folder: Path, tmp_path: Path) -> None:
    model = EncoderDecoderModel.from_encoder_decoder_pretrained(encoder_folder, encoder_folder)
    facts = inspect_folder(with_tokenizer(model, encoder_folder, tmp_path / "pair"), "pair")
    assert (facts.kind, facts.layers, facts.hidden, facts.context) == ("seq2seq", 4, 32, 128)
    assert facts.vocabulary == model.config.decoder.vocab_size
    assert facts.parameters == model.num_parameters()


def test_robertas_context_is_the_longest_that_it_takes(encoder_folder: Path, tmp_path: Path) -> None:
    config = RobertaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=20,
    )  # fmt: skip
    model = RobertaModel(config).eval()
    context = inspect_folder(with_tokenizer(model, encoder_folder, tmp_path / "roberta"), "roberta").context
    model(torch.full((1, context), 7))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, context + 1), 7))


def test_sharded_weights_are_counted_as_one_model(decoder_folder: Path, tmp_path: Path) -> None:
    model = loaded(decoder_folder)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="50KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(decoder_folder / name, tmp_path / "sharded" / name)
    assert not (tmp_path / "sharded" / "model.safetensors").exists()
    assert inspect_folder(tmp_path / "sharded", "x").parameters == inspect_folder(decoder_folder, "x").parameters


def test_links_inside_the_hubs_cache_are_accepted(encoder_folder: Path, tmp_path: Path) -> None:
    snapshot = hub_snapshot(encoder_folder, tmp_path)
    assert inspect_folder(snapshot, "x").fingerprint == inspect_folder(encoder_folder, "x").fingerprint


def hub_snapshot(source: Path, cache: Path) -> Path:
    """Lay a model out as the hub's cache does: contents in blobs/, names in snapshots/."""
    blobs, snapshot = cache / "models--org--tiny" / "blobs", cache / "models--org--tiny" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(source.iterdir()):
        shutil.copyfile(path, blobs / str(number))
        (snapshot / path.name).symlink_to(Path("..") / ".." / "blobs" / str(number))
    return snapshot


def test_inspection_imports_neither_torch_nor_transformers(encoder_folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from kamerton.models.inspect import inspect_folder\n"
        "inspect_folder(Path(sys.argv[1]), 'x'); print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(encoder_folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ── the fingerprint ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def copied(encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny encoder to spoil, and an empty cache."""
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path / "cache"))
    shutil.copytree(encoder_folder, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
def test_one_changed_byte_changes_the_fingerprint(name: str, copied: Path, encoder_folder: Path) -> None:
    assert fingerprint(copied) == fingerprint(encoder_folder)
    data = bytearray((copied / name).read_bytes())
    data[-1] ^= 1
    (copied / name).write_bytes(data)
    assert fingerprint(copied) != fingerprint(encoder_folder)


def test_a_readme_does_not_change_the_fingerprint(copied: Path, encoder_folder: Path) -> None:
    (copied / "README.md").write_text("# Модель\n")
    assert fingerprint(copied) == fingerprint(encoder_folder)


def test_hashes_of_large_files_are_remembered_until_the_file_changes(copied: Path, tmp_path: Path) -> None:
    large = copied / "vocab.json"
    large.write_bytes(b" " * (2 << 20))
    first = fingerprint(copied)
    (memory,) = (tmp_path / "cache" / "hashes").iterdir()
    assert fingerprint(copied) == first
    state = large.stat()
    large.write_bytes(b"x" * (2 << 20))
    assert fingerprint(copied) != first
    large.write_bytes(b" " * (2 << 20))
    os.utime(large, ns=(state.st_atime_ns, state.st_mtime_ns))
    memory.write_text("damaged")
    assert fingerprint(copied) == first


# ── the hostile ───────────────────────────────────────────────────────────────────────────────


def test_all_faults_are_told_at_once(copied: Path) -> None:
    for name in ("code", "auto_map", "flash attention", "auto_map of a tokenizer", "weights cut short"):
        HOSTILE[name](copied)
    with pytest.raises(ModelError) as caught:
        inspect_folder(copied, "x")
    places = {fault.place for fault in caught.value.faults}
    assert len(places) == 5


def test_a_pickle_beside_safe_weights_is_ignored(copied: Path) -> None:
    content("pytorch_model.bin", PICKLE)(copied)
    assert inspect_folder(copied, "x").parameters
    assert not (copied.parent / "canary").exists()


@pytest.mark.parametrize("value", ["eager", "sdpa", None])
def test_plain_attention_is_accepted(value: str | None, copied: Path) -> None:
    setting("config.json", "_attn_implementation", value)(copied)
    setting("config.json", "_attn_implementation_autoset", True)(copied)
    assert inspect_folder(copied, "x").kind == "encoder"


def test_labels_may_have_any_name(copied: Path) -> None:
    setting("config.json", "label2id", {"custom_order": 0, "auto_map": 1})(copied)
    assert inspect_folder(copied, "x").kind == "encoder"


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a folder"):
        inspect_folder(tmp_path / "nothing", "x")


@pytest.mark.parametrize("files", [(), ("a.py", "b.bin", "module.so")])
def test_of_a_folder_that_holds_no_model_nothing_else_is_said(files: Sequence[str], tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ModelError) as caught:
        inspect_folder(tmp_path, "x")
    told = "the folder is not a model: it has no config.json" if files else "the folder is empty"
    assert [str(fault.rule) for fault in caught.value.faults] == [told]


def test_an_adapter_is_no_base_model_whatever_else_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        inspect_folder(tmp_path, "x")
    assert "this is an adapter" in str(caught.value.faults[0].rule)


@pytest.mark.parametrize(
    ("cut", "told"),
    [
        (lambda data: data[:-1000], r"the file is cut off: it has [\d.]+ KB of [\d.]+ KB"),
        (lambda data: data[:40], "the file is damaged: its header cannot be read; it has 40 bytes"),
        (lambda data: b"\xff" * 8 + data[8:], "the file is damaged: its header cannot be read"),
        (lambda _: b"", "the file is damaged: its header cannot be read; it has 0 bytes"),
    ],
)
def test_a_damaged_file_of_weights_is_named_with_its_size_in_our_own_words(encoder_folder, tmp_path, cut, told):
    folder = tmp_path / "model"
    shutil.copytree(encoder_folder, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(cut(weights.read_bytes()))
    with pytest.raises(ModelError, match=told) as caught:
        inspect_folder(folder, "model")
    [fault] = caught.value.faults
    assert (fault.place, str(fault.remedy)) == (str(weights), "download the file again")
    assert "deserializing" not in str(fault)
