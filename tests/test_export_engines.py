"""Exports for other engines, asked in those engines themselves; faults planted in them must be found there."""

from __future__ import annotations

import copy
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from peft.tuners.lora import LoraLayer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from typer.main import get_group

from kamerton.cli.actions.export import lines
from kamerton.cli.app import app
from kamerton.core.errors import RunError, Unusable
from kamerton.core.exporting import Original, Tuned
from kamerton.core.files import sha256_of
from kamerton.deliver import export as deliver
from kamerton.deliver.export import Exported, export_run
from kamerton.deliver.predictor import Predictor
from kamerton.models.fresh import load, logits_of
from kamerton.models.saved import load_saved
from kamerton.plugins.exports import (
    _gguf,
    _gguf_tokenizer,
    _gguf_weights,
    _llama_cpp,
    _transformers,
    ollama,
    onnx,
    vllm,
)
from kamerton.plugins.exports._gguf_tokenizer import PATTERNS, vocabulary_of
from kamerton.plugins.exports._gguf_weights import FAMILIES, write_model
from kamerton.plugins.exports._llama_cpp import HARD, Files, Questions, ask, divergence, prove_served
from kamerton.plugins.exports._shared import is_installed
from kamerton.plugins.exports.gguf_adapter import GgufAdapter, write_adapter
from kamerton.plugins.exports.ollama import read_template, template_of
from kamerton.runs.recipe import parse_assignment
from kamerton.runs.run import Run
from kamerton.session.setup import make_method, open_setup
from stories import MISTAKE
from tiny_models import SENTENCES

served = pytest.mark.skipif(not _llama_cpp.is_installed(_llama_cpp.LIBRARY), reason="xllamacpp is not installed")
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 256, "head_dim": 8}  # fmt: skip
BESIDE: dict[str, dict[str, object]] = {
    "llama": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                                  "high_freq_factor": 4.0, "original_max_position_embeddings": 16}},
    "gemma2": {"query_pre_attn_scalar": 8, "sliding_window": 16},
    "gemma3_text": {"query_pre_attn_scalar": 8, "sliding_window": 16},
    "phi3": {"pad_token_id": 0},
}  # fmt: skip


