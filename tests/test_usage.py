"""The program that the report shows for the tuned model: it runs, on real models in either format."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import html5lib
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from kamerton.core import registry
from kamerton.models.load import load_model, load_tokenizer
from kamerton.models.quantize import quantized
from kamerton.models.saved import save_model
from kamerton.report.html import write_report
from kamerton.runs.recipe import MethodSettings
from kamerton.runs.run import Run
from synthetic_run import REVIEWS, classification_run, generation_run
from tiny_engines import HEAD, facts_of

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
"""PEFT asks transformers by an old name."""


def shown(run: Run, id: str) -> str:
    """Return the text of one element of the report."""
    page = html5lib.parse(write_report(run).read_text(encoding="utf-8"), namespaceHTMLElements=False)
    return "".join(next(element for element in page.iter() if element.get("id") == id).itertext())


def saved(run: Run, folder: Path, task_type: str, library: str, facts: dict[str, int]) -> Run:
    """Put a tiny model in the run's folder, in the format of a library."""
    auto = {"SEQ_CLS": AutoModelForSequenceClassification, "CAUSAL_LM": AutoModelForCausalLM}[task_type]
    model = auto.from_pretrained(folder, **facts)
    if library == "peft":
        model = get_peft_model(model, LoraConfig(r=2, task_type=task_type, target_modules="all-linear"))
    with run.changing() as change:
        target = change.path("model")
        model.save_pretrained(target)
        AutoTokenizer.from_pretrained(folder).save_pretrained(target)
    return run


@pytest.mark.parametrize("library", ["peft", "transformers"])
def test_the_python_shown_for_a_classifier_runs_and_prints_a_label(library, encoder_folder, tmp_path, capsys):
    run = classification_run(tmp_path / 'it\'s a "run"')
    saved(run, encoder_folder, "SEQ_CLS", library, {"num_labels": 3})
    (tmp_path / "shown.py").write_text(shown(run, "python"), encoding="utf-8")
    runpy.run_path(str(tmp_path / "shown.py"))
    assert capsys.readouterr().out.strip() in REVIEWS.golds


def test_the_python_shown_for_an_adapter_over_a_classifier_of_other_labels_runs(encoder_folder, tmp_path, capsys):
    other = tmp_path / "five"
    AutoModelForSequenceClassification.from_pretrained(encoder_folder, num_labels=5).save_pretrained(other)
    AutoTokenizer.from_pretrained(encoder_folder).save_pretrained(other)
    run = classification_run(tmp_path / "run")
    saved(run, other, "SEQ_CLS", "peft", {"num_labels": 3, "ignore_mismatched_sizes": True})
    (tmp_path / "shown.py").write_text(shown(run, "python"), encoding="utf-8")
    runpy.run_path(str(tmp_path / "shown.py"))
    assert capsys.readouterr().out.strip() in REVIEWS.golds


@pytest.mark.parametrize("library", ["peft", "transformers"])
def test_the_python_shown_for_a_decoder_runs_and_prints_what_the_model_writes(
    library, decoder_folder, tmp_path, capsys
):
    run = saved(generation_run(tmp_path / "run"), decoder_folder, "CAUSAL_LM", library, {})
    (tmp_path / "shown.py").write_text(shown(run, "python"), encoding="utf-8")
    names = runpy.run_path(str(tmp_path / "shown.py"))
    written = names["tokenizer"].decode(names["answer"], skip_special_tokens=True)
    assert capsys.readouterr().out == f"{written}\n"
    assert len(names["answer"]) > 0


@pytest.mark.parametrize("word", ["qlora"])
def test_the_python_shown_gives_the_trained_models_answer_where_loading_needs_more(word, encoder_folder, tmp_path):
    """In a process that has imported nothing before: a type that PEFT does not know, a base in four bits."""
    run = classification_run(tmp_path / "run")
    run.write_recipe(run.recipe.model_copy(update={"method": MethodSettings(name=word)}))
    labels = sorted(set(REVIEWS.golds))
    method, facts = registry.choose("methods", word)(), facts_of(encoder_folder)
    how = method.quantization
    config = quantized(encoder_folder, HEAD, {"num_labels": len(labels)}, how) if how else None
    loaded = load_model(encoder_folder, HEAD, {"num_labels": len(labels)}, seed=0, quantization=config)
    model = method.attach(loaded.model, loaded.fresh).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    with run.changing() as change:
        save_model(change.path("model"), model, load_tokenizer(facts))
    (tmp_path / "shown.py").write_text(shown(run, "python") + "\nprint(logits.tolist())\n", encoding="utf-8")
    done = subprocess.run([sys.executable, tmp_path / "shown.py"], capture_output=True, text=True, check=True)
    label, logits = done.stdout.splitlines()
    inputs = load_tokenizer(facts)("your text", return_tensors="pt")
    with torch.no_grad():
        wanted = model(**inputs).logits
    assert json.loads(logits)[0] == pytest.approx(wanted[0].tolist(), rel=1e-5, abs=1e-6)
    assert label == labels[int(wanted.argmax())]


def test_a_model_of_another_kind_is_shown_by_commands_only(tmp_path):
    run = classification_run(tmp_path / "run")
    with run.changing() as change:
        change.write("model/adapter_config.json", b'{"task_type": null}')
    usage = shown(run, "usage")
    assert "kamerton predict" in usage
    assert "import" not in usage
