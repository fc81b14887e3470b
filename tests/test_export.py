"""A tuned model in other forms: what a process without Kamerton loads is the run's model, or is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from kamerton.api import TunedRun
from kamerton.core.errors import RunError
from kamerton.deliver.export import export_run
from kamerton.deliver.predictor import Predictor
from kamerton.plugins.exports import _transformers
from kamerton.runs.run import Run
from stories import DONE, MISTAKE, QUICK, Place

STRANGER = """
import json, sys
import torch, transformers
from peft import PeftModel

texts, *folders = json.loads(sys.argv[1])
for folder in folders:
    told = json.load(open(folder + "/export.json"))
    auto = getattr(transformers, told["model_class"])
    if told["base"] is None:
        model = auto.from_pretrained(folder)
    else:
        model = PeftModel.from_pretrained(auto.from_pretrained(told["base"], num_labels=2), folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        passes = [model.eval()(**tokenizer(text, return_tensors="pt")) for text in texts]
    print([float((one.logits / told["temperature"]).softmax(-1).max()) for one in passes])
assert "kamerton" not in sys.modules
"""
"""What loads exports with other libraries alone, and prints each one's confidences."""
TEXTS = ("a warm film, a delight", "a thin plot, dull and cold")

EXPORTED = (("lora", "merged"), ("lora", "adapter"), ("full", "merged"))


def exported(place: Place, name: str, word: str, out: Path) -> dict[str, object]:
    place.run(name)
    ended = place.call("export", name, "--to", word, "--out", out, "--json")
    assert ended.status == DONE, ended.said
    told = json.loads(ended.out)
    assert told == json.loads((out / "export.json").read_text("utf-8"))
    return told


def test_a_process_without_kamerton_gives_the_probabilities_of_the_run(place, tmp_path, monkeypatch):
    exports = {f"{name} {word}": (name, word) for name, word in EXPORTED}
    for out, (name, word) in exports.items():
        told = exported(place, name, word, tmp_path / out)
        assert told["proof"]["largest_relative_difference"] <= 1e-5
        assert told["changed_answers"] is None
        assert (told["base"] is None) == (word == "merged")
    given = json.dumps([TEXTS, *(str(tmp_path / out) for out in exports)])
    done = subprocess.run([sys.executable, "-c", STRANGER, given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = dict(zip(exports, map(json.loads, done.stdout.splitlines()), strict=True))
    monkeypatch.chdir(place.folder)
    for out, (name, _) in exports.items():
        wanted = [answer.score for answer in Predictor(place.run(name)).predict(TEXTS)]
        assert found[out] == pytest.approx(wanted, rel=1e-5), out


def test_a_model_that_writes_is_merged_and_said_in_both_languages(place, tmp_path):
    place.run("answers")
    ended = place.call("export", "answers", "--to", "merged")
    assert ended.status == DONE, ended.said
    out = place.run("answers").path / "exported" / "merged"
    assert (place.folder / out / "model.safetensors").exists()
    assert "loaded by transformers alone" in ended.out
    assert "in a fresh process its logits for" in ended.out
    russian = place.call("export", "answers", "--to", "adapter", "--language", "ru")
    assert russian.status == DONE, russian.said
    assert "в новом процессе её логиты" in russian.out


def test_into_rounded_matrices_the_difference_is_measured_and_told(place, tmp_path):
    flags = ("--method", "qlora", "--epochs", "1", "--out", "rounded", *QUICK)
    ended = place.call("tune", "reviews.csv", "--model", "encoder", *flags)
    assert ended.status == DONE, ended.said
    told = json.loads(place.call("export", "rounded", "--to", "merged", "--json").out)
    assert told["base"] is None
    assert 0 <= told["proof"]["largest_relative_difference"] < 0.05
    assert 0 <= told["changed_answers"] <= told["test_rows"]
    said = place.call("export", "rounded", "--to", "merged", "--out", tmp_path / "again").out
    assert f"{told['changed_answers']} of {told['test_rows']} test answers changed" in said
    assert told["rescoring"]["standing"] in ("equivalent", "not worse", "better", "unclear")
    over = json.loads(place.call("export", "rounded", "--to", "adapter", "--json").out)
    assert over["proof"]["largest_relative_difference"] <= 1e-5


def test_python_exports_as_the_command_does(place, tmp_path, monkeypatch):
    run = place.run("lora")
    monkeypatch.chdir(place.folder)
    told = TunedRun(run.path).export("adapter", tmp_path / "out")
    assert told.proof.largest_relative_difference <= 1e-5
    assert json.loads((tmp_path / "out" / "export.json").read_text("utf-8"))["format"] == "adapter"


def refused(place: Place, *arguments: object) -> str:
    ended = place.call("export", *arguments)
    assert ended.status == MISTAKE, ended.said
    assert ended.err.startswith("kamerton: ")
    assert "Traceback" not in ended.err
    assert "→" in ended.err
    return str(ended.err)


def test_a_full_model_has_no_adapter(place, tmp_path):
    place.run("full")
    assert "the method changed the model's own weights" in refused(
        place, "full", "--to", "adapter", "--out", tmp_path / "out"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_merged_says_why_and_leaves_nothing(place, tmp_path):
    flags = ("--method", "prompt-tuning", "--epochs", "1", "--out", "virtual", *QUICK)
    ended = place.call("tune", "reviews.csv", "--model", "encoder", *flags)
    assert ended.status == DONE, ended.said
    err = refused(place, "virtual", "--to", "merged", "--out", tmp_path / "out")
    assert "cannot merge, because prompt tokens are inputs of the model" in err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_form_a_folder_that_is_there_and_an_unfinished_run_are_refused(place, tmp_path):
    place.run("lora")
    assert "did you mean 'merged'?" in refused(place, "lora", "--to", "merge")
    assert "exists already" in refused(place, "lora", "--to", "merged", "--out", tmp_path)
    assert "is not a run" in refused(place, tmp_path, "--to", "merged")
    place.run("lora").with_same_split(tmp_path / "begun", place.run("lora").recipe)
    assert "has no tuned model yet" in refused(place, tmp_path / "begun", "--to", "merged")


def test_what_is_not_the_same_is_never_called_done(place, tmp_path, monkeypatch):
    run = place.run("lora")
    asked = _transformers._asked

    def damaged(job, inputs):
        path = Path(job["folder"]) / "model.safetensors"
        weights = load_file(path)
        weights["classifier.weight"][0, 0] += 0.1
        save_file(weights, path, metadata={"format": "pt"})
        return asked(job, inputs)

    monkeypatch.setattr(_transformers, "_asked", damaged)
    monkeypatch.chdir(place.folder)
    with pytest.raises(RunError, match="logits differ from the run's"):
        export_run(Run(run.path), "merged", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_the_run_is_changed(place, tmp_path):
    run = place.run("lora")
    before = {path: path.read_bytes() for path in run.model.rglob("*") if path.is_file()}
    exported(place, "lora", "merged", tmp_path / "out")
    assert {path: path.read_bytes() for path in run.model.rglob("*") if path.is_file()} == before
