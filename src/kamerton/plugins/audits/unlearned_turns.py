"""Turns of conversations that are not learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding, Turn
from kamerton.forms.messages import kept_messages
from kamerton.plugins.audits._wording import count, ids, samples

EMPTY = "empty answers"
"""Learned from one, a model would stop at once."""


class UnlearnedTurns:
    """Find answers that are empty, marked not to be learned, or answer nothing, and turns that nobody answers."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look at the turns of conversations."""
        found = {e.id: turns for e in examples if "messages" in e.fields and (turns := _unlearned(e))}
        if not found:
            return None
        kinds = Counter[str]()
        for turns in found.values():
            kinds.update(turns)
        rows = [example for example in examples if example.id in found]
        listed = ", ".join(f"{kind} {number:,}" for kind, number in kinds.most_common())
        return Finding(
            check="unlearned-turns",
            severity="warning" if EMPTY in kinds else "note",
            title=f"{count(kinds.total(), 'turn')} in {count(len(rows), 'conversation')} "
            f"{'is' if kinds.total() == 1 else 'are'} not learned: {listed}",
            remedy="the other answers are learned; fill in what is empty, and check the marks of the turns",
            rows=ids(rows),
            samples=samples(rows),
        )


def _unlearned(example: Example) -> Counter[str]:
    """Count a conversation's turns that are not learned, by the reason."""
    turns = kept_messages(example.fields["messages"])
    first = next((at for at, turn in enumerate(turns) if turn.role == "user"), len(turns))
    answers = [at for at, turn in enumerate(turns) if turn.role == "assistant"]
    kinds = Counter(kind for at in answers if (kind := _kind(turns[at], greets=at < first)))
    open_end = turns[answers[-1] + 1 :] if answers else ()
    kinds.update("turns after the last answer" for _ in open_end)
    return kinds


def _kind(turn: Turn, *, greets: bool) -> str:
    if greets:
        return "greetings before anybody asks"
    if not turn.taught:
        return "answers marked in the data"
    return EMPTY if turn.empty else ""