def likely_model(family: str, rows: int) -> Any:
    """Make a tiny model whose distributions are far from even."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, vocab_size=rows, **TINY, **BESIDE.get(family, {}))
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for values in model.parameters():
            values.add_(torch.randn_like(values) * 0.2)
    return model


@served
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_computed_in_llama_cpp_as_in_transformers(family, decoder_folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(decoder_folder)
    model, path = likely_model(family, len(tokenizer) + 8), tmp_path / "model.gguf"
    write_model(path, model, tokenizer, "f32", "tiny")
    [ids] = tokenizer([" ".join(SENTENCES[:4])])["input_ids"]
    prefixes = [ids[:1], ids[:20], ids]
    replies = ask(Files(path), Questions(prefixes), tokenizer)
    with torch.no_grad():
        ours = [model(torch.tensor([one])).logits[0, -1] for one in prefixes]
    assert max(map(divergence, ours, replies.distributions)) <= 1e-6


def byte_level(steps: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """Train a byte-level tokenizer that splits texts by the steps of the table."""
    bytes_, digits = _gguf_tokenizer.BYTES, pre_tokenizers.Digits(individual_digits=True)
    patterns = [step for step in steps if step not in (bytes_, "single digits", "whole words")]
    parts: list[Any] = [digits] if "single digits" in steps else []
    parts += [pre_tokenizers.Split(Regex(one), "isolated") for one in patterns]
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=bytes_ in steps))
    tokenizer = Tokenizer(models.BPE(ignore_merges="whole words" in steps))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Sequence(parts), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*SENTENCES, *HARD, "12 123 1234 12345 THE They'LL it's I'm"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def by_sentence_piece(prefix: bool) -> PreTrainedTokenizerFast:
    """Make a tokenizer like Llama 2's, or like Gemma's without a space before each text."""
    steps = [normalizers.Prepend("▁")] if prefix else []
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator([sentence.replace(" ", "▁") for sentence in SENTENCES], trainer)
    trained = json.loads(tokenizer.to_str())
    trained["added_tokens"] = trained["added_tokens"][:3]
    whole = Tokenizer.from_str(json.dumps(trained))
    return PreTrainedTokenizerFast(tokenizer_object=whole, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


TOKENIZERS = {
    **{name: partial(byte_level, steps) for steps, name in PATTERNS.items()},
    "llama 2": partial(by_sentence_piece, prefix=True),
    "gemma": partial(by_sentence_piece, prefix=False),
}


@served
@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_text_has_the_tokens_in_llama_cpp_that_it_has_here(name, tmp_path):
    tokenizer, path = TOKENIZERS[name](), tmp_path / "model.gguf"
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("<|im_start|>", special=True)])
    write_model(path, likely_model("qwen3", len(tokenizer)), tokenizer, "f32", "tiny")
    texts = [*HARD, *SENTENCES, "a <tool>b<|im_start|> c", "WORDS In camelCase HTTPServer's 2024-01-02"]
    assert ask(Files(path), Questions(texts=texts), tokenizer).texts == [tokenizer(text)["input_ids"] for text in texts]


def test_a_pre_tokenizer_that_nobody_has_tried_is_refused():
    with pytest.raises(Unusable, match="no name for its pre-tokenizer"):
        vocabulary_of(byte_level((r"\d+|\D+",)), 900)


def test_heads_families_and_settings_that_llama_cpp_lacks_are_refused():
    with pytest.raises(Unusable, match="models of the family gpt2 are not written"):
        _gguf_weights.family_of(transformers.GPT2Config())
    with pytest.raises(Unusable, match="hidden_act=silu only"):
        _gguf_weights.family_of(transformers.LlamaConfig(hidden_act="gelu"))
    with pytest.raises(Unusable, match="scaled by 'yarn'"):
        rotation = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}
        _gguf_weights.family_of(transformers.LlamaConfig(rope_parameters=rotation))


# ── faults, planted in exports of a real run ──────────────────────────────────────────────────


@pytest.fixture(scope="module")
def opened(place) -> tuple[Tuned, Original]:
    """Load a run that writes, and what its exports are compared with."""
    run = place.run("answers")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.folder)
        setup = open_setup(run)
        model = load_saved(run.model, setup.form, setup.facts, setup.tokenizer)
        tuned = Tuned(run.model, model, setup.tokenizer, make_method(setup.recipe), setup.form, setup.facts)
        original = deliver.compared_with(setup, model)
        untuned = original.untuned()
    return tuned, replace(original, untuned=lambda: untuned)


def damaged_template(path: Path, tuned: Tuned, model: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tuned.folder)
    tokenizer.chat_template = tokenizer.chat_template.replace("assistant\\n' }}{% endif", "assistant' }}{% endif")
    write_model(path, model, tokenizer, "f32", "x")


def lost_tokens(path: Path, tuned: Tuned, model: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        tokens = partial(_without_added, _gguf_tokenizer._tokens)
        patch.setattr(_gguf_tokenizer, "_tokens", tokens)
        write_model(path, model, tuned.tokenizer, "f32", "x")


def _without_added(tokens_of: Any, tokenizer: Any, *rest: Any) -> tuple[list[str], list[int]]:
    tokens, types = tokens_of(tokenizer, *rest)
    for id in tokenizer.added_tokens_decoder:
        types[id] = int(gguf.TokenType.NORMAL)
    return tokens, types


def doubled_beginning(path: Path, tuned: Tuned, model: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tuned.folder)
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    write_model(path, model, tokenizer, "f32", "x")


def untuned_weights(path: Path, tuned: Tuned, model: Any) -> None:
    base = AutoModelForCausalLM.from_pretrained(tuned.facts.folder)
    write_model(path, base, tuned.tokenizer, "f32", "x")


FAULTS = {
    damaged_template: "by its template",
    lost_tokens: "tokenizes|by its template",
    doubled_beginning: "by its template",
    untuned_weights: "nats from it",
}


@served
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_in_the_server(fault, opened, tmp_path):
    tuned, original = opened
    fault(tmp_path / "model.gguf", tuned, tuned.method.merge(copy.deepcopy(tuned.model)))
    with pytest.raises(Unusable, match=FAULTS[fault]):
        prove_served(original, Files(tmp_path / "model.gguf"))


def rank_stabilized(tuned: Tuned, original: Original) -> tuple[Tuned, Original]:
    """Scale a run's adapter as a rank-stabilized one."""
    model = copy.deepcopy(tuned.model)
    config = model.active_peft_config
    config.use_rslora = True
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.scaling["default"] = config.lora_alpha / config.r**0.5
    return replace(tuned, model=model), replace(original, logits=logits_of(model, original.inputs))


