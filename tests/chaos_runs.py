"""Tiny runs of every kind for `make chaos`: how each is made, stopped, and held against an undisturbed one.

Everything of a run happens in `work/` of an arena, which is made anew each time from the same template, so that paths
within files are the same. The folder of temporary files, the cache and the home folder are there as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import faults
import tiny_models
from children import Child, Ended, Nursery
from faults import Fault
from kamerton.runs.changes import RunFiles
from stories import write_answers, write_reviews

PATIENCE = 120.0
"""Seconds after which a command counts as stuck."""
QUICK = ("--set", "evaluate.resamples=200", "--set", "evaluate.shots=2", "--set", "prompt.draws=1")
BLIND = ("--set", "evaluate.forgetting=off")
REVIEWS = ("tune", "reviews.csv", "--model", "encoder", "--out", "run", *QUICK, "--epochs", "2")
ANSWERS = ("tune", "answers.jsonl", "--model", "decoder", "--out", "run", *QUICK, "--epochs", "1")
FULL = ("--method", "full")
RATE = ("--learning-rate", "3e-3")
UNDISTURBED = Fault()
HELPERS = ("tmp", "home", "cache")
"""Folders beside a run, which must be empty when a command has ended."""
MEASURED = {
    "seconds", "peak_bytes", "peak_memory_bytes", "contended", "took", "bytes", "free_bytes", "platform", "processors",
    "forecast", "measured", "crc",
}  # fmt: skip
"""Keys of what differs between two undisturbed runs."""
OF_PROCESSES = {"started", "saved"}
"""Events of processes, not of the training: that one began, and how long a checkpoint took it."""
TEMPORARY = re.compile(r"\.\d+\.tmp$")
"""The end of a temporary name, which holds a process's number."""
TIMES = re.compile(r"The whole run took [^.]+(\.\d[^.]*)*\.")
"""The model card's line about time and memory."""


@dataclass(frozen=True)
class Kind:
    """A kind of run."""

    title: str
    command: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    """Commands whose outcome is there already."""
    resumes: bool = True
    """Whether `kamerton resume run` goes on with it, or else the same command again."""


KINDS = (
    Kind("tune, full", (*REVIEWS, *FULL, *RATE, *BLIND)),
    Kind("tune, LoRA", (*ANSWERS, "--method", "lora", *RATE)),
    Kind("remedy: dial", (*REVIEWS, *FULL, *RATE, "--remedy", "dial")),
    Kind("remedy: training", (*ANSWERS, "--method", "lora", "--learning-rate", "3e-4", "--remedy", "higher-rate")),
    Kind("seeds", (*REVIEWS, *FULL, *RATE, *BLIND, "--seeds", "2")),
    Kind("learning rate auto", (*REVIEWS, *FULL, *BLIND, "--learning-rate", "auto")),
    Kind("dial --out", ("dial", "base", "--out", "run"), ((*REVIEWS, *FULL, *RATE, *BLIND, "--out", "base"),)),
    Kind("export merged", ("export", "base", "--to", "merged", "--out", "run"),
         ((*ANSWERS, "--method", "lora", *RATE, *BLIND, "--out", "base"),), resumes=False),
    Kind("audit --fix", ("audit", "reviews.csv", "--fix"), resumes=False),
    Kind("audit --fix of a folder", ("audit", "many", "--fix"), resumes=False),
)  # fmt: skip


