"""Base models without a chat template."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.models.load import PLAIN_TEMPLATE
from kamerton.plugins.audits._check import Check, Data

BARE = ({"text"}, {"prompt", "suffix", "tests", "entry_point", "completion"})
"""Fields of tasks whose texts no template renders: plain text, and programs."""


class PlainTemplate(Check):
    """Find a base model without a chat template: requests and answers are rendered by a plain one."""

    def find(self, data: Data) -> Finding | None:
        """Compare the tokenizer's template with the plain one."""
        model, tokenizer = data.context.model, data.context.tokenizer
        if model is None or tokenizer is None or model.kind != "decoder" or tokenizer.chat_template != PLAIN_TEMPLATE:
            return None
        if not data.examples or set(data.examples[0].fields) in BARE:
            return None
        title = msg(
            "{model} has no chat template: requests follow '### Request:', and answers follow '### Answer:'",
            model=model.name,
        )
        remedy = msg(
            "to use another template, save it as chat_template.jinja in the model's folder, or choose a model that "
            "has one: --model smollm2"
        )
        return Finding("plain-template", "warning", title, remedy, changes=({"model.name": "smollm2"},))
