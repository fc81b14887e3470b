"""What `kamerton launch --to LAUNCHER` does."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from kamerton.cli.border import OK
from kamerton.cli.output import print_json
from kamerton.cli.speech import worded
from kamerton.core.launching import ClusterJob
from kamerton.core.messages import msg
from kamerton.i18n.language import Language
from kamerton.launch.jobs import submit, write_job
from kamerton.runs.recipe import parse_assignment


def run(
    job: ClusterJob,
    to: str,
    assignments: Sequence[str],
    file: Path | None,
    submitted: bool,
    json: bool,
    language: Language,
) -> int:
    """Write a job file, submit it if that was asked for, and return the exit status."""
    written = write_job(job, to, dict(map(_setting, assignments)), file)
    if json:
        print_json(written)
    else:
        print(written.file)
        print(worded(written.checked))
        if not submitted:
            print(worded(msg("submit it with: {command}", command=shlex.join(written.submission))))
    return submit(written) if submitted else OK


def _setting(assignment: str) -> tuple[str, object]:
    """Split `name=value`; lists and mappings are YAML, the rest is text: 12:00:00 is no number here."""
    name, parsed = parse_assignment(assignment)
    return name, parsed if isinstance(parsed, list | dict) else assignment.partition("=")[2]
