"""What `kamerton curve` does."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kamerton.cli.output import open_console, print_json, require_page
from kamerton.core.addresses import written_out
from kamerton.core.figures import Figure
from kamerton.core.message_json import to_json
from kamerton.core.messages import msg
from kamerton.core.outcomes import Curve, Reach
from kamerton.core.pieces import choose_workers
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.planning.learning_curve import draw_curve
from kamerton.report.curve import advice, gain_sentence, write_curve
from kamerton.report.terminal import Screen
from kamerton.runs.recipe import parse_assignment, resolve
from kamerton.session.new_run import RUNS


def run(
    data: Path,
    target: int | None,
    out: Path | None,
    flags: Mapping[str, object],
    assignments: Sequence[str],
    on: str | None,
    cores: int,
    json: bool,
    language: Language,
) -> None:
    """Draw the learning curve of a data file: print it, and write its page."""
    require_page(out)
    recipe = resolve(None, {"data.path": written_out(data), **flags, **dict(map(parse_assignment, assignments))})
    with Screen(open_console(stderr=True), voice(language)) as screen, choose_workers(on, cores) as workers:
        for item in draw_curve(recipe, target, workers):
            if isinstance(item, Curve):
                page = write_curve(item, out or RUNS / f"{data.stem}-curve.html", language)
                if json:
                    print_json({**to_json(item), "page": page})
                else:
                    _print(item, voice(language))
                    print(f"\n{page}")
            else:
                screen.show(item)


def _print(curve: Curve, voice: Voice) -> None:
    growth, counted = curve.growth, voice.translate("training rows")
    print(voice.render(msg("{task}, a head on the features of {model}", task=curve.task, model=curve.model)) + "\n")
    print(f"{counted}  {growth.metric}")
    for reach in growth.measured:
        print(_line(reach, voice, len(counted)))
    for reach in (growth.now, growth.target):
        print(f"{_line(reach, voice, len(counted))}, {voice.translate('estimated')}")
    print(f"\n{voice.render(gain_sentence(growth))}. {voice.render(advice(growth))}")


def _line(reach: Reach, voice: Voice, width: int) -> str:
    ends = voice.interval(reach.score.low, reach.score.high)
    return f"{voice.write(reach.rows):>{width}}  {voice.write(Figure(reach.score.value))} ({ends})"
