"""What the benchmark and its processes say to each other: a job and a result in JSON. Standard library only.

Every process is started as `python SCRIPT JOB RESULT STARTED`: the job's file, where the result goes, and the
monotonic clock when it was started, which is one clock for all processes.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One sequence: its tokens, the positions whose output is read, and what should be read there."""

    tokens: list[int]
    output_positions: list[int]
    targets: list[int]

    @property
    def labels(self) -> list[int]:
        """Give each token's label as causal models take them: the token itself where it is taught, else -100."""
        taught = {read + 1 for read in self.output_positions}
        return [token if place in taught else -100 for place, token in enumerate(self.tokens)]


@dataclass(frozen=True)
class Job:
    """One training, or one reading, of which all sides do the same."""

    run: str
    """A run folder with the frozen split, for Kamerton; it is trained in a copy."""
    model: str
    """The folder that peers load: the base model, with the initial head if it has one."""
    adapter: str
    """The folder of the initial adapter, empty if there is none."""
    trainable: list[str]
    """Names of the weights that train, where no adapter does."""
    train: list[Row]
    validation: list[Row]
    test: list[Row]
    updates: list[list[int]]
    """The training rows of each update, in the order in which all sides take them."""
    updates_per_epoch: int
    rates: list[float]
    """The learning rate of each update."""
    clip: float
    precision: str
    dropout: float
    seed: int
    threads: int
    eval_batch: int
    pad: int
    """The token that peers pad with."""
    prompts: list[list[int]] = field(default_factory=list)
    """What is gone on from, where the work is to read or to write."""
    losses: bool = False
    """Whether the loss of the test rows is measured as well."""
    new_tokens: int = 0
    """How many tokens to write after each, at most."""
    choices: dict[str, int] = field(default_factory=dict)
    """Where one of a few labels is chosen: each one's first token."""
    shots: int = 0
    """Solved examples before each, of those that the recipe's seed draws."""

    @property
    def batch(self) -> int:
        """Rows of an update."""
        return len(self.updates[0])


@dataclass(frozen=True)
class Work:
    """How much there is to do in a job."""

    tokens: int
    """Of the training rows of all updates, or of all prompts."""
    padded: int
    """The same if every batch is padded to its longest row, as peers do."""
    flops: float
    """Arithmetic of the updates that cannot be avoided; 0 where it is not counted."""
    needed: int = 0
    """The tokens of them, if what rows begin with in common is computed once; 0 where it is not counted."""


@dataclass(frozen=True)
class Result:
    """What a process measured of itself."""

    losses: list[float] = field(default_factory=list)
    """Of every update."""
    validation_losses: list[float] = field(default_factory=list)
    test_loss: float = 0.0
    test_accuracy: float | None = None
    answers: list[str] = field(default_factory=list)
    """What was written or chosen, where that is the work."""
    first: float = 0.0
    """Seconds from the start of the process to the end of the first update."""
    training: float = 0.0
    """Seconds from the loaded model to the last update, without validations and checkpoints."""
    steady: float = 0.0
    """The part of them after the first update: of all updates but one."""
    whole: float = 0.0
    """Seconds of the whole process."""
    peak_bytes: int = 0
    """The most memory that the process held."""


class Watch:
    """Time updates, from one border to the next."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.mark = started
        self.first = 0.0
        self.training = 0.0
        self.steady = 0.0

    def begin(self) -> None:
        """Begin to count: the model is loaded, or something that is no training has ended."""
        self.mark = time.monotonic()

    def stepped(self) -> None:
        """Count what has passed since the last border as training."""
        now = time.monotonic()
        self.training += now - self.mark
        self.steady += now - self.mark if self.first else 0.0
        self.mark = now
        self.first = self.first or now - self.started

    def seconds(self) -> dict[str, float]:
        """Give what was counted, by the names of a result."""
        return {"first": self.first, "training": self.training, "steady": self.steady}


def open_job() -> tuple[Job, Watch, Path]:
    """Read this process's job; give it with a watch and the path of the result."""
    job, result, started = sys.argv[1:]
    return read_job(Path(job)), Watch(float(started)), Path(result)


def read_job(path: Path) -> Job:
    """Read a job."""
    values = json.loads(path.read_text(encoding="utf-8"))
    rows = {part: [Row(**row) for row in values.pop(part)] for part in ("train", "validation", "test")}
    return Job(**values, **rows)


def write(path: Path, value: Job | Result) -> None:
    """Write a job or a result."""
    path.write_text(json.dumps(asdict(value)), encoding="utf-8")


def peak_memory() -> int:
    """Read the most memory that this process has held, in bytes, from the system."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def mean_of_batches(losses: list[float], counts: list[int], batch: int) -> float:
    """Average as transformers' evaluation does: mean of a batch's positions, then of batches by their rows."""
    total = 0.0
    for start in range(0, len(losses), batch):
        part = slice(start, start + batch)
        total += len(losses[part]) * sum(losses[part]) / max(1, sum(counts[part]))
    return total / max(1, len(losses))
