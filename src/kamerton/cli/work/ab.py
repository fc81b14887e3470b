"""What `kamerton ab` does."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from kamerton.cli.output import print_json
from kamerton.core.figures import number, percent, probability, signed
from kamerton.core.message_json import to_json
from kamerton.feedback.living import LivingVerdict, judge_log
from kamerton.feedback.simulate import Simulated, simulate
from kamerton.text.safe import safe_text

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
) -> bool:
    """Judge a log, or simulate some; say whether what was demanded is met."""
    if log is None:
        _simulate(looks or 1, disagreement, trials, confidence, json)
        return True
    verdict = judge_log(log, first=first, margin=margin, confidence=confidence)
    if json:
        print_json(to_json(verdict))
    else:
        print(_told(verdict, confidence, margin))
    if require == "ship":
        return verdict.decision == "first is better"
    return require is None or verdict.standing in ("better", "equivalent", "not worse")


def _told(verdict: LivingVerdict, confidence: float, margin: float) -> str:
    first, second = safe_text(verdict.first), safe_text(verdict.second)
    decided = {
        "first is better": f"{first} is better than {second}",
        "second is better": f"{second} is better than {first}",
        "not decided": f"not decided between {first} and {second}",
    }[verdict.decision]
    at = f", since pair {verdict.decided_at:,}" if verdict.decided_at else "; go on, or stop: both are allowed"
    beside = {
        "equivalent": f"equal within {number(margin)}",
        "not worse": f"{first} is not worse by more than {number(margin)}",
    }.get(verdict.standing, "")
    lines = [
        f"{decided}{at}",
        f"{verdict.outcomes:,} outcomes, {verdict.pairs:,} differences: {verdict.wins:,} for {first}, "
        f"{verdict.losses:,} for {second}, {verdict.ties:,} ties",
        f"difference {signed(verdict.difference)}; {percent(confidence)} interval, valid at every look: "
        f"{signed(verdict.low)} to {signed(verdict.high)}",
        f"e-value {number(verdict.e_value)}, which decides once it has reached {1 / (1 - confidence):.4g}; "
        f"anytime p {probability(verdict.p_value)}",
        beside,
    ]
    return "\n".join(line for line in lines if line)


def _simulate(looks: int, disagreement: float, trials: int, confidence: float, json: bool) -> None:
    settings = {"disagreement": disagreement, "confidence": confidence}
    found = [
        simulate(
            share * disagreement,
            disagreement=disagreement,
            looks=looks,
            trials=trials,
            confidence=confidence,
            seed=0,
        )
        for share in PLANTED
    ]
    if json:
        print_json({"looks": looks, "trials": trials, **settings, "simulated": [to_json(one) for one in found]})
        return
    console = Console()
    console.print(
        f"{trials:,} simulated logs of {looks:,} outcomes, {percent(disagreement)} of them no ties, "
        "looked at after every one\n",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_table(found))
    console.print(
        "\nWhere the difference is 0, each one found is a false alarm: "
        f"{percent(1 - confidence)} are allowed. A fixed test may be looked at once, when the log is complete; "
        "looked at after every outcome it finds too much.",
        highlight=False,
        soft_wrap=True,
    )


def _table(found: list[Simulated]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("true difference", "found", "half of them by", "a fixed test at the end", "peeked at"):
        table.add_column(title, justify="right")
    for one in found:
        by = "–" if one.median_look is None else f"{one.median_look:,}"
        table.add_row(
            signed(one.difference), percent(one.found), by, percent(one.found_fixed), percent(one.found_peeking)
        )
    return table
