"""Every method on each kind of model, tuned, killed, resumed, asked, exported and dialled on the pretend GPU.

python benchmarks/on_devices.py [--only WORD] [--out docs/devices.md]

Both modes are tried: a card like CUDA's, and one that knows no float64, as a Mac's. Trials that worked already
(runs/bench-devices/trials.jsonl) are not made again. With `--only` the trials whose title (`mac/encoder/lora`) holds
the word are made. The page is written of those that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from card_trials import STEPS, TASKS, CardTrial, try_on_card
from children import Nursery
from crossing import Models
from kamerton.core import registry

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "runs" / "bench-devices" / "trials.jsonl"
MODES = {"cuda": "CUDA", "mac": "Mac"}
NAMES = {"encoder": "BERT", "decoder": "Llama", "seq2seq": "T5"}
INTRODUCTION = (
    "# Methods on an accelerator",
    "",
    "Written by `make bench-devices`. **No accelerator was used:** the device is the pretend GPU of [gpu.md](gpu.md),",
    "whose arithmetic runs on the CPU, once as a card of CUDA and once as a Mac's, which has no float64.",
    "",
    "A ✓ is a whole run on a tiny model of random weights. It is tuned with dropout until it is killed at its first",
    "checkpoint, and resumed to its verdict, for which a fresh process on the card gives the same answers. It is asked",
    "again on the card and on a CPU, with the same answers; exported as an adapter and merged, and loaded on a CPU by",
    "transformers and PEFT alone, with the same logits; and measured at half the dial's strength. A number marks a",
    "refusal before anything is trained.",
    "",
)


def kept() -> dict[str, CardTrial]:
    """Read the trials that are there."""
    lines = KEPT.read_text("utf-8").splitlines() if KEPT.exists() else []
    return {title(one): one for one in (CardTrial(**json.loads(line)) for line in lines)}


def title(trial: CardTrial) -> str:
    """Name a trial: `mac/encoder/lora`."""
    return f"{trial.mode}/{trial.kind}/{trial.method}"


def page(trials: Mapping[str, CardTrial]) -> Iterator[str]:
    """Write the page, line by line."""
    columns, said = list(product(MODES, TASKS)), dict[str, int]()
    heads = [f"{NAMES[kind]}, {MODES[mode]}" for mode, kind in columns]
    yield from (*INTRODUCTION, f"| | {' | '.join(heads)} |", "|" + "---|" * (len(heads) + 1))
    for method in registry.names("methods"):
        cells = [trials.get(f"{mode}/{kind}/{method}") for mode, kind in columns]
        yield f"| `{method}` | {' | '.join(_mark(cell, said) for cell in cells)} |"
    yield ""
    yield from (f"{number}. {reason}" for reason, number in said.items())
    yield ""


def _mark(trial: CardTrial | None, said: dict[str, int]) -> str:
    if trial is None:
        return "not tried"
    reason = trial.steps.get("refused") or "; ".join(trial.failures)
    return str(said.setdefault(reason, len(said) + 1)) if reason else "✓" if trial.steps.keys() == STEPS.keys() else "?"


def main() -> int:
    """Make the trials and write the page; the status is 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "devices.md")
    arguments = parser.parse_args()
    trials = kept()
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, KEPT.open("a", encoding="utf-8") as file:
        models, nursery = Models(Path(folder) / "models"), Nursery(Path(folder))
        models.folder.mkdir()
        for method, mode, kind in product(registry.names("methods"), MODES, TASKS):
            word = f"{mode}/{kind}/{method}"
            if arguments.only not in word or (word in trials and not trials[word].failures):
                continue
            began = time.perf_counter()
            one = trials[word] = try_on_card(CardTrial(mode, kind, method), models[kind], nursery, Path(folder) / word)
            said = one.failures or one.steps.get("refused", "works")
            print(f"{word:28} {time.perf_counter() - began:5.1f} s  {said}", flush=True)
            file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
            file.flush()
        nursery.close()
    arguments.out.write_text("\n".join(page(trials)), encoding="utf-8")
    failed = [word for word, one in trials.items() if one.failures]
    print(f"{len(trials)} trials, {len(failed)} failed: {failed}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
