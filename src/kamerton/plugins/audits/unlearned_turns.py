"""Turns of conversations that are not trained on."""

from collections import Counter
from itertools import pairwise

from kamerton.core.messages import Joined, Message, msg
from kamerton.core.records import Example, Finding, Turn
from kamerton.forms.messages import kept_messages
from kamerton.plugins.audits._check import Check, Data

EMPTY = msg("empty answers")
"""Trained on one, a model would stop at once."""
GREETINGS, MARKED = msg("greetings before the first question"), msg("answers marked in the data")
OPEN_END = msg("turns after the last answer")
UNANSWERED = msg("turns of the user before another one")


class UnlearnedTurns(Check):
    """Find answers that are empty, marked not to be learned, or answer nothing, and turns without an answer."""

    def find(self, data: Data) -> Finding | None:
        """Check the turns of conversations."""
        kinds, places, rows = Counter[Message](), dict[Message, str](), list[Example]()
        for example in data.examples:
            if "messages" in example.fields and (turns := _unlearned(example)):
                kinds.update(turns)
                places = {**dict.fromkeys(turns, str(example.place)), **places}
                rows.append(example)
        listed = [
            msg("{kind} {turns}, first {place}", kind=kind, turns=number, place=places[kind])
            for kind, number in kinds.most_common()
        ]
        title = msg(
            "{turns} {turns:turn|turns} in {rows} {rows:conversation|conversations} {turns:is|are} not trained on: "
            "{kinds}",
            turns=kinds.total(),
            kinds=Joined(listed),
        )
        remedy = msg("the other answers are trained on; fill in the empty ones, and check the marks of the turns")
        return data.about("unlearned-turns", rows, title, remedy, severity="warning" if EMPTY in kinds else "note")


def _unlearned(example: Example) -> list[Message]:
    """Return the reason for each turn of a conversation that is not trained on."""
    turns = kept_messages(example.fields["messages"])
    first = next((at for at, turn in enumerate(turns) if turn.role == "user"), len(turns))
    answers = [at for at, turn in enumerate(turns) if turn.role == "assistant"]
    kinds = [kind for at in answers if (kind := _kind(turns[at], greets=at < first))]
    end = answers[-1] + 1 if answers else 0
    kinds += [UNANSWERED for turn, following in pairwise(turns[:end]) if turn.role == following.role == "user"]
    return kinds + [OPEN_END] * (len(turns) - end if answers else 0)


def _kind(turn: Turn, *, greets: bool) -> Message | None:
    if greets:
        return GREETINGS
    if not turn.taught:
        return MARKED
    return EMPTY if turn.empty else None
