"""What `kamerton judge` does."""

from collections.abc import Sequence
from pathlib import Path

from kamerton.cli.output import print_json, require_page
from kamerton.core.files import permitting
from kamerton.core.message_json import to_json
from kamerton.core.messages import msg
from kamerton.feedback.judging import judge_choices, judging_of, read_choices
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.report.judging import judged_lines, write_judging
from kamerton.report.outcome import read_outcome
from kamerton.runs.run import Run


def run(
    paths: Sequence[Path],
    out: Path,
    rows: int,
    seed: int,
    reference: bool,
    saved: Sequence[Path],
    json: bool,
    language: Language,
) -> None:
    """Write the page, or evaluate what was saved from it."""
    require_page(out)
    speaker = voice(language)
    if saved:
        judged = judge_choices([read_choices(path) for path in saved])
        print_json(to_json(judged)) if json else print("\n".join(map(speaker.render, judged_lines(judged))))
        return
    runs = [Run(path) for path in paths]
    against = read_outcome(runs[0]).verdict.against if len(runs) == 1 else ""
    judging = judging_of(runs, [str(run.path) for run in runs], against, rows=rows, seed=seed)
    with permitting(runs[0].files.mode & runs[-1].files.mode):
        write_judging(judging, out, language=language, reference=reference)
    if json:
        print_json({"page": out, "pairs": len(judging.pairs), "identical": judging.identical})
        return
    count = "{page}: {pairs} {pairs:pair|pairs} to judge; on {identical} {identical:row|rows} both answer the same"
    print(speaker.render(msg(count, page=str(out), pairs=len(judging.pairs), identical=judging.identical)))
    after = speaker.translate("open it in a browser, judge, save the choices, then:")
    print(f"{after} kamerton judge --evaluate choices.json")
