"""The program that the report shows for the tuned model: it runs, on real models in either format."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import html5lib
import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from kamerton.report.html import write_report
from kamerton.run import Run
from synthetic_run import REVIEWS, classification_run, generation_run

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
"""PEFT asks transformers by an old name."""


def shown(run: Run, id: str) -> str:
    """Return the text of one element of the report."""
    page = html5lib.parse(write_report(run).read_text(encoding="utf-8"), namespaceHTMLElements=False)
    return "".join(next(element for element in page.iter() if element.get("id") == id).itertext())


def saved(run: Run, folder: Path, task_type: str, library: str, facts: dict[str, int]) -> Run:
    """Put a tiny model in the run's folder, in the format of a library."""
    shutil.rmtree(run.model)
    auto = {"SEQ_CLS": AutoModelForSequenceClassification, "CAUSAL_LM": AutoModelForCausalLM}[task_type]
    model = auto.from_pretrained(folder, **facts)
    if library == "peft":
        model = get_peft_model(model, LoraConfig(r=2, task_type=task_type, target_modules="all-linear"))
    model.save_pretrained(run.model)
    AutoTokenizer.from_pretrained(folder).save_pretrained(run.model)
    return run


@pytest.mark.parametrize("library", ["peft", "transformers"])
def test_the_python_shown_for_a_classifier_runs_and_prints_a_label(library, encoder_folder, tmp_path, capsys):
    run = classification_run(tmp_path / 'it\'s a "run"')
    saved(run, encoder_folder, "SEQ_CLS", library, {"num_labels": 3})
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


def test_a_model_of_another_kind_is_shown_by_commands_only(tmp_path):
    run = classification_run(tmp_path / "run")
    (run.model / "adapter_config.json").write_text('{"task_type": null}', encoding="utf-8")
    usage = shown(run, "usage")
    assert "kamerton predict" in usage
    assert "import" not in usage
