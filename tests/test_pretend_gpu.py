"""What must hold on a device, shown on a pretend GPU: one that is like CUDA, and one that knows no float64, as a Mac.

Each mode has a process of its own, which reports what it found as JSON; the processes that load what was saved there
run on the CPU, so that both devices must agree.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from card_trials import STEPS, WORKS, CardTrial, try_on_card
from children import ENVIRONMENT

CHECKS = Path(__file__).with_name("on_a_card.py")
CELLS = {
    "cuda": [],
    "mac": ["regression/encoder/head", "translation/seq2seq/last-layers"],
}
"""Task, kind of model and method: stopped, resumed with dropout, saved, loaded elsewhere; CUDA's has its own test."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What was found in each mode."""
    folder = tmp_path_factory.mktemp("cards")
    command = [sys.executable, str(CHECKS), str(folder), json.dumps(CELLS)]
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT}, check=False)
    assert all((folder / f"{mode}.json").exists() for mode in CELLS), ended.stderr
    return {mode: json.loads((folder / f"{mode}.json").read_text()) for mode in CELLS}


def test_a_run_works_on_a_mac_and_its_model_elsewhere(found):
    for cell in CELLS["mac"]:
        assert found["mac"][cell]["updates"] > 0
        assert found["mac"][cell]["difference"] <= 1e-4
    assert found["mac"]["device"] == ["gpu"] * len(CELLS["mac"])


def test_a_training_step_copies_no_row_and_no_layer_to_the_host(found):
    """One copy of the losses, one of the gradient's norm; of 2 layers or 6, of 16 rows or 4."""
    copies = found["cuda"]["copies in a step"]
    assert len(copies) == 4
    assert max(copies.values()) <= 3, found["cuda"]["places"]


def test_a_token_is_decoded_with_one_copy_to_the_host(found):
    assert found["cuda"]["decoded by ourselves"]
    assert found["cuda"]["copies a token"] <= 1


@pytest.mark.parametrize("mode", CELLS)
def test_resumed_with_dropout_the_weights_are_those_of_an_undisturbed_run(found, mode):
    assert found[mode]["resumed differs by"] <= 1e-6


def test_memory_that_runs_out_halves_the_passes_once_and_is_then_told(found):
    assert found["cuda"]["out of memory"]["halved"]
    assert "Pretend GPU does not suffice for update" in found["cuda"]["out of memory"]["told"]
    assert "Traceback" not in found["cuda"]["out of memory"]["told"]


def test_an_old_card_trains_in_fp16_and_skips_what_overflows(found):
    """The frozen matrices are held in fp16; the first losses are scaled by far too much."""
    whole, half = (found["cuda"]["in half"][name] for name in ("fp32", "fp16"))
    assert half["frozen"] == ["torch.float16"]
    assert half["trained"] == ["torch.float32"]
    assert half["overflowed"] > 0
    assert half["losses"][0] == pytest.approx(whole["losses"][0], rel=1e-3)
    assert half["losses"][-1] < half["losses"][0]
    assert half["copies"] == whole["copies"] <= 3


def test_a_new_card_trains_in_bf16_by_the_kernel_of_lengths(found):
    whole, half = (found["cuda"]["in half"][name] for name in ("fp32", "bf16"))
    assert half["frozen"] == ["torch.bfloat16"]
    assert half["kernel"] > len(half["losses"]) == len(whole["losses"])
    assert half["losses"] == pytest.approx(whole["losses"], rel=1e-3)


def test_the_check_of_a_real_gpu_runs(found):
    """`make check-gpu`, in small sizes, so that it works on the day there is one."""
    steps = found["cuda"]["check"]
    assert [one for one in steps if "failed" in one] == []
    assert [one["step"] for one in steps if "skipped" in one] == ["attention", "four_bits", "whole"]
    assert found["cuda"]["check status"] == 0


def test_a_card_is_named_and_measured(found):
    assert found["cuda"]["name"] == "Pretend GPU"
    assert found["cuda"]["peak"] > 0
    assert found["cuda"]["choices"] == ["auto", "cpu", "gpu:0"]


def test_a_method_is_tuned_killed_resumed_asked_exported_and_dialled_on_the_card(decoder_folder, nursery, tmp_path):
    """`make bench-devices` tries all methods on all kinds of models, in both modes."""
    trial = try_on_card(CardTrial("cuda", "decoder", "lora"), decoder_folder, nursery, tmp_path / "trial")
    assert trial.steps == dict.fromkeys(STEPS, WORKS)
