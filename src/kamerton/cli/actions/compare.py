"""What `kamerton compare` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from kamerton.cli.output import open_console, print_json
from kamerton.core.figures import Figure
from kamerton.core.message_json import to_json
from kamerton.core.messages import Message, msg
from kamerton.core.outcomes import ComparedRuns, RunPair
from kamerton.evaluate.compare import Pairs, compare_as_first
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.runs.run import Run
from kamerton.text.safe import safe_text

Justify = Literal["left", "right"]


def run(
    paths: Sequence[Path],
    metric: str | None,
    pairs: Pairs,
    detect: float | None,
    require: str | None,
    json: bool,
    language: Language,
) -> bool:
    """Compare runs; return whether the first one meets the demand against each other."""
    compared = compare_as_first([Run(path) for path in paths], metric=metric, pairs=pairs, detect=detect)
    if json:
        print_json(to_json(compared))
    else:
        _print(compared, detect, voice(language))
    return all(_meets(one, require, compared.confidence) for one in compared.pairs)


def _meets(one: RunPair, require: str | None, confidence: float) -> bool:
    """Return whether a pair meets the demand. All of them must, so none needs Holm's correction."""
    if require == "ship":
        return one.standing == "better" and one.comparison.p_value < 1 - confidence
    return require is None or one.standing in ("better", "equivalent", "not worse")


def _print(compared: ComparedRuns, detect: float | None, voice: Voice) -> None:
    console = open_console()
    name, rows = compared.metric, compared.rows
    more = msg("{metric} on {rows} test {rows:row|rows}; more is better", metric=name, rows=rows)
    less = msg("{metric} on {rows} test {rows:row|rows}; less is better", metric=name, rows=rows)
    console.print(voice.render(more if compared.higher_is_better else less) + "\n", highlight=False)
    console.print(_scores(compared, voice))
    console.print()
    console.print(_pairs(compared, detect, voice))
    note = voice.translate(
        "'detectable from' is the smallest difference that so many rows detect in 80 of 100 test sets."
    )
    if len(compared.pairs) > 1:
        note = f"{voice.translate('p is corrected by Holm over all pairs.')} {note}"
    console.print(Text(f"\n{note}", "dim"), soft_wrap=True)


def _scores(compared: ComparedRuns, voice: Voice) -> Table:
    interval = _interval(compared)
    table = _table(voice, (msg("no."), "left"), (msg("run"), "left"), (msg("score"), "right"), (interval, "left"))
    for number, one in enumerate(compared.scores, 1):
        measure = one.measure
        value, whisker = voice.write(Figure(measure.value)), voice.interval(measure.low, measure.high)
        table.add_row(str(number), safe_text(one.run), value, whisker)
    return table


def _pairs(compared: ComparedRuns, detect: float | None, voice: Voice) -> Table:
    """Return a table of the pairs, by the runs' numbers: paths are too long for two columns more."""
    numbers = {one.run: str(number) for number, one in enumerate(compared.scores, 1)}
    needed = msg("rows to show it") if detect is None else msg("rows to show {size}", size=Figure(abs(detect)))
    table = _table(
        voice,
        (msg("run"), "left"),
        (msg("than"), "left"),
        (msg("better by"), "right"),
        (_interval(compared), "left"),
        (msg("p"), "right"),
        (msg("outcome"), "left"),
        (msg("detectable from"), "right"),
        (needed, "right"),
    )
    for one in compared.pairs:
        found = one.comparison
        table.add_row(
            numbers[one.first],
            numbers[one.second],
            voice.write(Figure(found.difference, "signed")),
            voice.interval(found.low, found.high, "signed"),
            voice.write(Figure(one.adjusted_p, "probability")),
            voice.translate("not told apart" if one.standing == "unclear" else one.standing),
            voice.write(Figure(found.minimum_detectable)),
            "–" if one.rows_needed is None else voice.write(one.rows_needed),
        )
    return table


def _interval(compared: ComparedRuns) -> Message:
    return msg("{confidence} interval", confidence=Figure(compared.confidence, "percent"))


def _table(voice: Voice, *columns: tuple[Message, Justify]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title, justify in columns:
        table.add_column(Text(voice.render(title)), justify=justify, overflow="fold")
    return table
