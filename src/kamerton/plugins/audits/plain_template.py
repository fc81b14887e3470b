"""Base models without a chat template."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.models.load import PLAIN_TEMPLATE

BARE = ({"text"}, {"prompt", "suffix", "tests", "entry_point", "completion"})
"""Fields of tasks whose texts no template renders: plain text, and programs."""


class PlainTemplate:
    """Find a base model without a chat template: requests and answers are rendered by a plain one."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Compare the tokenizer's template with the plain one."""
        model, tokenizer = context.model, context.tokenizer
        if model is None or tokenizer is None or model.kind != "decoder" or tokenizer.chat_template != PLAIN_TEMPLATE:
            return None
        if not examples or set(examples[0].fields) in BARE:
            return None
        return Finding(
            check="plain-template",
            severity="warning",
            title=msg(
                "{model} has no chat template: requests follow '### Request:', and answers follow '### Answer:'",
                model=model.name,
            ),
            remedy=msg(
                "to use another template, save it as chat_template.jinja in the model's folder, or choose a model that "
                "has one: --model smollm2"
            ),
        )
