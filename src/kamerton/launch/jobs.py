"""Job files: a launcher's text for a job, written, checked and submitted."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kamerton.core import registry
from kamerton.core.errors import Fault, RecipeError, RunError, Unusable
from kamerton.core.files import write_text
from kamerton.core.launching import ClusterJob
from kamerton.core.messages import Wording, msg
from kamerton.runs.recipe import checked


@dataclass(frozen=True)
class WrittenJob:
    """A job file."""

    launcher: str
    file: str
    run: str
    checked: Wording
    """How the file was checked."""
    submission: Sequence[str]
    """The command line that submits it."""


def write_job(job: ClusterJob, word: str, settings: Mapping[str, object], file: Path | None) -> WrittenJob:
    """Write a job file and check it; an older one is replaced only if it is the same.

    Args:
        job: the job.
        word: the launcher.
        settings: of the launcher.
        file: the job file; beside the run's folder if not given.

    Raises:
        RecipeError: there is no such launcher or setting of it, or they do not fit the job.
        RunError: there is another file, or the check fails.
    """
    registry.allow(word)
    launcher: Any = checked(registry.choose("launchers", word), settings, place=f"launcher {word}:")
    path = file or Path(f"{job.name}{launcher.suffix}")
    try:
        text = launcher.write(job)
    except Unusable as error:
        raise RecipeError(Fault(error.message, f"launcher {word}")) from error
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
        remedy = msg("remove it, or name another with --file")
        raise RunError(Fault(msg("there is another file already"), str(path), remedy))
    write_text(path, text)
    try:
        how = launcher.check(path)
    except Unusable as error:
        raise RunError(Fault(error.message, str(path), msg("the file was left there"))) from error
    return WrittenJob(word, str(path), job.run, how, launcher.submission(path))


def submit(job: WrittenJob) -> int:
    """Submit a job; return the exit status of the program that takes it.

    Raises:
        RunError: that program is not here.
    """
    try:
        return subprocess.run(job.submission, check=False).returncode
    except FileNotFoundError as error:
        remedy = msg("submit it where it is: `{command}`", command=" ".join(job.submission))
        raise RunError(Fault(msg("there is no {program} here", program=job.submission[0]), job.file, remedy)) from error
