"""A model folder is judged before any library touches it: the honest are described, the hostile refused unread."""

from __future__ import annotations

import json
import os
import shutil
import struct
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

Spoil = Callable[[Path], object]
PAYLOAD = "import pathlib; pathlib.Path({canary!r}).touch()\n"
PICKLE = b"cposix\nsystem\n(S'touch {canary}'\ntR."
"""A pickle in the text protocol: whoever unpickles it runs `touch`."""


def setting(file: str, key: str, value: object, *inside: str) -> Spoil:
    """Put a setting into a JSON file, at some depth."""

    def spoil(folder: Path) -> None:
        path = folder / file
        settings = json.loads(path.read_text()) if path.exists() else {}
        table = settings
        for part in inside:
            table = table.setdefault(part, {})
        table[key] = value
        path.write_text(json.dumps(settings))

    return spoil


def content(file: str, data: bytes | str) -> Spoil:
    """Replace or add a file."""

    def spoil(folder: Path) -> None:
        (folder / file).parent.mkdir(exist_ok=True)
        canary = str(folder.parent / "canary")
        raw = data.encode() if isinstance(data, str) else data
        (folder / file).write_bytes(
            raw.replace(b"{canary}", canary.encode()).replace(b"{canary!r}", repr(canary).encode())
        )

    return spoil


