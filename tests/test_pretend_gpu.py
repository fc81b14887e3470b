"""What must hold on a device, shown on a pretend GPU: one that is like CUDA, and one that knows no float64, as a Mac.

Each mode has a process of its own, which reports what it found as JSON; the processes that load what was saved there
run on the CPU, so that both devices must agree.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from children import ENVIRONMENT

CHECKS = Path(__file__).with_name("on_a_card.py")
CELLS = {
    "cuda": ("text-classification/encoder/full", "instruction/decoder/lora", "translation/seq2seq/last-layers"),
    "mac": ("regression/encoder/lora", "question-answering/encoder/head", "feedback/decoder/prefix-tuning"),
}
"""Task, kind of model and method, each stopped, resumed with dropout, saved, and loaded elsewhere."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What was found in a mode, asked for once."""

    @cache
    def ask(mode: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp(mode)
        command = [sys.executable, str(CHECKS), mode, str(folder), *CELLS[mode]]
        ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT}, check=False)
        assert ended.returncode == 0, ended.stderr
        return dict(json.loads(ended.stdout.splitlines()[-1]))

    return ask


@pytest.mark.parametrize("mode", CELLS)
def test_a_run_works_on_the_card_and_its_model_elsewhere(found, mode):
    for cell in CELLS[mode]:
        assert found(mode)[cell]["updates"] > 0
        assert found(mode)[cell]["difference"] <= 1e-4
    assert found(mode)["device"] == ["gpu:0"] * len(CELLS[mode])


@pytest.mark.parametrize("mode", CELLS)
def test_a_training_step_copies_no_row_and_no_layer_to_the_host(found, mode):
    """One copy of the losses, one of the gradient's norm; of 2 layers or 6, of 16 rows or 4."""
    copies = found(mode)["copies in a step"]
    assert len(copies) == 4
    assert max(copies.values()) <= 3, found(mode)["places"]


def test_a_token_is_decoded_with_one_copy_to_the_host(found):
    assert found("cuda")["decoded by ourselves"]
    assert found("cuda")["copies a token"] <= 1


@pytest.mark.parametrize("mode", CELLS)
def test_resumed_with_dropout_the_weights_are_those_of_an_undisturbed_run(found, mode):
    assert found(mode)["resumed differs by"] <= 1e-6


def test_memory_that_runs_out_halves_the_passes_once_and_is_then_told(found):
    assert found("cuda")["out of memory"]["halved"]
    assert "Pretend GPU does not suffice for update" in found("cuda")["out of memory"]["told"]
    assert "Traceback" not in found("cuda")["out of memory"]["told"]


def test_a_card_is_named_and_measured(found):
    assert found("cuda")["name"] == "Pretend GPU"
    assert found("cuda")["peak"] > 0
    assert found("cuda")["choices"] == ["auto", "cpu", "gpu:0"]
