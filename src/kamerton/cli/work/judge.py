"""What `kamerton judge` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kamerton.cli.output import print_json, require_page
from kamerton.core.figures import percent, probability, signed
from kamerton.core.message_json import to_json
from kamerton.core.outcomes import Judging, Measure
from kamerton.evaluate.compare import in_order, same_rows, tuned_answers
from kamerton.feedback.judging import Judged, blind_pairs, judge_choices, read_choices
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.report.judging import write_judging
from kamerton.report.outcome import read_outcome
from kamerton.runs.run import Run
from kamerton.text.safe import safe_text

BIASED = 0.05
"""p-value of the position test below which judges are said to favour a side."""
FAVOURED, NOT_FAVOURED = "the judges favour a side", "no sign of favouring a side"
BY_ONE = (
    "{rows} {rows:row|rows}: {wins} for {first}, {losses} for {second}, {ties} {ties:tie|ties}; "
    "on {identical} more both answer the same"
)
BY_SEVERAL = (
    "{rows} {rows:row|rows} by {judges} judges: {wins} for {first}, {losses} for {second}, {ties} {ties:tie|ties}; "
    "on {identical} more both answer the same"
)
FOUND = (
    "{first} is preferred in {preferred} of the rows that are no ties",
    "difference {difference} of all judged rows, 95% interval {low} to {high}",
    "sign test p {p}; where judging stopped at will, p {anytime}",
    "left was chosen in {left} of the choices, p {chance}: {side}",
)


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
    if saved:
        judged = judge_choices([read_choices(path) for path in saved])
        print_json(to_json(judged)) if json else print(_told(judged, voice(language)))
        return
    runs = [Run(path) for path in paths]
    judging = _of_two(runs, rows, seed) if len(runs) > 1 else _of_one(runs[0], rows, seed)
    write_judging(judging, out, language=language, reference=reference)
    if json:
        print_json({"page": out, "pairs": len(judging.pairs), "identical": judging.identical})
        return
    counts = {"pairs": len(judging.pairs), "identical": judging.identical}
    told = "{pairs} {pairs:pair|pairs} to judge; on {identical} {identical:row|rows} both answer the same"
    print(f"{out}: {voice(language).say(told, counts)}")
    after = voice(language).text("open it in a browser, judge, save the choices, then:")
    print(f"{after} kamerton judge --evaluate choices.json")


def _of_two(runs: Sequence[Run], rows: int, seed: int) -> Judging:
    examples = same_rows(runs)
    first, second = (replace(in_order(tuned_answers(one), examples), name=str(one.path)) for one in runs)
    return blind_pairs(first, second, examples, rows=rows, seed=seed)


def _of_one(run: Run, rows: int, seed: int) -> Judging:
    """Set a run's tuned model against the contender that its verdict is about."""
    rival = read_outcome(run).verdict.against
    other = next(answers for answers in run.read_answers() if answers.name == rival)
    return blind_pairs(tuned_answers(run), other, run.read_split().test, rows=rows, seed=seed)


def _told(judged: Judged, voice: Voice) -> str:
    say, figure = voice.say, voice.figure
    counts: dict[str, object] = {
        "rows": judged.rows,
        "judges": judged.judges,
        "wins": judged.wins,
        "losses": judged.losses,
        "ties": judged.ties,
        "identical": judged.identical,
        "first": safe_text(judged.first),
        "second": safe_text(judged.second),
        "preferred": _range(judged.preferred, voice),
        "difference": figure(signed(judged.difference.value)),
        "low": figure(signed(judged.difference.low)),
        "high": figure(signed(judged.difference.high)),
        "p": figure(probability(judged.p_value)),
        "anytime": figure(probability(judged.anytime_p)),
        "left": _range(judged.left, voice),
        "chance": figure(probability(judged.position_p)),
        "side": voice.text(FAVOURED if judged.position_p < BIASED else NOT_FAVOURED),
    }
    lines = [say(line, counts) for line in (BY_SEVERAL if judged.judges > 1 else BY_ONE, *FOUND)]
    if judged.agreement is not None:
        kappa = ""
        if judged.kappa is not None:
            kappa = say("; Cohen's kappa {kappa}", {"kappa": figure(f"{judged.kappa:.2f}")})
        agreed = {"share": figure(percent(judged.agreement))}
        lines.append(say("two judges agree on {share} of the rows", agreed) + kappa)
    return "\n".join(lines)


def _range(share: Measure, voice: Voice) -> str:
    value, low, high = (voice.figure(percent(one)) for one in (share.value, share.low, share.high))
    return f"{value} ({voice.interval(low, high)})"
