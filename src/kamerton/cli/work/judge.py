"""What `kamerton judge` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from kamerton.cli.output import print_json
from kamerton.evaluate.compare import in_order, same_rows, tuned_answers
from kamerton.evaluate.judging import Judged, blind_pairs, judge_choices, read_choices
from kamerton.outcomes import Judging, Measure
from kamerton.report.judging import Language, write_judging
from kamerton.report.outcome import read_outcome
from kamerton.report.text import percent, probability, safe_text, signed
from kamerton.run import Run

BIASED = 0.05
"""p-value of the position test below which judges are said to favour a side."""


def run(
    paths: Sequence[Path],
    out: Path,
    rows: int,
    seed: int,
    language: Language,
    reference: bool,
    saved: Sequence[Path],
    json: bool,
) -> None:
    """Write the page, or evaluate what was saved from it."""
    if saved:
        judged = judge_choices([read_choices(path) for path in saved])
        print_json(asdict(judged)) if json else print(_told(judged))
        return
    runs = [Run(path) for path in paths]
    judging = _of_two(runs, rows, seed) if len(runs) > 1 else _of_one(runs[0], rows, seed)
    write_judging(judging, out, language=language, reference=reference)
    if json:
        print_json({"page": out, "pairs": len(judging.pairs), "identical": judging.identical})
        return
    print(f"{out}: {len(judging.pairs)} pairs to judge; on {judging.identical} rows both answer the same")
    print("open it in a browser, judge, save the choices, then: kamerton judge --evaluate choices.json")


def _of_two(runs: Sequence[Run], rows: int, seed: int) -> Judging:
    examples = same_rows(runs)
    first, second = (replace(in_order(tuned_answers(one), examples), name=str(one.path)) for one in runs)
    return blind_pairs(first, second, examples, rows=rows, seed=seed)


def _of_one(run: Run, rows: int, seed: int) -> Judging:
    """Set a run's tuned model against the contender that its verdict is about."""
    rival = read_outcome(run).verdict.against
    other = next(answers for answers in run.read_answers() if answers.name == rival)
    return blind_pairs(tuned_answers(run), other, run.read_split().test, rows=rows, seed=seed)


def _told(judged: Judged) -> str:
    first, second = safe_text(judged.first), safe_text(judged.second)
    judges = f" by {judged.judges} judges" if judged.judges > 1 else ""
    side = "the judges favour a side" if judged.position_p < BIASED else "no sign of favouring a side"
    lines = [
        f"{judged.rows} rows{judges}: {judged.wins} for {first}, {judged.losses} for {second}, {judged.ties} ties; "
        f"on {judged.identical} more both answer the same",
        f"{first} is preferred in {_range(judged.preferred)} of the rows that are no ties",
        f"difference {signed(judged.difference.value)} of all judged rows, "
        f"95% interval {signed(judged.difference.low)} to {signed(judged.difference.high)}",
        f"sign test p {probability(judged.p_value)}; where judging stopped at will, p {probability(judged.anytime_p)}",
        f"left was chosen in {_range(judged.left)} of the choices, p {probability(judged.position_p)}: {side}",
    ]
    if judged.agreement is not None:
        kappa = "" if judged.kappa is None else f", Cohen's kappa {judged.kappa:.2f}"
        lines.append(f"two judges agree on {percent(judged.agreement)} of the rows{kappa}")
    return "\n".join(lines)


def _range(share: Measure) -> str:
    return f"{percent(share.value)} ({percent(share.low)} to {percent(share.high)})"
