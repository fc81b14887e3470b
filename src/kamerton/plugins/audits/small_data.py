"""How little few rows can prove."""

from dataclasses import dataclass

from kamerton.core.contracts import AnswerKind, AuditContext
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Message, msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data, Severity
from kamerton.statistics.intervals import wilson_interval
from kamerton.statistics.power import FEWEST, detectable_share

ENOUGH, FEW, VERY_FEW = 1000, 100, 30
"""Test rows. From 1,000 on an accuracy of 80% is known to within 2.5 points; of 100 to 8; of 30 to 14."""
TYPICAL = 0.8


@dataclass(frozen=True)
class UsualRows:
    """How many rows a kind of task is usually tuned on."""

    least: int
    most: int
    enough: int
    """What can be enough where the task is simple and few weights are trained."""


USUAL: dict[AnswerKind, UsualRows] = {
    **dict.fromkeys(("class", "classes", "number", "tags"), UsualRows(5_000, 50_000, enough=500)),
    "span": UsualRows(10_000, 100_000, enough=1_000),
    **dict.fromkeys(("text", "likelihood"), UsualRows(1_000, 20_000, enough=1_000)),
}
"""By kind of answers: labels, answers found in a text, written answers."""
DISAGREEMENT = 0.2
"""Assumed share of the rows on which exactly one of two contenders is right."""


class SmallData(Check):
    """Estimate what the test rows can prove: the precision of a score, and the smallest difference that would show.

    The interval is Wilson's (1927) at 95%; the difference is what McNemar's test shows with 80% power at
    the 5% level (Connor, Biometrics 1987).
    """

    def find(self, data: Data) -> Finding | None:
        """Compute it from the number of rows and the share that is tested on."""
        rows, context = len(data.examples), data.context
        tested = round(rows * context.test_share) if context.tested is None else context.tested
        usual = USUAL[context.answers] if context.answers else None
        parts = [_proves(tested, context.share_metric)] if tested < ENOUGH else []
        if usual and rows < usual.least:
            template = "tasks of this kind usually take {least} to {most} rows, these are {rows}"
            parts.append(msg(template, least=usual.least, most=usual.most, rows=rows))
        if not parts:
            return None
        weak = tested < FEW or (usual is not None and rows < usual.enough)
        severity: Severity = "severe" if tested < VERY_FEW else "warning" if weak else "note"
        return Finding("small-data", severity, Joined(parts), _remedy(tested, context, usual))


def _proves(tested: int, metric: str) -> Message:
    """Describe what so many test rows can show."""
    smallest = detectable_share(DISAGREEMENT, tested) if tested else 1.0
    if tested < FEWEST:
        limits = msg("nothing can be proven")
    elif smallest >= 1:
        limits = msg("only a difference on nearly every row would show")
    elif metric:
        interval = wilson_interval(TYPICAL * tested, tested, 0.95)
        limits = msg(
            "{metric} of {typical} would be known to within {half}, and a difference below {smallest} would hardly "
            "show",
            metric=metric,
            typical=_whole(TYPICAL),
            half=_whole((interval.high - interval.low) / 2),
            smallest=_whole(smallest),
        )
    elif tested < FEW:
        limits = msg("only large differences would show")
    else:
        limits = msg("only clear differences would show")
    return msg("with {tested} {tested:test row|test rows}, {limits}", tested=tested, limits=limits)


def _whole(share: float) -> Figure:
    """Round a share to whole per cent."""
    return Figure(round(share, 2), "percent")


def _remedy(tested: int, context: AuditContext, usual: UsualRows | None) -> Joined:
    halved = context.share_metric and ENOUGH > tested > 0 and detectable_share(DISAGREEMENT, tested) < 1
    parts = [
        msg("four times the rows halve both") if halved else msg("collect more rows"),
        msg("the share of the test rows is {share} (`--set split.test=...`)", share=_whole(context.test_share)),
    ]
    if usual:
        template = "{rows} can be enough where the task is simple and few weights are trained"
        parts.append(msg(template, rows=usual.enough))
    return Joined(parts)