@dataclass
class Arena:
    """Where runs are made, disturbed and looked at."""

    root: Path
    """A folder that holds `encoder` and `decoder`."""
    nursery: Nursery
    templates: dict[tuple[tuple[str, ...], ...], Path] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """The folder in which commands run."""
        return self.root / "work"

    def clear(self, before: Sequence[tuple[str, ...]] = ()) -> None:
        """Make the folder anew, as it is after some commands."""
        before = tuple(before)
        if before not in self.templates:
            self.clear() if before else self._furnish()
            for command in before:
                ended = self.call(command)
                assert ended.status == 0, ended.said
            self.templates[before] = self.root / f"template-{len(self.templates)}"
            shutil.copytree(self.work, self.templates[before], symlinks=True)
        self.restore(self.templates[before])

    def restore(self, template: Path) -> None:
        """Make the folder anew from a copy of it."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(template, self.work, symlinks=True)

    def _furnish(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        for name in (*HELPERS, "many"):
            (self.work / name).mkdir(parents=True)
        for name in ("encoder", "decoder"):
            (self.work / name).symlink_to(self.root / name)
        write_reviews(self.work / "reviews.csv")
        write_reviews(self.work / "many" / "one.csv")
        write_reviews(self.work / "many" / "other.csv")
        write_answers(self.work / "answers.jsonl")
        for command in (REVIEWS, ANSWERS):  # the cache keeps what was timed on this machine
            assert self.call((*command, *FULL)).status == 0
            shutil.rmtree(self.work / "run")

    def start(self, words: Sequence[str], fault: Fault = UNDISTURBED, memory: int = 0) -> Child:
        """Start a command."""
        named = {"TMPDIR": "tmp", "HOME": "home", "KAMERTON_CACHE": "cache", "XDG_CACHE_HOME": "cache"}
        environment = {name: str(self.work / folder) for name, folder in named.items()}
        return self.nursery.start("faults:struck", words, faults.fields(fault), environment, memory, cwd=self.work)

    def call(self, words: Sequence[str], fault: Fault = UNDISTURBED, memory: int = 0) -> Ended:
        """Run a command to its end; one that takes too long is ended by `SIGQUIT`."""
        return ended(self.start(words, fault, memory))

    def operations(self, kind: Kind) -> list[str]:
        """List the file operations of an undisturbed run."""
        self.clear(kind.before)
        log = self.root / "operations.log"
        done = self.call(kind.command, Fault(log=str(log)))
        assert done.status == 0, done.said
        return log.read_text("utf-8").splitlines()

    def next_command(self, kind: Kind) -> tuple[str, ...]:
        """Return what a user does after a stop: resume, or the same command again where there is no run yet."""
        begun = kind.resumes and RunFiles(self.work / "run").exists("recipe.yaml")  # in a committed change, too
        return ("resume", "run") if begun else kind.command


@contextmanager
def arena_in(root: Path) -> Iterator[Arena]:
    """Furnish a folder, with models and a process that forks others under the library of faults."""
    library = str(faults.build(root))
    tiny_models.tiny_encoder(root / "encoder")
    tiny_models.tiny_decoder(root / "decoder")
    (root / "nursery").mkdir()
    os.environ["LD_PRELOAD"] = library
    nursery = Nursery(root / "nursery")
    del os.environ["LD_PRELOAD"]
    try:
        yield Arena(root, nursery)
    finally:
        nursery.close()


def ended(child: Child, patience: float = PATIENCE) -> Ended:
    """Wait for a child's end, and end it if that takes too long."""
    until = time.monotonic() + patience
    while not child.has_ended:
        if time.monotonic() > until:
            child.kill(signal.SIGQUIT)
            break
        time.sleep(0.01)
    return child.wait()


# ── what is left ──────────────────────────────────────────────────────────────────────────────


def portrait(folder: Path) -> dict[str, str]:
    """Return each file's path and a hash of what it says, without times and other measured figures."""
    return {TEMPORARY.sub(".N.tmp", path.relative_to(folder).as_posix()): _hash(path) for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
            if not any(path.iterdir()):
                yield path
        elif not path.is_symlink():
            yield path


def _hash(path: Path) -> str:
    return hashlib.sha256(repr(_content(path)).encode("utf-8", "surrogateescape")).hexdigest()


def _content(path: Path) -> Any:
    if path.is_dir():
        return "an empty folder"
    if path.name.startswith("report.") or path.suffix == ".html":
        return "a page"
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            return [_unmeasured(row) for row in file.read().to_pylist()]
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    if path.name == "MANIFEST.json" and path.parent.name.startswith("step-"):
        return text  # of a checkpoint: nothing in it is measured
    if path.name == "MANIFEST.json":
        manifest = _parsed(text)
        return sorted(manifest["files"]) if isinstance(manifest, dict) else manifest
    if path.suffix == ".json":
        return _parsed(text)
    if path.suffix == ".jsonl":
        lines = [_parsed(line) for line in text.split("\n") if line]
        return [line for line in lines if not isinstance(line, dict) or line.get("event") not in OF_PROCESSES]
    return TIMES.sub("", text)


def _parsed(text: str) -> Any:
    """Return JSON without what is measured; a text that is not JSON as it is."""
    try:
        return _unmeasured(json.loads(text))
    except ValueError:
        return text


def _unmeasured(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _unmeasured(item) for key, item in value.items() if key not in MEASURED}
    return [_unmeasured(item) for item in value] if isinstance(value, list) else value


def differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Compare two portraits; yield kinds of defects, each with a file."""
    for name in sorted({*found, *wanted}):
        if name not in wanted:
            yield "left over", name
        elif name not in found:
            yield "lost", name
        elif found[name] != wanted[name]:
            yield "different", name