@served
def test_a_rank_stabilized_adapter_keeps_its_scale_and_without_it_the_fault_is_found(opened, tmp_path, monkeypatch):
    tuned, original = rank_stabilized(*opened)
    files = Files(tmp_path / "base.gguf", tmp_path / "adapter.gguf")
    write_model(files.model, copy.deepcopy(tuned.model).unload(), tuned.tokenizer, "f32", "base")
    write_adapter(files.adapter, tuned)
    proof = prove_served(original, files)
    assert proof.divergence <= 1e-6 and proof.from_untuned >= 1000 * proof.divergence
    alpha = tuned.model.active_peft_config.lora_alpha
    monkeypatch.setattr(gguf.GGUFWriter, "add_float32", lambda self, key, _: self.add_key_value(
        key, float(alpha), gguf.GGUFValueType.FLOAT32))  # fmt: skip
    files.adapter.unlink()
    write_adapter(files.adapter, tuned)
    with pytest.raises(Unusable, match="nats from it"):
        prove_served(original, files)


# ── the page's own commands ───────────────────────────────────────────────────────────────────

PAGE = (Path(__file__).parent.parent / "docs" / "export.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^kamerton export (runs/.+ --to .+)$", PAGE, re.MULTILINE)
[PROGRAM] = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)
needs_all = pytest.mark.skipif(
    not all(map(is_installed, ("xllamacpp", "onnxruntime", "onnxscript"))), reason="an engine is not installed"
)


def in_this_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Write ONNX here, where the libraries are loaded already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("kamerton.plugins.exports._to_onnx").main(arguments[-1])
    return subprocess.CompletedProcess(arguments, 0, "", "")


@pytest.fixture(scope="module")
def exported(place) -> dict[str, Exported]:
    """Run the commands of docs/export.md; return what each made, by its words after the run."""
    (place.folder / "runs").mkdir(exist_ok=True)
    for name, run in (("chat", "answers"), ("reviews", "lora")):
        place.run(run)
        (place.folder / "runs" / name).symlink_to(place.folder / run)
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.folder)
        patch.setattr(_transformers, "_asked", lambda job, inputs: logits_of(load(job), inputs))
        patch.setattr(onnx, "run_python", in_this_process)
        for command in COMMANDS:
            given = get_group(app).commands["export"].make_context("export", shlex.split(command)).params
            settings = dict(parse_assignment(one) for one in given["assignments"] or ())
            told = export_run(Run(given["run"]), given["to"], given["out"], settings)
            made[command.partition("--to ")[2]] = replace(told, folder=str(Path(told.folder).absolute()))
    return made


