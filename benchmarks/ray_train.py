"""Train one small model with two workers of Ray's TorchTrainer: its weights against those of `kamerton launch 2`.

Run by `make bench-ray-train`. Undisturbed, and with the process of rank 1, or Ray's worker around it, killed in the
middle of training. Then Ray starts both again, and they go on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "KAMERTON_DEVICE": "cpu",
    "TOKENIZERS_PARALLELISM": "false",
}
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from kamerton.core.records import Started
from kamerton.runs.run import Run
from stories import reviews
from tiny_models import tiny_encoder

KILLED = ("process", "worker")
WAYS = ("launch", "ray", *KILLED)
KAMERTON = (sys.executable, "-P", "-m", "kamerton")


def words(out: str, epochs: float) -> list[str]:
    """Return the command line of the run."""
    sets = [f"train.epochs={epochs}", "train.patience=1000", "evaluate.forgetting=off"]
    flags = ["--model", "encoder", "--method", "full", "--learning-rate", "1e-3", "--out", out]
    return ["tune", "reviews.csv", *flags, *(word for one in sets for word in ("--set", one))]


def kill_in_training(run: Path) -> None:
    """Once there is a checkpoint, kill the process of rank 1, or the worker of Ray that has started it."""
    while not list(run.glob("checkpoints/*")):
        time.sleep(0.02)
    [process] = [place for place in Path("/proc").glob("[0-9]*") if is_rank_1(place, run.name)]
    parent = (process / "stat").read_text().rpartition(") ")[2].split()[1]
    os.kill(int(parent if run.name == "worker" else process.name), signal.SIGKILL)


def is_rank_1(process: Path, run: str) -> bool:
    """Return whether a folder of /proc is that of rank 1 of a run that has just begun."""
    try:
        words, given = ((process / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
    except OSError:  # it has ended, or is not ours
        return False
    return {b"kamerton", b"tune", run.encode()} <= set(words) and b"RANK=1" in given


def weights_of(run: Path) -> str:
    """Hash the tuned weights."""
    [path] = run.glob("model/*.safetensors")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def main() -> int:
    """Return 0 if all weights are equal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--epochs", type=float, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kamerton-") as name:
        folder = Path(name)
        lines = [f'"{text}",{label}' for text, label in reviews(options.rows)]
        (folder / "reviews.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
        tiny_encoder(folder / "encoder")
        found = {}
        for way in WAYS:
            place = ["--to", "ray", "--submit"] if way != "launch" else []
            began = time.perf_counter()
            command = [*KAMERTON, "launch", "2", *place, "--", *words(way, options.epochs)]
            with (folder / f"{way}.log").open("w") as log:
                child = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
                if way in KILLED:
                    kill_in_training(folder / way)
                status = child.wait()
            if status:
                print((folder / f"{way}.log").read_text())
                return status
            resumed = [event.step for event in Run(folder / way).events() if isinstance(event, Started)][1:]
            found[way] = weights_of(folder / way)
            print(f"{way:7} {found[way]}  {time.perf_counter() - began:.0f} s, gone on from step {resumed}", flush=True)
            if (way in KILLED) != bool(resumed):
                return 1
    return int(len(set(found.values())) > 1)


if __name__ == "__main__":
    sys.exit(main())
