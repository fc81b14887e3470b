"""What `kamerton dial` does."""

from pathlib import Path

from kamerton.cli.actions.tune import tell
from kamerton.cli.output import open_run, print_json
from kamerton.core.message_json import to_json
from kamerton.core.messages import msg
from kamerton.core.outcomes import Attempt
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.pipeline.remedies import STRENGTH, dialled_run, turn_dial
from kamerton.runs.run import require_free
from kamerton.session.engines import saved_engine
from kamerton.session.setup import open_setup


def run(
    path: Path, out: Path | None, strength: float | None, device: str | None, json: bool, language: Language
) -> None:
    """Measure the strengths, print which one is chosen, and make a run of it if asked."""
    tuned = open_run(path, device)
    tuned.require_model()
    if out is not None:
        require_free(out)
    setup = open_setup(tuned)
    engine = saved_engine(tuned, setup)
    attempts = turn_dial(setup, engine, strength)
    if out is not None:
        tell(dialled_run(tuned, setup, engine, attempts, out), json, language)
    elif json:
        print_json([to_json(attempt) for attempt in attempts])
    else:
        for attempt in attempts:
            print(_line(attempt, voice(language)))


def _line(attempt: Attempt, voice: Voice) -> str:
    """Write one strength: what it gains, and what it forgets."""
    digits = voice.symbols.localize
    forgot = msg("nothing measured")
    if one := attempt.forgotten:
        change, low, high = (digits(f"{value:+.3f}") for value in (one.change, one.low, one.high))
        forgot = msg("{measure} {change} ({low} to {high})", measure=one.name, change=change, low=low, high=high)
    strength = digits(f"{float(str(attempt.changes.get(STRENGTH, 1))):<5g}")
    gain, decision = digits(f"{attempt.gain:+.4f}"), voice.translate(attempt.decision)
    rule = "strength {strength} gain {gain}   {forgotten}: {decision}"
    said = voice.render(msg(rule, strength=strength, gain=gain, forgotten=forgot, decision=decision))
    return f"{said}   {voice.translate('← chosen')}" if attempt.chosen else said
