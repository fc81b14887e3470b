"""Base models as they come: named as what they are where they are none, and simply used where that is possible."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from kamerton.core.errors import KamertonError
from kamerton.models.inspect import inspect_folder, not_finite
from kamerton.models.locate import locate, unknown_model
from kamerton.models.naming import origin
from kamerton.runs.run import Run
from stories import DONE, MISTAKE, QUICK

EMPTY = b"\x02\0\0\0\0\0\0\0{}"
"""Weights without any tensor."""
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123456\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path / "cache"))


def refused(path: Path) -> str:
    with pytest.raises(KamertonError) as caught:
        inspect_folder(locate(str(path)), str(path))
    return "\n".join(map(str, caught.value.faults))


FOLDERS: dict[str, tuple[dict[str, bytes], str]] = {
    "nothing": ({}, "the folder is empty"),
    "gguf": ({"model-Q4_K_M.gguf": b"GGUF"}, "GGUF, the format of llama.cpp"),
    "onnx": ({"onnx/model.onnx": b"x"}, "ONNX"),
    "openvino": ({"openvino_model.xml": b"x"}, "OpenVINO"),
    "tensorflow": ({"tf_model.h5": b"x", "config.json": b"{}"}, "TensorFlow"),
    "flax": ({"flax_model.msgpack": b"x"}, "Flax"),
    "the publisher's layout": ({"consolidated.00.pth": b"x", "params.json": b"{}"}, "publisher's own layout"),
    "a tokenizer": ({"tokenizer.json": b"{}", "tokenizer_config.json": b"{}"}, "has a tokenizer, but no config.json"),
    "weights alone": ({"model.safetensors": b"x"}, "but no config.json that describes"),
    "checkpoints": (
        {"checkpoint-500/config.json": b"{}", "checkpoint-1000/config.json": b"{}"}, "checkpoint-1000",
    ),
    "pointers": ({"config.json": b"{}", "model.safetensors": LFS, "tokenizer.json": LFS}, "lfs pull"),
    "something else": ({"notes.txt": b"x"}, "is not a model"),
    "an unfinished run": ({"recipe.yaml": b"{}"}, "no tuned model yet"),
    "an adapter without its base": (
        {"adapter_config.json": b'{"base_model_name_or_path": "org/base"}', "adapter_model.safetensors": EMPTY},
        "hf download org/base",
    ),
    "an adapter that imports": (
        {"adapter_config.json": b'{"megatron_config": {}}', "adapter_model.safetensors": EMPTY}, "never done",
    ),
    "an adapter over itself": (
        {"adapter_config.json": b'{"base_model_name_or_path": "."}', "adapter_model.safetensors": EMPTY}, "itself",
    ),
    "adapters over each other": (
        {"adapter_config.json": b'{"base_model_name_or_path": "b"}', "adapter_model.safetensors": EMPTY,
         "b/adapter_config.json": b'{"base_model_name_or_path": ".."}', "b/adapter_model.safetensors": EMPTY}, "itself",
    ),
    "an adapter in a pickle": ({"adapter_config.json": b"{}", "adapter_model.bin": b"x"}, "adapter_model.safetensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_no_base_model_is_named_as_what_it_is(name, tmp_path):
    files, told = FOLDERS[name]
    folder = tmp_path / "model"
    folder.mkdir()
    for path, content in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    said = refused(folder)
    assert told in said
    assert "→" in said


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("x.gguf", "GGUF"),
        ("model.safetensors", "only weights"),
        ("pytorch_model.bin", "any code"),
        ("model.pt", "any code"),
        ("model.onnx", "ONNX"),
        ("model.tar.gz", "unpack it"),
        ("config.json", "settings file"),
        ("notes", "not a model"),
    ],
)
def test_a_file_is_named_as_what_it_is(name, told, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    assert told in refused(tmp_path / name)
    if name == "model.safetensors":
        (tmp_path / "config.json").write_text("{}")
        assert f"--model {tmp_path}" in refused(tmp_path / name)


def test_pickles_are_refused_with_the_command_that_writes_them_anew(decoder_folder, tmp_path):
    folder = copied(decoder_folder, tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert re.search(r"python -c .*LlamaForCausalLM\.from_pretrained", refused(folder))


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


# ── weights ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_values_that_are_no_numbers_are_found_as_torch_finds_them(tmp_path, dtype, value):
    largest = min(torch.finfo(dtype).max, 2.0**63)  # whose square float32 can still hold
    tensors = {
        "fine": torch.tensor([largest, -largest, 0.0, torch.finfo(dtype).tiny], dtype=dtype),
        "broken.weight": torch.tensor([[1.0, value], [value, 2.0]], dtype=dtype),
        "ids": torch.full((3,), -1),
        "causal_mask": torch.full((2,), -float("inf"), dtype=dtype),
        "empty": torch.empty(0, dtype=dtype),
    }
    save_file(tensors, tmp_path / "x.safetensors")
    assert not_finite(tmp_path / "x.safetensors") == {
        "broken.weight": int((~torch.isfinite(tensors["broken.weight"].float() ** 2)).sum())
    }


def test_weights_that_are_no_numbers_are_refused_at_the_door(decoder_folder, tmp_path):
    folder = copied(decoder_folder, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "up_proj" in name)
    tensors[name] = (tensors[name] * 1e9).to(torch.float16)  # overflows
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    said = refused(folder)
    assert name in said
    assert "NaN, infinite or beyond" in said


def test_an_empty_file_of_weights_holds_nothing_that_is_broken(tmp_path):
    save_file({}, tmp_path / "x.safetensors")
    assert not_finite(tmp_path / "x.safetensors") == {}


# ── what stands for a model ───────────────────────────────────────────────────────────────────


def test_a_repository_of_the_hubs_cache_stands_for_its_snapshot(encoder_folder, tmp_path):
    repository = tmp_path / "models--org--name"
    shutil.copytree(encoder_folder, repository / "snapshots" / "abc")
    assert locate(str(repository)) == repository / "snapshots" / "abc"
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert locate(str(repository)) == repository / "snapshots" / "abc"
    assert "snapshots/abc" in str(origin(str(repository), locate(str(repository))))


def test_a_folder_of_sentence_transformers_stands_for_its_transformer(encoder_folder, tmp_path):
    shutil.copytree(encoder_folder, tmp_path / "st" / "0_Transformer")
    assert inspect_folder(locate(str(tmp_path / "st")), "st").kind == "encoder"


@pytest.fixture(scope="module")
def adapter(decoder_folder, tmp_path_factory) -> Path:
    """A LoRA adapter with weights of its own, over the tiny decoder."""
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("adapter") / "lora"
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(decoder_folder), LoraConfig(r=4, task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    return folder


def test_an_adapter_over_a_base_that_is_here_is_merged_into_it_once(adapter, decoder_folder):
    from peft import PeftModel

    folder = locate(str(adapter))
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert locate(str(adapter)) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert str(origin(str(adapter), folder)) == f"its adapter merged into {decoder_folder}"
    ids = AutoTokenizer.from_pretrained(folder)("a warm film", return_tensors="pt").input_ids
    base = AutoModelForCausalLM.from_pretrained(decoder_folder)
    plain = base(ids).logits.detach()
    adapted = PeftModel.from_pretrained(base, adapter).eval()(ids).logits
    merged = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
    assert torch.allclose(merged, adapted, atol=1e-4)
    assert not torch.allclose(merged, plain, atol=1e-2)


def test_a_base_that_is_named_beside_its_adapter_is_found(adapter, decoder_folder, tmp_path):
    folder = Path(shutil.copytree(adapter, tmp_path / "lora"))
    shutil.copytree(decoder_folder, folder / "base")
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": "base"}))
    assert inspect_folder(locate(str(folder)), "lora").kind == "decoder"


def test_an_adapter_that_cannot_be_merged_says_why(decoder_folder, tmp_path):
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(decoder_folder), config).save_pretrained(tmp_path / "p")
    assert "prompt tokens are inputs of the model" in refused(tmp_path / "p")


@pytest.mark.parametrize("first", ["head", "lora"])
def test_a_run_is_tuned_further(place, first):
    place.run(first)
    out = f"further-{first}"
    flags = ("--method", "head", "--epochs", "1", "--set", "evaluate.forgetting=off", *QUICK)
    ended = place.call("tune", "reviews.csv", "--model", first, *flags, "--out", out)
    assert ended.status == DONE, ended.said
    assert f"the tuned model of the run {first}" in ended.out
    assert ("its adapter merged into" in ended.out) == (first == "lora")
    assert Run(place.folder / out).finished
    assert place.call("predict", out, "a warm film").status == DONE


# ── names ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("minilmm", "did you mean 'minilm'"),
        ("/{folder}/encodr", "did you mean '/{folder}/encoder'"),
        ("all-MiniLM-L6-v2", "--model minilm"),
    ],
)
def test_a_name_that_is_nearly_one_is_told_with_it(name, told, encoder_folder):
    folder = str(encoder_folder.parent).strip("/")
    fault = unknown_model(name.format(folder=folder))
    assert told.format(folder=folder) in str(fault)


# ── no end token ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def endless(place, decoder_folder) -> str:
    """A decoder whose tokenizer has no end token."""
    folder = place.folder / "endless"
    if not folder.exists():
        shutil.copytree(decoder_folder, folder)
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            if (folder / name).exists():
                settings = json.loads((folder / name).read_text("utf-8"))
                kept = {key: value for key, value in settings.items() if key not in ("eos_token", "pad_token")}
                (folder / name).write_text(json.dumps(kept), "utf-8")
    return "endless"


@pytest.mark.parametrize("data", ["reviews.csv", "prose.txt"])
def test_without_an_end_token_what_needs_none_trains(place, endless, data):
    numbers = np.random.default_rng(0).integers(0, 99, (60, 6))
    (place.folder / "prose.txt").write_text("\n".join(" ".join(map(str, row)) for row in numbers), encoding="utf-8")
    flags = ("--method", "full", "--epochs", "1", "--set", "evaluate.forgetting=off", *QUICK)
    ended = place.call("tune", data, "--model", endless, *flags, "--out", f"endless-{data}")
    assert ended.status == DONE, ended.said


def test_without_an_end_token_what_is_written_is_refused_and_a_token_is_named(place, endless):
    ended = place.call("tune", "answers.jsonl", "--model", endless, "--out", "never")
    assert ended.status == MISTAKE, ended.said
    assert "no end token" in ended.err
    assert 'add "eos_token": "<|im_end|>" there' in ended.err
