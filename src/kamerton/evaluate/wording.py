"""The verdict's reason, as one sentence for someone who decides and does not compute."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kamerton.contracts import Metric
from kamerton.outcomes import Comparison, Contender, Seeds, Standing
from kamerton.statistics.power import rows_needed
from kamerton.statistics.resampling import NOTHING


@dataclass(frozen=True)
class Found:
    """What was found, for wording."""

    metric: str
    measure: Metric
    tuned: Contender
    rival: Contender
    """The best other contender."""
    hardest: Contender
    """The one that is beaten least surely."""
    gain: Comparison
    rows: int
    confidence: float
    standing: Standing
    margin: float
    seeds: Seeds | None


def reason(found: Found, decision: str) -> str:
    """Say what was found and what follows from it."""
    tuned, other = (one.metrics[found.metric].value for one in (found.tuned, found.rival))
    scores = f"{_scores(found, tuned)} against {_value(found, other)} for {found.rival.name}"
    parts = [f"{_difference(found)} ({_interval(found)})", _over_seeds(found), _beside_margin(found)]
    said = ", ".join(part for part in parts if part)
    return f"On {found.rows:,} test rows the tuned model {scores}: {said}, {_advice(found, decision)}."


def _advice(found: Found, decision: str) -> str:
    if decision == "ship":
        return "so use it"
    if decision == "do not ship":
        return f"so keep {found.rival.name}"
    if found.seeds and found.gain.low > 0:
        return "which trainings with other seeds do not confirm: it takes more seeds, or more rows, to tell"
    shown = _amount(found, found.gain.minimum_detectable)
    return f"which is not proven: this many rows show a difference of {shown} or more, {_needed(found)}"


def _needed(found: Found) -> str:
    needed = rows_needed(found.gain, found.rows)
    if needed is None or needed <= found.rows:
        return "and a few more would settle it"
    unit = 10 ** max(0, len(str(needed)) - 2)
    rows = math.ceil(needed / unit) * unit
    return f"and proving {_amount(found, found.gain.difference)} takes about {rows:,} rows"


def _scores(found: Found, value: float) -> str:
    if found.measure.per_row_binary:
        return f"is right {_value(found, value)} of the time"
    return f"reaches {_value(found, value)} in {found.metric}"


def _difference(found: Found) -> str:
    if abs(found.gain.difference) < NOTHING:
        return "no difference"
    return f"{_amount(found, found.gain.difference)} {'better' if found.gain.difference > 0 else 'worse'}"


def _interval(found: Found) -> str:
    p = "p < 0.001" if found.gain.p_value < 0.001 else f"p = {found.gain.p_value:.2g}"
    unsure = found.gain.difference > 0 and found.hardest.name != found.rival.name
    least = f"; least sure against {found.hardest.name}" if unsure else ""
    return f"{100 * found.confidence:g}% interval {_ends(found, found.gain.low, found.gain.high)}, {p}{least}"


def _over_seeds(found: Found) -> str:
    if found.seeds is None:
        return ""
    seeds = found.seeds
    better = "better" if seeds.difference >= 0 else "worse"
    spread = f"{_amount(found, seeds.difference)} {better} ± {_amount(found, seeds.deviation)} between seeds"
    return f"over {len(seeds.scores)} seeds {spread} (interval with both {_ends(found, seeds.low, seeds.high)})"


def _beside_margin(found: Found) -> str:
    margin = _amount(found, found.margin)
    if found.standing == "equivalent":
        return f"equal within {margin}"
    return f"not worse by more than {margin}" if found.standing == "not worse" else ""


def _ends(found: Found, low: float, high: float) -> str:
    scale, digits = (100, 1) if found.measure.unit_interval else (1, 2)
    style = f".{digits}f" if low > 0 else f"+.{digits}f"
    return " to ".join(format(scale * end, style).replace("-", "−") for end in (low, high))


def _value(found: Found, value: float) -> str:
    return f"{value:.1%}" if found.measure.unit_interval else f"{value:.2f}"


def _amount(found: Found, difference: float) -> str:
    return f"{100 * abs(difference):.1f} points" if found.measure.unit_interval else f"{abs(difference):.2f}"
