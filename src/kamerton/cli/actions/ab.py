"""What `kamerton ab` does."""

from pathlib import Path

from rich.table import Table

from kamerton.cli.output import open_console, print_json
from kamerton.core.figures import Figure
from kamerton.core.message_json import to_json
from kamerton.core.messages import msg
from kamerton.feedback.living import judge_log
from kamerton.feedback.simulate import Simulated, simulate
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.report.judging import log_lines

PLANTED = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8)
"""True differences that are simulated, as shares of the disagreement: none, and up to nearly all."""


def run(
    log: Path | None,
    first: str | None,
    margin: float,
    confidence: float,
    looks: int | None,
    disagreement: float,
    trials: int,
    require: str | None,
    json: bool,
    language: Language,
) -> bool:
    """Judge a log, or simulate some; return whether the demand is met."""
    speaker = voice(language)
    if log is None:
        _simulate(looks or 1, disagreement, trials, confidence, json, speaker)
        return True
    verdict = judge_log(log, first=first, margin=margin, confidence=confidence)
    if json:
        print_json(to_json(verdict))
    else:
        print("\n".join(map(speaker.render, log_lines(verdict, confidence, margin))))
    if require == "ship":
        return verdict.decision == "first is better"
    return require is None or verdict.standing in ("better", "equivalent", "not worse")


def _simulate(looks: int, disagreement: float, trials: int, confidence: float, json: bool, voice: Voice) -> None:
    settings = {"disagreement": disagreement, "confidence": confidence}
    found = [simulate(share * disagreement, looks=looks, trials=trials, seed=0, **settings) for share in PLANTED]
    if json:
        print_json({"looks": looks, "trials": trials, **settings, "simulated": [to_json(one) for one in found]})
        return
    console = open_console()
    rule = "{trials} simulated logs of {looks} outcomes, {disagreement} of them no ties, looked at after every one"
    about = msg(rule, trials=trials, looks=looks, disagreement=Figure(disagreement, "percent"))
    allowed = msg(
        "Where the difference is 0, each one found is a false alarm: {allowed} are allowed. A fixed test may be looked "
        "at once, when the log is complete; looked at after every outcome it finds too much.",
        allowed=Figure(1 - confidence, "percent"),
    )
    console.print(f"{voice.render(about)}\n", highlight=False, soft_wrap=True)
    console.print(_table(found, voice))
    console.print(f"\n{voice.render(allowed)}", highlight=False, soft_wrap=True)


def _table(found: list[Simulated], voice: Voice) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    titles = (
        msg("true difference"),
        msg("found"),
        msg("half of them by"),
        msg("a fixed test at the end"),
        msg("peeked at"),
    )
    for title in titles:
        table.add_column(voice.render(title), justify="right")
    for one in found:
        by = "–" if one.median_look is None else voice.write(one.median_look)
        shares = (Figure(share, "percent") for share in (one.found, one.found_fixed, one.found_peeking))
        power, fixed, peeking = map(voice.write, shares)
        table.add_row(voice.write(Figure(one.difference, "signed")), power, by, fixed, peeking)
    return table
