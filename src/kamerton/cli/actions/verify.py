"""What `kamerton verify` does."""

from pathlib import Path

from kamerton.cli.output import print_json, warn
from kamerton.core.errors import RunError
from kamerton.core.messages import msg
from kamerton.deliver.verify import verify_run
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.runs.run import Run


def run(path: Path, json: bool, language: Language) -> None:
    """Check all files of a run, and print how many there are.

    Raises:
        RunError: with every file that is damaged.
    """
    found = verify_run(Run(path))
    if json:
        faults = [{"place": str(one.place), "rule": str(one.rule), "remedy": str(one.remedy)} for one in found.faults]
        print_json({"files": found.files, "faults": faults, "versions": found.versions and str(found.versions)})
    if found.faults:
        raise RunError(found.faults)
    if not json:
        rule = "{files} {files:file is|files are} as the run wrote them, and its base model is the same"
        older = "the run was made before runs had checksums: only its logs, checkpoints and base model were checked"
        print(voice(language).render(msg(rule, files=found.files) if found.files else msg(older)))
        if found.versions:
            warn(found.versions)