def only_pickle(file: str) -> Spoil:
    """Take the safe weights away and leave a pickle."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        content(file, PICKLE)(folder)

    return spoil


def without(*files: str) -> Spoil:
    """Remove files."""

    def spoil(folder: Path) -> None:
        for file in files:
            (folder / file).unlink()

    return spoil


def linked(file: str, target: str) -> Spoil:
    """Replace a file by a link."""

    def spoil(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        (folder / file).symlink_to(target)

    return spoil


def pipe(folder: Path) -> None:
    """Put a pipe, from which reading never ends, in place of the generation settings."""
    os.mkfifo(folder / "generation_config.json")


def header(text: bytes, length: int | None = None, data: bytes = b"\0" * 8) -> Spoil:
    """Write a safetensors file by hand."""
    return content("model.safetensors", struct.pack("<Q", len(text) if length is None else length) + text + data)


def cut(folder: Path) -> None:
    """Lose the last bytes of the weights."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def sharded(index: object) -> Spoil:
    """Replace the weights by an index."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return spoil


def template(text: object) -> Spoil:
    """Give the tokenizer a chat template."""
    return setting("tokenizer_config.json", "chat_template", text)


KERNEL = "evil-org/kernel"
HOSTILE: dict[str, Spoil] = {
    "auto_map": setting("config.json", "auto_map", {"AutoModel": "modeling_evil.Evil"}),
    "auto_map of another repository": setting("config.json", "auto_map", {"AutoModel": "evil-org/x--m.Evil"}),
    "auto_map deep inside": setting("config.json", "auto_map", {"AutoModel": "m.E"}, "text_config", "inner"),
    "auto_map in a list": setting("config.json", "parts", [[{"auto_map": {"AutoModel": "m.E"}}]]),
    "auto_map of a tokenizer": setting("tokenizer_config.json", "auto_map", {"AutoTokenizer": ["t.Evil", None]}),
    "auto_map of a processor": setting("processor_config.json", "auto_map", {"AutoProcessor": "p.Evil"}),
    "auto_map of a preprocessor": setting("preprocessor_config.json", "auto_map", {"AutoImageProcessor": "p.E"}),
    "custom generation": setting("generation_config.json", "custom_generate", KERNEL),
    "custom pipelines": setting("config.json", "custom_pipelines", {"x": {"impl": "pipe.Evil"}}),
    "custom code in a tokenizer": setting("tokenizer_config.json", "custom_tokenizer", "t.Evil"),
    "trust": setting("config.json", "trust_remote_code", True),
    "attention from the hub": setting("config.json", "_attn_implementation", KERNEL),
    "internal attention from the hub": setting("config.json", "_attn_implementation_internal", KERNEL),
    "attention in mixed case": setting("config.json", "_Attn_Implementation", KERNEL),
    "attention by part": setting("config.json", "attn_implementation", {"": KERNEL}),
    "attention of a part": setting("config.json", "_attn_implementation", KERNEL, "text_config"),
    "flash attention": setting("config.json", "_attn_implementation", "flash_attention_2"),
    "experts from the hub": setting("config.json", "_experts_implementation_internal", KERNEL),
    "quantized": setting("config.json", "quantization_config", {"quant_method": "gptq", "bits": 4}),
    "compressed": setting("config.json", "compression_config", {"format": "pack-quantized"}),
    "code": content("modeling_evil.py", PAYLOAD),
    "code named like a library": content("torch.py", PAYLOAD),
    "compiled code": content("modeling_evil.pyc", PICKLE),
    "native code": content("kernel.so", b"\x7fELF"),
    "generation code": content("custom_generate/generate.py", PAYLOAD),
    "pickle .bin": only_pickle("pytorch_model.bin"),
    "pickle .pt": only_pickle("model.pt"),
    "pickle .pth": only_pickle("model.pth"),
    "pickle .ckpt": only_pickle("model.ckpt"),
    "pickle .pkl": only_pickle("model.pkl"),
    "pickle .h5": only_pickle("tf_model.h5"),
    "pickle .msgpack": only_pickle("flax_model.msgpack"),
    "pickle named safetensors": content("model.safetensors", PICKLE),
    "no configuration": without("config.json"),
    "no tokenizer": without("tokenizer.json"),
    "no weights": without("model.safetensors"),
    "huge configuration": setting("config.json", "padding", "x" * (1 << 20)),
    "configuration is no JSON": content("config.json", "{'model_type': 'bert'}"),
    "configuration is a list": content("config.json", "[]"),
    "configuration is bottomless": content("config.json", "[" * 100_000),
    "configuration is not text": content("config.json", b"\xff\xfe\x00"),
    "configuration holds an endless number": content("config.json", '{"x": ' + "9" * 100_000 + "}"),
    "no model type": content("config.json", '{"architectures": ["BertModel"]}'),
    "no sizes": content("config.json", '{"model_type": "bert", "architectures": ["BertModel"]}'),
    "architectures are a number": content("config.json", '{"model_type": "x", "architectures": 5, "vocab_size": 9}'),
    "unknown architecture": content("config.json", '{"model_type": "x", "architectures": ["EvilThing"]}'),
    "unknown family": setting("config.json", "model_type", "evil"),
    "negative size": setting("config.json", "hidden_size", -1),
    "absurd size": setting("config.json", "num_hidden_layers", 10**30),
    "takes images": setting("config.json", "vision_config", {}),
    "empty weights": content("model.safetensors", b""),
    "weights with an endless header": header(b"{}", length=1 << 62),
    "weights with a header of 200 MB": header(b"{}", length=200 << 20),
    "weights outside the file": header(b'{"a":{"dtype":"F32","shape":[200],"data_offsets":[0,800]}}'),
    "weights with an overflowing shape": header(
        b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}'
    ),
    "weights of a negative size": header(b'{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}'),
    "weights whose header is no JSON": header(b"PK\x03\x04"),
    "weights cut short": cut,
    "index leads outside": sharded({"weight_map": {"a": "../elsewhere.safetensors"}}),
    "index names what is missing": sharded({"weight_map": {"a": "model-00001-of-00001.safetensors"}}),
    "index names a pickle": sharded({"weight_map": {"a": "pytorch_model.bin"}}),
    "index of numbers": sharded({"weight_map": {"a": 5}}),
    "index without a map": sharded([1]),
    "link to a file of the system": linked("vocab.txt", "/etc/passwd"),
    "link to the folder above": linked("up", ".."),
    "link to itself": linked("vocab.txt", "vocab.txt"),
    "link to nothing": linked("vocab.txt", "nothing"),
    "a pipe": pipe,
    "an adapter": content("adapter_config.json", '{"peft_type": "LORA", "base_model_name_or_path": "evil-org/x"}'),
    "template that computes": template("{{ (9**99999999)|string|length }}"),
    "template that computes, spaced": template("{{ 9 ** 9 ** 9 }}"),
    "template that repeats": template("{{ 'x'*200000000 }}"),
    "template that repeats, with marks": template("{{ 'x' * 2_000_000_0 }}"),
    "template that repeats, in hexadecimal": template("{{ 'x' * 0xFFFFFFF }}"),
    "template that repeats, in steps": template("{{ 'x' * 9999 * 9999 * 9999 }}"),
    "template that repeats often": template("{{ 'x' * (1e9 | int) }}"),
    "template that loops": template("{% for i in range(99999999) %}{% endfor %}"),
    "template with an endless number": template("{{ " + "9" * 5000 + " }}"),
    "template that pads": template("{{ '%999999999d' % 1 }}"),
    "template that formats": template("{{ '{:>999999999}'.format(1) }}"),
    "template that centres": template("{{ 'x'|center(99999)|replace(' ', 'y' * 9999) }}"),
    "template that digs": template("{{ messages.__class__.__mro__ }}"),
    "template that digs by text": template("{{ messages['__class__'] }}"),
    "template that digs by filter": template("{{ messages|attr('x') }}"),
    "template that includes": template("{% include '/etc/passwd' %}"),
    "template that is broken": template("{{ 'x }}"),
    "template of 2 MB": template("x" * 2_000_000),
    "template among several": template(
        [{"name": "default", "template": "ok"}, {"name": "b", "template": "{{ 2**2 }}"}]
    ),
    "template in a file": content("chat_template.jinja", "{{ 2**2 }}"),
    "template in another file": content("additional_chat_templates/b.jinja", "{{ 2**2 }}"),
    "template of a processor": setting("chat_template.json", "chat_template", "{{ 2**2 }}"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_refused_and_nothing_in_it_runs(name: str, copied: Path) -> None:
    HOSTILE[name](copied)
    modules = set(sys.modules)
    with pytest.raises(ModelError) as caught:
        inspect_folder(copied, "x")
    assert all(fault.rule and fault.remedy for fault in caught.value.faults)
    assert not (copied.parent / "canary").exists()
    assert not {module for module in set(sys.modules) - modules if "evil" in module}


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
