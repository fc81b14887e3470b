"""Conversations that the model's chat template cannot write as they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.forms.messages import conversation_of
from kamerton.forms.templates import Change, adapt
from kamerton.plugins.audits._wording import count, ids, samples

WORDS: dict[Change, str] = {
    "system": "system turns joined to a turn of the user",
    "neighbours": "neighbouring turns of one role joined",
    "opening": "greetings before anybody asks left out",
    "tools": "descriptions of tools put into the system prompt",
    "calls": "calls of tools written as JSON",
    "results": "results of tools put as turns of the user",
    "reasoning": "reasoning left out, which the template does not read",
}


class AdaptedTurns:
    """Find conversations that are put differently so that the chat template takes them, and what is lost by it."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Put every conversation to the template's rules, where a model with a template is chosen."""
        if context.tokenizer is None or context.tokenizer.chat_template is None:
            return None
        changes, rows = Counter[Change](), list[Example]()
        for example in examples:
            turns = conversation_of(example)
            if turns and (changed := adapt(turns, context.tokenizer).changes):
                changes.update(changed)
                rows.append(example)
        if not rows:
            return None
        listed = "; ".join(f"{WORDS[change]}: {number:,}" for change, number in changes.most_common())
        return Finding(
            check="adapted-turns",
            severity="warning",
            title=f"{count(len(rows), 'row')} put differently, as the model's chat template wants it: {listed}",
            remedy="look at them with `kamerton show`; a model with another template may take them as they are",
            rows=ids(rows),
            samples=samples(rows),
        )
