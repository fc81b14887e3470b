"""What `kamerton dial` does."""

from __future__ import annotations

from pathlib import Path

from kamerton.cli.output import print_json
from kamerton.cli.telling import tell
from kamerton.core.message_json import to_json
from kamerton.core.messages import Message, msg
from kamerton.core.outcomes import Attempt
from kamerton.i18n.language import Language
from kamerton.i18n.voice import ENGLISH, Voice, voice
from kamerton.pipeline.remedies import STRENGTH, dialled_run, turn_dial
from kamerton.runs.run import Run, require_free
from kamerton.session.engines import saved_engine
from kamerton.session.setup import open_setup
from kamerton.tune import story


def run(path: Path, out: Path | None, strength: float | None, json: bool, language: Language) -> None:
    """Measure the strengths, print which one is chosen, and make a run of it if asked."""
    tuned = Run(path)
    if out is not None:
        require_free(out)
    setup = open_setup(tuned)
    engine = saved_engine(tuned, setup)
    attempts = turn_dial(setup, engine, strength)
    if out is not None:
        again = dialled_run(tuned, setup, engine, attempts, out)
        tell(again, story(again), json, language)
    elif json:
        print_json([to_json(attempt) for attempt in attempts])
    else:
        for attempt in attempts:
            print(line(attempt, voice(language)))


def line(attempt: Attempt, voice: Voice = ENGLISH) -> str:
    """Write one strength: what it gains, and what it forgets."""
    digits = voice.symbols.localize
    forgot = msg("nothing measured")
    if change := attempt.forgotten:
        forgot = msg(
            "{measure} {change} ({low} to {high})",
            measure=change.name,
            change=digits(f"{change.change:+.3f}"),
            low=digits(f"{change.low:+.3f}"),
            high=digits(f"{change.high:+.3f}"),
        )
    said: Message = msg(
        "strength {strength} gain {gain}   {forgotten}: {decision}",
        strength=digits(f"{float(str(attempt.changes.get(STRENGTH, 1))):<5g}"),
        gain=digits(f"{attempt.gain:+.4f}"),
        forgotten=forgot,
        decision=voice.translate(attempt.decision),
    )
    return f"{voice.render(said)}   {voice.translate('← chosen')}" if attempt.chosen else voice.render(said)
