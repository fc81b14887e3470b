"""Blind judging: its page, one self-contained file without network requests, and what choices and outcomes show."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from kamerton.core.figures import Figure
from kamerton.core.messages import Message, msg
from kamerton.core.outcomes import Judged, Judging, LivingVerdict, Measure
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.report.html import write_page
from kamerton.report.outcome import named
from kamerton.text.safe import safe_text

BIASED = 0.05
"""p-value of the position test below which judges are said to favor a side."""
WORDS = {
    "title": msg("Which answer is better?"),
    "how": msg("The sides are random. Keys: 1 or ← left, 2 or → right, 0 or ↓ equal, Backspace goes back."),
    "request": msg("Request"),
    "reference": msg("Right answer"),
    "left": msg("Left"),
    "right": msg("Right"),
    "tie": msg("Equal"),
    "back": msg("Back"),
    "save": msg("Save the choices"),
    "of": msg("of"),
    "done": msg("All pairs are judged. Save the choices, and evaluate the file with kamerton judge --evaluate."),
    "unsaved": msg("Choices are kept in this browser; save them as a file when you are done, or before."),
}
"""The page's own texts."""


def write_judging(judging: Judging, path: Path, *, language: Language, reference: bool) -> Path:
    """Write the page, which shows the right answers if `reference` is true, and return its path."""
    about = asdict(judging)
    pairs = [
        {name: safe_text(text) if isinstance(text, str) else text for name, text in pair.items()}
        | ({} if reference else {"reference": ""})
        for pair in about.pop("pairs")
    ]
    words = {name: voice(language).render(text) for name, text in WORDS.items()}
    data = {"about": {"schema": 1, **about}, "pairs": pairs, "words": words}
    return write_page(path, "judging.html.j2", {"words": words, "data": data}, language)


def judged_lines(judged: Judged) -> Iterator[Message]:
    """Yield what the judges' choices show, a sentence each."""
    first, second = (named(safe_text(name)) for name in (judged.first, judged.second))
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


def log_lines(verdict: LivingVerdict, confidence: float, margin: float) -> Iterator[Message]:
    """Yield what a log of outcomes shows, a sentence each.

    Args:
        verdict: on the log.
        confidence: of its decision and interval.
        margin: how much worse still counts as not worse.
    """
    first, second = safe_text(verdict.first), safe_text(verdict.second)
    if verdict.decided_at is None:
        undecided = "not decided between {first} and {second}; go on, or stop: both are allowed"
        yield msg(undecided, first=first, second=second)
    else:
        better, other = (first, second) if verdict.decision == "first is better" else (second, first)
        decided = "{better} is better than {other}, since pair {pair}"
        yield msg(decided, better=better, other=other, pair=verdict.decided_at)
    yield Message(
        "{outcomes} outcomes, {pairs} differences: {wins} for {first}, {losses} for {second}, {ties} {ties:tie|ties}",
        {**vars(verdict), "first": first, "second": second},
    )
    difference, low, high = (Figure(one, "signed") for one in (verdict.difference, verdict.low, verdict.high))
    rule = "difference {difference}; {confidence} interval, valid at every look: {low} to {high}"
    yield msg(rule, difference=difference, confidence=Figure(confidence, "percent"), low=low, high=high)
    yield msg(
        "e-value {e_value}, which decides once it has reached {limit}; anytime p {p}",
        e_value=Figure(verdict.e_value),
        limit=Figure(1 / (1 - confidence)),
        p=Figure(verdict.p_value, "probability"),
    )
    if verdict.standing == "equivalent":
        yield msg("equal within {margin}", margin=Figure(margin))
    elif verdict.standing == "not worse":
        yield msg("{first} is not worse by more than {margin}", first=first, margin=Figure(margin))
