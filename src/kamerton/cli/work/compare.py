"""What `kamerton compare` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kamerton.cli.output import print_json
from kamerton.evaluate.compare import Pairs, compare_as_first
from kamerton.outcomes import ComparedRuns, RunPair
from kamerton.report.text import number, percent, probability, safe_text, signed
from kamerton.run import Run


def run(
    paths: Sequence[Path], metric: str | None, pairs: Pairs, detect: float | None, require: str | None, json: bool
) -> bool:
    """Compare runs; say whether the first one is to each other what was demanded."""
    compared = compare_as_first([Run(path) for path in paths], metric=metric, pairs=pairs, detect=detect)
    if json:
        print_json(asdict(compared))
    else:
        _print(compared, detect)
    return all(_meets(one, require, compared.confidence) for one in compared.pairs)


def _meets(one: RunPair, require: str | None, confidence: float) -> bool:
    """Say whether a pair is what was demanded. All of them must be, so none needs Holm's correction."""
    if require == "ship":
        return one.standing == "better" and one.comparison.p_value < 1 - confidence
    return require is None or one.standing in ("better", "equivalent", "not worse")


def _print(compared: ComparedRuns, detect: float | None) -> None:
    console = Console()
    better = "more" if compared.higher_is_better else "less"
    console.print(f"{compared.metric} on {compared.rows:,} test rows; {better} is better\n", highlight=False)
    console.print(_scores(compared))
    console.print()
    console.print(_pairs(compared, detect))
    claims = "p by Holm over all pairs; " if len(compared.pairs) > 1 else ""
    note = f"{claims}'can show' is the smallest difference that these rows show in 80 of 100 test sets."
    console.print(Text(f"\n{note}", "dim"), soft_wrap=True)


def _scores(compared: ComparedRuns) -> Table:
    table = _table("run", ">score", f"{percent(compared.confidence)} interval")
    for one in compared.scores:
        measure = one.measure
        table.add_row(safe_text(one.run), number(measure.value), f"{number(measure.low)} to {number(measure.high)}")
    return table


def _pairs(compared: ComparedRuns, detect: float | None) -> Table:
    needed = "rows to show it" if detect is None else f"rows to show {number(abs(detect))}"
    table = _table("run", "than", ">better by", f"{percent(compared.confidence)} interval", ">p", "so it is",
                   ">can show", f">{needed}")  # fmt: skip
    for one in compared.pairs:
        found = one.comparison
        table.add_row(
            safe_text(one.first),
            safe_text(one.second),
            signed(found.difference),
            f"{signed(found.low)} to {signed(found.high)}",
            probability(one.adjusted_p),
            "not told apart" if one.standing == "unclear" else one.standing,
            number(found.minimum_detectable),
            "–" if one.rows_needed is None else f"{one.rows_needed:,}",
        )
    return table


def _table(*titles: str) -> Table:
    """Make a plain table; a title that begins with > stands over figures."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in titles:
        right = title.startswith(">")
        table.add_column(Text(title.removeprefix(">")), justify="right" if right else "left", overflow="fold")
    return table