@needs_all
def test_every_export_of_the_page_is_proven_and_described(exported):
    for told in exported.values():
        folder = Path(told.folder)
        assert json.loads((folder / "export.json").read_text("utf-8"))["format"] == told.format
        about = json.loads((folder / "kamerton.json").read_text("utf-8"))
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != "kamerton.json"]
        assert about["files"] == {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
        assert "README.md" in about["files"] and not any(path.name.startswith(".") for path in files)
        assert about["made_from"]["files"]["model/adapter_model.safetensors"] and about["verdict"]["decision"]
        assert "/" not in about["made_from"]["data"]["name"]
        assert all(map(str, lines(told)))
        if told.proof.engine == "llama.cpp":
            assert told.proof.divergence <= 1e-6 and told.proof.from_untuned >= 1000 * told.proof.divergence
    rounded = exported["gguf --set precision=q8_0 --out chat-q8"]
    assert rounded.changed_answers is not None and rounded.rescoring.standing not in (None, "worse")
    assert (
        Path(rounded.folder, "model.gguf").stat().st_size < Path(exported["gguf"].folder, "model.gguf").stat().st_size
    )


@needs_all
def test_ollamas_modelfile_is_read_back_and_a_swapped_template_is_found(exported, opened, monkeypatch):
    folder, (tuned, original) = Path(exported["ollama"].folder), opened
    modelfile = (folder / "Modelfile").read_text("utf-8")
    template = read_template(modelfile)
    assert template == template_of(tuned.tokenizer)
    assert template.user_end == "<|im_end|>\n<|im_start|>assistant\n"
    assert 'PARAMETER stop "<|im_end|>"' in modelfile and "FROM ./model.gguf" in modelfile
    swapped = replace(template, user_end="</s>\n<|assistant|>\n")
    (folder / "Modelfile").write_text(modelfile.replace(template.go(), swapped.go()), encoding="utf-8")
    with pytest.raises(Unusable, match="writes another prompt"):
        ollama.Ollama().prove(original, folder)


@needs_all
def test_vllm_gets_an_adapter_within_its_rules_with_its_command_line(exported):
    folder, [command] = Path(exported["vllm"].folder), exported["vllm"].commands
    assert "--enable-lora --max-lora-rank 16 --lora-modules tuned=." in command
    assert vllm.breaks_rules(folder) == ""
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    for name, value in {"use_dora": True, "bias": "all", "modules_to_save": ["lm_head"], "r": 3}.items():
        (folder / "adapter_config.json").write_text(json.dumps({**config, name: value}), encoding="utf-8")
        assert vllm.breaks_rules(folder)


@needs_all
def test_an_onnx_graph_answers_without_torch_and_without_its_pooler_the_fault_is_found(exported, place, monkeypatch):
    folder = Path(exported["onnx"].folder)
    assert exported["onnx"].proof.largest_relative_difference <= 1e-4
    program = f"import sys\n{PROGRAM}\nassert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=place.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(place.folder)
    run = place.run("lora")
    [answer] = Predictor(run).predict(["a warm film, a delight"])
    label, score = done.stdout.split()
    assert label == answer.text and float(score) == pytest.approx(answer.score, rel=1e-4)
    setup = open_setup(run)
    original = deliver.compared_with(setup, load_saved(run.model, setup.form, setup.facts, setup.tokenizer))
    texts = setup.tokenizer([example.text for example in setup.split.test], padding=True, return_tensors="pt")
    [padded] = onnx.Graph(folder / "model.onnx").run(texts).values()
    alone = torch.cat([original.logits[f"{row}.logits"] for row in range(len(original.items))])
    assert torch.allclose(padded[: len(alone)], alone, atol=1e-5)
    library = importlib.import_module("onnx")
    graph = library.load(folder / "model.onnx")
    [pooler] = [one for one in graph.graph.initializer if one.name == "bert.pooler.dense.weight"]
    pooler.CopyFrom(library.numpy_helper.from_array(np.eye(32, dtype=np.float32), pooler.name))
    library.save(graph, folder / "model.onnx")
    with pytest.raises(Unusable, match="logits differ"):
        onnx.Onnx().prove(original, folder)


# ── refusals ──────────────────────────────────────────────────────────────────────────────────

REFUSED = {
    ("lora", "gguf"): "use --to onnx",
    ("lora", "gguf-adapter"): "use --to onnx",
    ("lora", "ollama"): "use --to onnx",
    ("answers-full", "gguf-adapter"): "this run has none; use --to gguf",
}


@pytest.mark.parametrize(("name", "word"), REFUSED)
def test_what_a_target_cannot_take_is_refused_before_anything_is_written(name, word, place, tmp_path, monkeypatch):
    monkeypatch.chdir(place.folder)
    with pytest.raises(RunError, match=REFUSED[name, word]):
        export_run(place.run(name), word, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_adapters_that_are_more_than_pairs_are_refused(opened):
    tuned, _ = opened
    wanted = {"use_dora": True, "init_lora_weights": "pissa", "lora_bias": True, "trainable_token_indices": [1]}
    for name, value in wanted.items():
        model = copy.deepcopy(tuned.model)
        setattr(model.active_peft_config, name, value)
        assert "use --to gguf" in str(GgufAdapter().refuses(replace(tuned, model=model)))
    assert GgufAdapter().refuses(tuned) == ""


def test_without_the_engine_it_is_said_that_nothing_was_proven_and_how_it_can_be(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place.folder)
    for module in (_llama_cpp, _gguf):
        monkeypatch.setattr(module, "is_installed", lambda library: False)
    told = export_run(place.run("answers"), "gguf", tmp_path / "out")
    assert told.proof.engine == "" and told.proof.rows == 0
    assert "pip install 'kamerton[llama-cpp]'" in str(told.proof.unproven)


def test_too_little_room_is_said_before_anything_is_written(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(RunError, match="and 10 bytes are free"):
        export_run(place.run("answers"), "gguf", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_a_format_does_not_have_is_a_users_mistake(place, tmp_path):
    place.run("answers")
    ended = place.call("export", "answers", "--to", "gguf", "--set", "precision=q3", "--out", tmp_path / "out")
    assert ended.status == MISTAKE
    assert "one of 'f32', 'f16' or 'q8_0' is wanted" in ended.err
