"""How little can be proven with few rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kamerton.core.contracts import AnswerKind, AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._wording import count
from kamerton.statistics.intervals import wilson_interval
from kamerton.statistics.power import FEWEST, detectable_share

ENOUGH, FEW, VERY_FEW = 1000, 100, 30
"""Test rows. From 1,000 on an accuracy of 80% is known to within 2.5 points; of 100 to 8; of 30 to 14."""
TYPICAL = 0.8


@dataclass(frozen=True)
class UsualRows:
    """How many rows a kind of job is usually tuned on."""

    least: int
    most: int
    enough: int
    """What can be enough where the job is simple and few weights are trained."""


LABELLED, QUESTIONS, WRITTEN = (
    UsualRows(5_000, 50_000, enough=500),
    UsualRows(10_000, 100_000, enough=1_000),
    UsualRows(1_000, 20_000, enough=1_000),
)
USUAL: dict[AnswerKind, UsualRows] = {
    **dict.fromkeys(("class", "classes", "number", "tags"), LABELLED),
    "span": QUESTIONS,
    **dict.fromkeys(("text", "likelihood"), WRITTEN),
}
"""By what the answers are: of labels, of answers found in a text, of instructions."""
DISAGREEMENT = 0.2
"""Share of the rows on which just one of two contenders is right, taken as an example of two that are not alike."""


class SmallData:
    """Say what the expected test rows can prove: how exact a score, and how small a difference.

    The interval is Wilson's (1927) at 95%; the difference is what McNemar's test shows with 80% power at
    the 5% level (Connor, Biometrics 1987).
    """

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Work it out from the number of rows and the share that is tested on."""
        tested = round(len(examples) * context.test_share) if context.tested is None else context.tested
        usual = usual_rows(context)
        few = usual is not None and len(examples) < usual.least
        if tested >= ENOUGH and not few:
            return None
        parts = [_proves(tested, context.share_metric)] if tested < ENOUGH else []
        if usual and few:
            parts.append(
                f"jobs like this usually take {usual.least:,} to {usual.most:,} rows, these are {len(examples):,}"
            )
        return Finding(
            check="small-data",
            severity=_severity(tested, usual is not None and len(examples) < usual.enough),
            title="; ".join(parts),
            remedy=_remedy(tested, context, usual),
        )


def _proves(tested: int, metric: str) -> str:
    """Say what so many test rows can show."""
    smallest = detectable_share(DISAGREEMENT, tested) if tested else 1.0
    if tested < FEWEST:
        limits = "nothing can be proven"
    elif smallest >= 1:
        limits = "only a difference on nearly every row would show"
    elif metric:
        interval = wilson_interval(TYPICAL * tested, tested, 0.95)
        limits = (
            f"{metric} of {TYPICAL:.0%} would be known to within {(interval.high - interval.low) / 2:.0%}, "
            f"and a difference below {smallest:.0%} would hardly show"
        )
    else:
        limits = f"only {'large' if tested < FEW else 'clear'} differences would show"
    return f"with {count(tested, 'test row')}, {limits}"


def _severity(tested: int, too_few: bool) -> Literal["severe", "warning", "note"]:
    if tested < VERY_FEW:
        return "severe"
    return "warning" if tested < FEW or too_few else "note"


def usual_rows(context: AuditContext) -> UsualRows | None:
    """Say how many rows jobs of this kind usually take, where the kind is known."""
    return USUAL[context.answers] if context.answers else None


def _remedy(tested: int, context: AuditContext, usual: UsualRows | None) -> str:
    halved = context.share_metric and ENOUGH > tested > 0 and detectable_share(DISAGREEMENT, tested) < 1
    more = "four times the rows halve both" if halved else "collect more rows"
    remedy = f"{more}; the share of the test rows is {context.test_share:.0%} (`--set split.test=...`)"
    enough = f"; {usual.enough:,} can be enough where the job is simple and few weights are trained" if usual else ""
    return remedy + enough
