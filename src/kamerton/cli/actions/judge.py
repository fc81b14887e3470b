"""What `kamerton judge` does."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kamerton.cli.output import print_json, require_page
from kamerton.core.figures import Figure
from kamerton.core.files import permitting
from kamerton.core.message_json import to_json
from kamerton.core.messages import Message, msg
from kamerton.core.outcomes import Judging, Measure
from kamerton.evaluate.compare import in_order, same_rows, tuned_answers
from kamerton.feedback.judging import Judged, blind_pairs, judge_choices, read_choices
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.report.judging import write_judging
from kamerton.report.outcome import read_outcome
from kamerton.runs.run import Run
from kamerton.text.safe import safe_text

BIASED = 0.05
"""p-value of the position test below which judges are said to favor a side."""


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
        print_json(to_json(judged)) if json else print("\n".join(map(speaker.render, _lines(judged))))
        return
    runs = [Run(path) for path in paths]
    judging = _of_two(runs, rows, seed) if len(runs) > 1 else _of_one(runs[0], rows, seed)
    with permitting(runs[0].files.mode & runs[-1].files.mode):
        write_judging(judging, out, language=language, reference=reference)
    if json:
        print_json({"page": out, "pairs": len(judging.pairs), "identical": judging.identical})
        return
    count = "{page}: {pairs} {pairs:pair|pairs} to judge; on {identical} {identical:row|rows} both answer the same"
    print(speaker.render(msg(count, page=str(out), pairs=len(judging.pairs), identical=judging.identical)))
    after = speaker.translate("open it in a browser, judge, save the choices, then:")
    print(f"{after} kamerton judge --evaluate choices.json")


def _of_two(runs: Sequence[Run], rows: int, seed: int) -> Judging:
    examples = same_rows(runs)
    first, second = (replace(in_order(tuned_answers(one), examples), name=str(one.path)) for one in runs)
    return blind_pairs(first, second, examples, rows=rows, seed=seed)


def _of_one(run: Run, rows: int, seed: int) -> Judging:
    """Pair a run's tuned model with the contender that its verdict is about."""
    best = read_outcome(run).verdict.against
    other = next(answers for answers in run.read_answers() if answers.name == best)
    return blind_pairs(tuned_answers(run), other, run.read_split().test, rows=rows, seed=seed)


def _lines(judged: Judged) -> Iterator[Message]:
    first, second = safe_text(judged.first), safe_text(judged.second)
    yield Message(
        "{rows} {rows:row|rows}, {judges} {judges:judge|judges}: {wins} for {first}, {losses} for {second}, "
        "{ties} {ties:tie|ties}; on {identical} more both answer the same",
        {**vars(judged), "first": first, "second": second},
    )
    preferred = "{first} is preferred in {preferred} of the rows that are no ties"
    yield msg(preferred, first=first, preferred=_share(judged.preferred))
    found = judged.difference
    difference, low, high = (Figure(one, "signed") for one in (found.value, found.low, found.high))
    rule = "difference {difference} of all judged rows, 95% interval {low} to {high}"
    yield msg(rule, difference=difference, low=low, high=high)
    numbers = (judged.p_value, judged.anytime_p, judged.position_p)
    p, anytime, chance = (Figure(one, "probability") for one in numbers)
    yield msg("sign test p {p}; if judging was stopped at will, p {anytime}", p=p, anytime=anytime)
    left, biased = _share(judged.left), judged.position_p < BIASED
    side = msg("the judges favor a side") if biased else msg("no sign of favoring a side")
    yield msg("left was chosen in {left} of the choices, p {chance}: {side}", left=left, chance=chance, side=side)
    if judged.agreement is not None:
        agreed = msg("two judges agree on {share} of the rows", share=Figure(judged.agreement, "percent"))
        if judged.kappa is not None:
            agreed = msg("{agreed}; Cohen's kappa {kappa}", agreed=agreed, kappa=Figure(judged.kappa, "hundredths"))
        yield agreed


def _share(share: Measure) -> Message:
    value, low, high = (Figure(one, "percent") for one in (share.value, share.low, share.high))
    return msg("{value} ({low} to {high})", value=value, low=low, high=high)
