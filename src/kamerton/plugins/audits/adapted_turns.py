"""Conversations that the model's chat template cannot write as they are."""

from collections import Counter

from kamerton.core.messages import Joined, Message, msg
from kamerton.core.records import Example, Finding
from kamerton.forms.messages import conversation_of
from kamerton.forms.templates import Change, adapt
from kamerton.plugins.audits._check import Check, Data

CHANGES: dict[Change, Message] = {
    "system": msg("system turns joined to a user turn"),
    "neighbors": msg("neighboring turns of one role joined"),
    "opening": msg("greetings before the first question removed"),
    "tools": msg("tool descriptions moved into the system prompt"),
    "calls": msg("tool calls written as JSON"),
    "results": msg("tool results written as user turns"),
    "reasoning": msg("reasoning removed, because the template does not read it"),
}


class AdaptedTurns(Check):
    """Find conversations that must be changed to fit the chat template, and what they lose by it."""

    def find(self, data: Data) -> Finding | None:
        """Apply the template's rules to every conversation; without a model, look for reasoning."""
        tokenizer = data.context.tokenizer
        if tokenizer is None:
            return _reasoning(data) if data.context.free else None
        changes, rows = Counter[Change](), list[Example]()
        for example in data.examples if tokenizer.chat_template else ():
            turns = conversation_of(example)
            if turns and (changed := adapt(turns, tokenizer).changes):
                changes.update(changed)
                rows.append(example)
        listed = [msg("{change}: {rows}", change=CHANGES[one], rows=number) for one, number in changes.most_common()]
        template = "{rows} {rows:row is|rows are} changed to fit the model's chat template: {changes}"
        remedy = msg("look at them with `kamerton show`; a model with another template may take them as they are")
        return data.about("adapted-turns", rows, msg(template, changes=Joined(listed)), remedy)


def _reasoning(data: Data) -> Finding | None:
    rows = [example for example in data.examples if any(turn.reasoning for turn in conversation_of(example))]
    title = msg(
        "{rows} {rows:row contains|rows contain} reasoning; a model is trained on it if its chat template reads it"
    )
    remedy = msg("`kamerton show DATA --model MODEL` shows what a model is trained on")
    return data.about("adapted-turns", rows, title, remedy, severity="note")
