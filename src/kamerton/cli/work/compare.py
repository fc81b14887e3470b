"""What `kamerton compare` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kamerton.cli.output import print_json
from kamerton.core.figures import number, percent, probability, signed
from kamerton.core.message_json import to_json
from kamerton.core.outcomes import ComparedRuns, RunPair
from kamerton.evaluate.compare import Pairs, compare_as_first
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.runs.run import Run
from kamerton.text.safe import safe_text


def run(
    paths: Sequence[Path],
    metric: str | None,
    pairs: Pairs,
    detect: float | None,
    require: str | None,
    json: bool,
    language: Language,
) -> bool:
    """Compare runs; say whether the first one is to each other what was demanded."""
    compared = compare_as_first([Run(path) for path in paths], metric=metric, pairs=pairs, detect=detect)
    if json:
        print_json(to_json(compared))
    else:
        _print(compared, detect, voice(language))
    return all(_meets(one, require, compared.confidence) for one in compared.pairs)


def _meets(one: RunPair, require: str | None, confidence: float) -> bool:
    """Say whether a pair is what was demanded. All of them must be, so none needs Holm's correction."""
    if require == "ship":
        return one.standing == "better" and one.comparison.p_value < 1 - confidence
    return require is None or one.standing in ("better", "equivalent", "not worse")


SHOWN = "'can show' is the smallest difference that these rows show in 80 of 100 test sets."
SHOWN_OF_PAIRS = f"p by Holm over all pairs; {SHOWN}"


def _print(compared: ComparedRuns, detect: float | None, voice: Voice) -> None:
    console = Console()
    more = "{metric} on {rows} test {rows:row|rows}; more is better"
    less = "{metric} on {rows} test {rows:row|rows}; less is better"
    values = {"metric": compared.metric, "rows": compared.rows}
    console.print(voice.say(more if compared.higher_is_better else less, values) + "\n", highlight=False)
    console.print(_scores(compared, voice))
    console.print()
    console.print(_pairs(compared, detect, voice))
    note = voice.text(SHOWN_OF_PAIRS if len(compared.pairs) > 1 else SHOWN)
    console.print(Text(f"\n{note}", "dim"), soft_wrap=True)


def _scores(compared: ComparedRuns, voice: Voice) -> Table:
    figure = voice.figure
    table = _table(voice, "run", ">score", _interval(compared, voice))
    for one in compared.scores:
        measure = one.measure
        ends = voice.interval(figure(number(measure.low)), figure(number(measure.high)))
        table.add_row(safe_text(one.run), figure(number(measure.value)), ends)
    return table


def _pairs(compared: ComparedRuns, detect: float | None, voice: Voice) -> Table:
    figure = voice.figure
    size = "" if detect is None else figure(number(abs(detect)))
    needed = voice.say("rows to show {size}", {"size": size}) if size else "rows to show it"
    table = _table(voice, "run", "than", ">better by", _interval(compared, voice), ">p", "so it is",
                   ">can show", f">{needed}")  # fmt: skip
    for one in compared.pairs:
        found = one.comparison
        table.add_row(
            safe_text(one.first),
            safe_text(one.second),
            figure(signed(found.difference)),
            voice.interval(figure(signed(found.low)), figure(signed(found.high))),
            figure(probability(one.adjusted_p)),
            voice.text("not told apart" if one.standing == "unclear" else one.standing),
            figure(number(found.minimum_detectable)),
            "–" if one.rows_needed is None else figure(f"{one.rows_needed:,}"),
        )
    return table


def _interval(compared: ComparedRuns, voice: Voice) -> str:
    return voice.say("{confidence} interval", {"confidence": voice.figure(percent(compared.confidence))})


def _table(voice: Voice, *titles: str) -> Table:
    """Make a plain table; a title that begins with > stands over figures."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in titles:
        right = title.startswith(">")
        named = voice.text(title.removeprefix(">"))
        table.add_column(Text(named), justify="right" if right else "left", overflow="fold")
    return table
