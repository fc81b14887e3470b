"""Run a job file of `kamerton launch --to slurm` on a real Slurm of one node, and let it be stopped in every way.

The Slurm is one of this benchmark's own, in a temporary folder and for this user alone: munged, slurmctld and slurmd of
the system (on Debian `apt-get install slurmctld slurmd slurm-client munge`), which need not be configured. A training
is preempted, loses a process, and comes to its time limit; it must go on to the weights of an undisturbed run.

python benchmarks/on_slurm.py [--out docs/slurm.md]
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from stories import write_reviews
from tiny_models import tiny_encoder

BIN = Path(sys.executable).parent
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel", "srun")
CONFIGURATION = """\
ClusterName=kamerton
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={port_of_node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=15
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
MessageTimeout=60
KillWait=30
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""
PATIENCE = 600
"""Seconds in which each thing that is waited for must have happened."""
TRAINING = ("--method", "full", "--learning-rate", "1e-3", "--set", "train.patience=1000", "--device", "cpu")


@dataclass(frozen=True)
class Slurm:
    """A Slurm that runs."""

    folder: Path
    environment: dict[str, str]

    def call(self, *words: str) -> str:
        """Call one of its programs, and return what it prints."""
        done = subprocess.run(words, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def facts(self, job: str) -> dict[str, str]:
        """Return what Slurm knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.call("scontrol", "show", "job", job)))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(what: str, happened: Callable[[], bool]) -> float:
    """Wait until something has happened, and return the seconds that took."""
    began = time.monotonic()
    while not happened():
        if time.monotonic() - began > PATIENCE:
            raise TimeoutError(what)
        time.sleep(0.2)
    return time.monotonic() - began


@contextmanager
def running_slurm(folder: Path) -> Iterator[Slurm]:
    """Start munged, slurmctld and slurmd; end them afterwards."""
    values = {"host": socket.gethostname().partition(".")[0], "port": free_port(), "port_of_node": free_port()}
    user, cores = getpass.getuser(), os.cpu_count()
    configuration = CONFIGURATION.format(folder=folder, user=user, cores=cores, **values)
    (folder / "slurm.conf").write_text(configuration)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "HF_HUB_OFFLINE": "1"}
    environment["PATH"] = os.pathsep.join([str(BIN), os.environ["PATH"], "/usr/sbin"])
    names = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "log-file": "munge.log"}
    munge = [f"--{option}={folder / name}" for option, name in {**names, "seed-file": "munge.seed"}.items()]
    commands = (["munged", "--force", "--foreground", *munge], ["slurmctld", "-D", "-i"], ["slurmd", "-D"])
    started = []
    try:
        for command in commands:
            log = (folder / f"{command[0]}.out").open("w")
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder))
            time.sleep(1)
        slurm = Slurm(folder, environment)
        wait_for("an idle node", lambda: "idle" in slurm.call("sinfo", "--noheader", "--format=%T"))
        yield slurm
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def submit(slurm: Slurm, run: str, epochs: int) -> str:
    """Write the job file of a training and submit it; return the job's number."""
    settings = ("--set", "partition=low", "--set", "time=60", "--set", "notice=60")
    words = ("kamerton", "launch", "1", "--to", "slurm", *settings, "--submit", "--", *training(run, epochs))
    said = slurm.call(*words)
    assert "sbatch --test-only" in said, said
    return said.split()[-1]


def training(run: str, epochs: int) -> list[str]:
    return ["tune", "reviews.csv", "--model", "encoder", *TRAINING, "--epochs", str(epochs), "--out", run]


def steps(run: Path) -> int:
    """Return how many updates a run has told of, those that were made again included."""
    events = run / "events.jsonl"
    return events.read_text(encoding="utf-8").count('"stepped"') if events.exists() else 0


def restarts(slurm: Slurm, job: str) -> int:
    facts = slurm.facts(job)
    assert facts["JobState"] not in ("FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "COMPLETED"), facts
    return int(facts["Restarts"])


def rank_of(run: str) -> int:
    """Return the process of rank 0 of a run."""
    for folder in Path("/proc").glob("[0-9]*"):
        words = (folder / "cmdline").read_bytes().split(b"\0") if (folder / "cmdline").exists() else []
        if words[1:4] == [b"-P", b"-m", b"kamerton"] and run.encode() in words:
            return int(folder.name)
    raise LookupError(run)


def preempt(slurm: Slurm, _job: str) -> None:
    """Submit a job to the partition that takes the node from the other."""
    slurm.call("sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")


def kill(_slurm: Slurm, _job: str) -> None:
    """Kill the process that trains."""
    os.kill(rank_of(RUN), signal.SIGKILL)


def end_its_time(slurm: Slurm, job: str) -> None:
    """Lower the time limit, so that the notice comes within a minute: Slurm counts in minutes."""
    slurm.call("scontrol", "update", f"JobId={job}", "TimeLimit=2")


RUN = "disturbed"
STOPS = {
    "preempted by a job of another partition": preempt,
    "its process was killed (`kill -9`)": kill,
    "notice before the time limit, lowered to two minutes": end_its_time,
}


def disturbed(slurm: Slurm, epochs: int) -> Iterator[tuple[str, float]]:
    """Stop one job in every way; yield how, and the seconds until it was back in the queue."""
    job, run = submit(slurm, RUN, epochs), slurm.folder / RUN
    for count, (name, stop) in enumerate(STOPS.items(), 1):
        known = steps(run)
        wait_for("training", lambda known=known: steps(run) > known + 20)
        stop(slurm, job)
        seconds = wait_for(name, lambda count=count: restarts(slurm, job) == count)
        yield name, seconds
        if stop is end_its_time:  # the next start has the same limit
            slurm.call("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    wait_for("the end", lambda: slurm.facts(job)["JobState"] == "COMPLETED")


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="write the page here")
    parser.add_argument("--epochs", type=int, default=300)
    given = parser.parse_args()
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    if lacking := [name for name in NEEDED if shutil.which(name) is None]:
        sys.exit(f"there is no {', '.join(lacking)} here: apt-get install slurmctld slurmd slurm-client munge")
    with tempfile.TemporaryDirectory(prefix="kamerton-slurm-") as name, running_slurm(Path(name)) as slurm:
        write_reviews(slurm.folder / "reviews.csv")
        tiny_encoder(slurm.folder / "encoder")
        began = time.monotonic()
        slurm.call("kamerton", *training("undisturbed", given.epochs))
        alone = time.monotonic() - began
        rows = list(disturbed(slurm, given.epochs))
        same = weights(slurm.folder / RUN) == weights(slurm.folder / "undisturbed")
        version = slurm.call("sinfo", "--version").split()[-1]
        text = page(version, rows, alone, steps(slurm.folder / "undisturbed"), same)
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    sys.exit(not same)


def page(version: str, rows: list[tuple[str, float]], alone: float, updates: int, same: bool) -> str:
    """Compose the page."""
    weights = "those, bit for bit, of a run" if same else "**not** those of a run"
    lines = [
        "# A job on Slurm",
        "",
        "Written by `make bench-slurm` on a Slurm of one node; what is tried is in `benchmarks/on_slurm.py`.",
        "",
        f"Slurm {version} on one node, one process. The job file of `kamerton launch 1 --to slurm … -- tune …` was",
        "checked by `sbatch --test-only`, submitted, and its job stopped in three ways, one after the other:",
        "",
        "| stopped by | until it was back in the queue |",
        "|---|---|",
        *(f"| {name} | {seconds:.0f} s |" for name, seconds in rows),
        "",
        f"After that the run was done. Its final weights are {weights}",
        f"that makes the same {updates:,} updates at once, in {alone:.0f} s with all else that `tune` does.",
        "",
        "Not tried: several nodes, GPUs, accounting, a shared file system.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
