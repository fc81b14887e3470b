"""Conversations that the model's chat template cannot write as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import Joined, Message, msg
from kamerton.core.records import Example, Finding
from kamerton.forms.messages import conversation_of
from kamerton.forms.templates import Change, adapt
from kamerton.plugins.audits._findings import about

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

CHANGES: dict[Change, Message] = {
    "system": msg("system turns joined to a user turn"),
    "neighbors": msg("neighboring turns of one role joined"),
    "opening": msg("greetings before the first question removed"),
    "tools": msg("tool descriptions moved into the system prompt"),
    "calls": msg("tool calls written as JSON"),
    "results": msg("tool results written as user turns"),
    "reasoning": msg("reasoning removed, because the template does not read it"),
}


class AdaptedTurns:
    """Find conversations that must be changed to fit the chat template, and what they lose by it."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Apply the template's rules to every conversation; without a model, look for reasoning."""
        if context.tokenizer is None:
            return _reasoning(examples) if context.free else None
        return _changes(examples, context.tokenizer) if context.tokenizer.chat_template else None


def _reasoning(examples: Sequence[Example]) -> Finding | None:
    rows = [example for example in examples if any(turn.reasoning for turn in conversation_of(example))]
    title = msg(
        "{rows} {rows:row contains|rows contain} reasoning; a model is trained on it if its chat template reads it"
    )
    remedy = msg("`kamerton show DATA --model MODEL` shows what a model is trained on")
    return about("adapted-turns", rows, examples, title, remedy, severity="note")


def _changes(examples: Sequence[Example], tokenizer: Tokenizer) -> Finding | None:
    changes, rows = Counter[Change](), list[Example]()
    for example in examples:
        turns = conversation_of(example)
        if turns and (changed := adapt(turns, tokenizer).changes):
            changes.update(changed)
            rows.append(example)
    listed = [msg("{change}: {rows}", change=CHANGES[change], rows=number) for change, number in changes.most_common()]
    title = msg(
        "{rows} {rows:row is|rows are} changed to fit the model's chat template: {changes}",
        changes=Joined(tuple(listed)),
    )
    remedy = msg("look at them with `kamerton show`; a model with another template may take them as they are")
    return about("adapted-turns", rows, examples, title, remedy)
