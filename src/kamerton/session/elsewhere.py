"""A run of a model that was tuned elsewhere: what stands in place of a method, and which label each output means."""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from kamerton.core import registry
from kamerton.core.contracts import Advice, ModelFacts
from kamerton.core.errors import Fault, ModelError
from kamerton.core.figures import Figure
from kamerton.core.messages import Message, Wording, msg
from kamerton.models.method import PlainMethod

NOT_TRAINED = msg("the model was tuned elsewhere, and nothing is trained in this run")
NUMBERED = re.compile(r"(?:LABEL_)?(\d{1,8})", re.IGNORECASE)
SHOWN = 12
"""Labels of a list that an error shows."""


class TunedElsewhere(PlainMethod):
    """The method of a run whose model was tuned elsewhere, as far as the model's files say; it trains nothing."""

    adapter: str = Field("", description="PEFT's word for the adapter's type; empty for plain weights.")
    added_tokens: int = Field(0, ge=0, description="Positions that its prompt tokens take before every row.")
    suits: ClassVar = Advice(0.0, NOT_TRAINED)

    def advise(self, facts: ModelFacts, rows: int) -> Mapping[str, Advice]:
        """Return no training settings."""
        return {}

    def refuses_tokens(self, model: PreTrainedModel) -> Wording:
        """Return why new tokens cannot be learned."""
        return NOT_TRAINED

    def attach(self, model: PreTrainedModel, fresh: Sequence[str], tokens: Sequence[int] = ()) -> nn.Module:
        """Raise `ModelError`: training again what was trained elsewhere would need its data and its settings."""
        remedy = msg("`kamerton tune DATA --model MODEL` trains a model further")
        raise ModelError(Fault(NOT_TRAINED, model.name_or_path, remedy))

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """Merge an adapter as PEFT does; plain weights are merged already."""
        if isinstance(model, PreTrainedModel):
            return model
        # PEFT takes seconds to import: only where there is an adapter
        return registry.load("kamerton.models.adapters:merged")(model)


# ── labels ────────────────────────────────────────────────────────────────────────────────────


def match_labels(outputs: Sequence[str], labels: Sequence[str], place: str) -> tuple[tuple[str, ...], Message]:
    """Find which label of the data each output of a head means, by its name.

    Names are equal as they are; else without regard to case and to what stands between words; else as numbers
    (`LABEL_1` and `1`). An output without a label in the data keeps its own name.

    Args:
        outputs: the names that the model's configuration gives its outputs, in order.
        labels: those of the data.
        place: the model, for the error.

    Returns:
        The labels by output, and how they were found.

    Raises:
        ModelError: a label of the data has no output, or two; with both lists.
    """
    ways = (
        (str, msg("the model's own names of its outputs")),
        (_folded, msg("the model's own names of its outputs, whatever their case")),
        (_number, msg("the numbers of the model's outputs")),
    )
    for key, how in ways:
        by_key = {key(name): at for at, name in enumerate(outputs)}
        found = {by_key.get(key(label)): label for label in labels}
        if len(by_key) == len(outputs) and None not in found and len(found) == len(labels):
            return tuple(found.get(at, name) for at, name in enumerate(outputs)), how
    rule = msg(
        "the labels of the data are not those of the model's outputs: the data have {labels}; the model has {outputs}",
        labels=_listed(labels),
        outputs=_listed(outputs),
    )
    raise ModelError(Fault(rule, place, _in_order(outputs)))


def check_labels(given: Sequence[str], outputs: Sequence[str], labels: Sequence[str]) -> None:
    """Check an order of labels that the user gave for the outputs of a head.

    Raises:
        ModelError: there are not as many as outputs, one is named twice, or a label of the data is missing.
    """
    rule: Message | None = None
    if len(given) != len(outputs) or len(set(given)) < len(given):
        template = "{given} are not {count} different labels, one for each output of the model ({outputs})"
        rule = msg(template, given=_listed(given), count=len(outputs), outputs=_listed(outputs))
    elif missing := sorted(set(labels) - set(given)):
        rule = msg("the data have labels that are not among those given: {labels}", labels=_listed(missing))
    if rule:
        raise ModelError(Fault(rule, "model.labels", _in_order(outputs)))


def _in_order(outputs: Sequence[str]) -> Message:
    rule = "give the data's label for each of the {count} outputs, in their order: --labels FIRST,SECOND,…"
    return msg(rule, count=len(outputs))


def _listed(names: Sequence[str]) -> Message:
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return msg("{count}: {names}", count=Figure(len(names)), names=shown + (", …" if len(names) > SHOWN else ""))


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().casefold()


def _number(name: str) -> str:
    found = NUMBERED.fullmatch(name.strip())
    return str(int(found[1])) if found else name
