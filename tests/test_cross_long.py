"""Long rows through the whole of a run: trained on, resumed, saved, and answered in a process that did not train."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from crossing import Cell, cross
from kamerton.runs.run import Run
from tiny_models import SENTENCES, tiny_decoder

# PEFT asks transformers by an old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

WORDS = " ".join(SENTENCES[:15]).split()
ROWS = 12


def words(count: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


@pytest.fixture(scope="module")
def far_sighted(tmp_path_factory):
    """A tiny Llama with a context of 8,192 tokens."""
    folder = tiny_decoder(tmp_path_factory.mktemp("far"))
    config = AutoConfig.from_pretrained(folder)
    config.max_position_embeddings = 8192
    config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder, model_max_length=8192).save_pretrained(folder)
    return folder


def asked(n: int) -> dict[str, object]:
    long = n % 6 == 0
    return {"instruction": words(3000 if long else 9, n), "output": words(800 if long else 4, 100 + n)}


def judged(n: int) -> dict[str, object]:
    return {"text": words(18_000 if n % 3 == 0 else 20, n), "label": ("bad", "good")[n % 2]}


def questioned(n: int) -> dict[str, object]:
    return {"context": f"{words(3000 if n % 3 == 0 else 20, n)} Anna lives in Oslo{n}.", "question": "Where is Anna?",
            "answer": f"Oslo{n}"}  # fmt: skip


def told(n: int) -> dict[str, object]:
    return {"text": words(18_000 if n % 3 == 0 else 20, n), "summary": f"{words(8, n)} {n}"}


def plain(n: int) -> dict[str, object]:
    return {"text": words(1500, n)}


CASES: dict[str, tuple[str, str, str, Callable[[int], dict[str, object]], dict[str, object]]] = {
    "a prompt of 4,000 tokens and an answer of 1,000": ("instruction", "lora", "far", asked, {"train.epochs": 1}),
    "a document in windows": ("text-classification", "head", "encoder", judged, {"data.too_long": "window"}),
    "a question about a long text": ("question-answering", "last-layers", "encoder", questioned, {}),
    "a summary of a document": ("summarization", "full", "seq2seq", told, {}),
    "plain text in blocks": ("language-modeling", "prompt-tuning", "decoder", plain, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_long_rows_are_trained_on_saved_and_answered(name, request, far_sighted, nursery, tmp_path):
    task, method, model, make, settings = CASES[name]
    folder = far_sighted if model == "far" else request.getfixturevalue(f"{model}_folder")
    count = ROWS if make is not asked else 7
    rows = [make(n) for n in range(count)]
    outcome = cross(Cell(task, method, folder, settings, rows), tmp_path / "cell", nursery)
    assert not outcome.refused
    run = Run(tmp_path / "cell" / "run")
    used = {example.id for part in ("train", "validation", "test") for example in vars(run.read_split())[part]}
    assert used == set(range(count))
    if name.startswith("a prompt"):
        tokens = AutoTokenizer.from_pretrained(folder)(rows[0]["instruction"])["input_ids"]
        assert len(tokens) >= 4000
        assert len(AutoTokenizer.from_pretrained(folder)(rows[0]["output"])["input_ids"]) >= 1000
    assert len(json.dumps(rows[0])) > (100_000 if "document" in name else 5_000)


@pytest.mark.parametrize("method", ["full", "prompt-tuning"])
def test_a_row_that_fills_the_context_is_whole_and_one_more_token_is_cut_and_told(
    method, encoder_folder: Path, nursery, tmp_path
):
    whole = sorted(word for word in AutoTokenizer.from_pretrained(encoder_folder).get_vocab() if word.isalpha())
    taken = 20 if method == "prompt-tuning" else 0  # by prompt tokens
    lengths = [128 - 2 - taken + extra for extra in (-1, 0, 1, 2)]  # [CLS] and [SEP] stand around
    rows = [
        {"text": " ".join(random.Random(n).choices(whole, k=lengths[n % 4])), "label": "ab"[n % 2]} for n in range(ROWS)
    ]
    settings = {"data.too_long": "cut"}
    outcome = cross(Cell("text-classification", method, encoder_folder, settings, rows), tmp_path / "cell", nursery)
    assert not outcome.refused
    ledger = Run(tmp_path / "cell" / "run").read_ledger()
    cut = {entry.id for entry in ledger if entry.fate == "cut"}
    assert cut == {n for n in range(ROWS) if n % 4 > 1}
