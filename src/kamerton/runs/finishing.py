"""A request to a run under way, from another process: end training after the present epoch, and judge.

The file names the epoch, so a training that is killed meanwhile and resumed ends at the same place. The run removes it
with the commit of the tuned model, whose recipe then says after which update training ended.
"""

import math
from contextlib import suppress
from pathlib import Path

from kamerton.core.errors import Fault, RunError
from kamerton.core.files import write_json
from kamerton.core.messages import Message, msg
from kamerton.core.readers import read_object
from kamerton.core.records import Started, Stepped, Stopped
from kamerton.runs.run import Run

REQUEST = ".finish.json"
EPOCH = "epoch"


def ask_to_finish(run: Run) -> int:
    """Ask to end training after the epoch under way; return that epoch, counted from 1.

    Raises:
        RunError: training has not begun, or is over; or the run is at an address, and nobody here is at work on it.
    """
    if run.mirror and run.files.holder is None:  # this folder is a copy, which the training elsewhere does not see
        raise _refusal(run, msg("no process of this machine is at work on it"))
    events = run.events()
    if run.model.exists() or (events and isinstance(events[-1], Stopped)):
        raise _refusal(run, msg("training is over"))
    if not any(isinstance(event, Started) for event in events):
        raise _refusal(run, msg("training has not begun"))
    steps = [event for event in events if isinstance(event, Stepped)]
    epoch = 1 + math.floor(steps[-1].epoch) if steps else 1
    write_json(run.path / REQUEST, {EPOCH: epoch})
    return epoch


def is_asked_to_end(folder: Path, epoch: int) -> bool:
    """Return whether training is to end after an epoch: the requested one, or one that was under way before it."""
    asked = requested_epoch(folder)
    return asked is not None and epoch >= asked


def requested_epoch(folder: Path) -> int | None:
    """Return the epoch after which training was asked to end; None if it was not."""
    with suppress(RunError):
        asked = read_object(folder / REQUEST).get(EPOCH)
        return asked if isinstance(asked, int) else None
    return None


def _refusal(run: Run, state: Message) -> RunError:
    rule = msg("there is no epoch of '{run}' to end after: {state}", run=str(run.path), state=state)
    return RunError(Fault(rule, remedy=msg("ask while the run trains")))
