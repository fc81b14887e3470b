"""What `kamerton finish` does."""

from pathlib import Path

from kamerton.cli.output import print_json
from kamerton.cli.speech import worded
from kamerton.core.messages import msg
from kamerton.i18n.language import Language
from kamerton.runs.finishing import ask_to_finish
from kamerton.runs.run import Run


def run(path: Path, json: bool, language: Language) -> None:
    """Ask a run to end training after its present epoch, and print which one that is."""
    asked = Run(path)
    epoch = ask_to_finish(asked)
    if json:
        print_json({"run": asked.path, "epoch": epoch})
        return
    print(worded(msg("training ends after epoch {epoch}; the run then goes on to its verdict", epoch=epoch)))
