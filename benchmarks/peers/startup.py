"""How long it takes until something happens: `--help`, the answer to one text, the first update of a training."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rounds import ROOT

KAMERTON = [sys.executable, "-m", "kamerton"]
TEXT = "A warm and funny film with a weak ending."
LIMIT = 120
ALONE = """
import sys
from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
print(model.config.id2label[model(**tokenizer(sys.argv[2], return_tensors="pt")).logits.argmax().item()])
"""
"""What `kamerton predict` does, written with transformers alone."""


@dataclass(frozen=True)
class Start:
    """What is started, and how soon it should be there."""

    name: str
    title: str
    must: float
    """Seconds."""
    aim: float


STARTS = (
    Start("help", "`kamerton --help`", 0.3, 0.15),
    Start("predict", "`kamerton predict` of one text with MiniLM", 4.0, 3.0),
    Start("tune", "`kamerton tune` of 2,000 reviews with MiniLM, to its first update", 6.0, 4.0),
)


def started(data: Path, folder: Path) -> dict[str, float]:
    """Time each of `STARTS` once, in fresh processes, with the defaults of the product.

    Args:
        data: a table of reviews.
        folder: for the runs; a tuned run `given` in it is made if it is missing.
    """
    given = tuned(data, folder)
    return {
        "help": seconds([*KAMERTON, "--help"]),
        "predict": seconds([*KAMERTON, "predict", str(given), TEXT]),
        "alone": seconds([sys.executable, "-c", ALONE, str(given / "model"), TEXT]),
        "tune": until_first_update(data, folder / "begun"),
    }


def tuned(data: Path, folder: Path) -> Path:
    """Give a small tuned run."""
    run = folder / "given"
    if not (run / "result.json").exists():
        shutil.rmtree(run, ignore_errors=True)
        settings = {"evaluate.forgetting": "off", "prompt.search": "false"}
        flags = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        command = [*KAMERTON, "tune", str(data), "--model", "minilm", "--max-rows", "200", "--epochs", "1", *flags]
        subprocess.run([*command, "--out", str(run)], env=environment(), check=True, capture_output=True, cwd=ROOT)
    return run


def environment() -> Mapping[str, str]:
    """Give the variables for a process that may use all cores."""
    return {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}


def seconds(command: list[str]) -> float:
    """Time a whole process."""
    began = time.monotonic()
    subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=LIMIT)
    return time.monotonic() - began


def until_first_update(data: Path, run: Path) -> float:
    """Time a tuning until its first update stands in the run folder, and end it.

    Raises:
        RuntimeError: it ended, or took too long, before that.
    """
    shutil.rmtree(run, ignore_errors=True)
    began = time.monotonic()
    command = [*KAMERTON, "tune", str(data), "--model", "minilm", "--max-rows", "2000", "--out", str(run)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.monotonic() - began < LIMIT and process.poll() is None:
            events = run / "events.jsonl"
            if events.exists() and '"stepped"' in events.read_text(encoding="utf-8"):
                return time.monotonic() - began
            time.sleep(0.01)
        raise RuntimeError(f"no update after {time.monotonic() - began:.0f} s, status {process.poll()}")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        shutil.rmtree(run, ignore_errors=True)
