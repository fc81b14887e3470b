"""The gate before training: what the model would get is looked at, row by row, before it gets it.

The same code draws `kamerton show`. Each check is a fault that other tools let pass in silence: rows
whose answer was cut away whole, an end token that is masked as padding (the model never learns to
stop), two beginning tokens, a prompt that is written differently in training and in serving.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kamerton.core.contracts import Form, TooLong
from kamerton.core.errors import DataError, Fault
from kamerton.core.records import Encoded, Example, ExampleView, LedgerEntry, SequenceView, TokenView
from kamerton.forms.supervision import written_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

SHOWN = 5
DRAWN = 2
"""Sequences of a row that are drawn token by token; of the others is told where they begin and end."""
ENDS = 4
"""Words at which a sequence begins, and at which it ends, that are told."""


@dataclass(frozen=True)
class Passed:
    """The examples that may train, and the ledger entries of the rest and of the cut ones."""

    examples: tuple[Example, ...]
    dropped: tuple[LedgerEntry, ...]
    cut: tuple[LedgerEntry, ...]


def pass_gate(
    examples: Sequence[Example], encoded: Sequence[Encoded], form: Form, tokenizer: Tokenizer, too_long: TooLong
) -> Passed:
    """Let through what can be trained on.

    Args:
        examples: all examples.
        encoded: what the form made of them, in order.
        form: how the task looks to the model.
        tokenizer: of the model.
        too_long: what to do with rows that lost tokens.

    Raises:
        DataError: no row passes; or rows are too long and `too_long` is `refuse`.
    """
    long = [(example, item.cut) for example, item in zip(examples, encoded, strict=True) if item.cut]
    if long and too_long == "refuse":
        raise DataError([Fault(_too_long(cut), str(example.place), _LONGER) for example, cut in long[:SHOWN]])
    longest = max((len(sequence.tokens) for item in encoded for sequence in item.sequences), default=0)
    prompts = form.prompts(examples, tokenizer, longest)
    passed, dropped, cut = [], [], []
    for example, item, prompt in zip(examples, encoded, prompts, strict=True):
        reason = faults_of(item, prompt, form, tokenizer)
        if item.cut and too_long == "drop":
            reason = reason or _too_long(item.cut)
        if reason:
            dropped.append(LedgerEntry(example.id, example.place, "dropped", reason))
            continue
        passed.append(example)
        if item.cut:
            cut.append(LedgerEntry(example.id, example.place, "cut", _too_long(item.cut)))
    if not passed:
        raise DataError(_nothing_passes(dropped))
    return Passed(tuple(passed), tuple(dropped), tuple(cut))


def _too_long(cut: int) -> str:
    return f"too long: {cut} tokens do not fit"


_LONGER = "allow it with `--set data.too_long=cut`, or choose a model with a longer context"


def faults_of(item: Encoded, prompt: Encoded, form: Form, tokenizer: Tokenizer) -> str:
    """Say why a row must not train; an empty string if it may."""
    if item.fault:
        return str(item.fault)
    if not form.supervised(item):
        return "nothing in the row is supervised: its answer was cut away or is not known"
    begin = tokenizer.bos_token_id
    doubled = any(sequence.tokens[:2] == (begin, begin) for sequence in item.sequences)
    if begin is not None and begin != tokenizer.eos_token_id and doubled:
        return "the row begins with two beginning tokens"
    return form.flaw(item, prompt, tokenizer)


def look(
    examples: Sequence[Example],
    encoded: Sequence[Encoded],
    form: Form,
    tokenizer: Tokenizer,
    max_tokens: int,
    too_long: TooLong = "cut",
) -> list[ExampleView]:
    """Draw up what the model gets: every token, which of them are trained on, what was cut, and what is left out."""
    prompts = form.prompts(examples, tokenizer, max_tokens)
    return [
        _view(example, item, _fate(item, faults_of(item, prompt, form, tokenizer), too_long), form, tokenizer)
        for example, item, prompt in zip(examples, encoded, prompts, strict=True)
    ]


def _fate(item: Encoded, fault: str, too_long: TooLong) -> str:
    """Say that a row is left out, or stops the run, and why; an empty string if it trains."""
    if item.cut and too_long == "refuse":
        return f"refused: {_too_long(item.cut)}"
    reason = fault or (_too_long(item.cut) if item.cut and too_long == "drop" else "")
    return f"dropped: {reason}" if reason else ""


def _view(example: Example, item: Encoded, fate: str, form: Form, tokenizer: Tokenizer) -> ExampleView:
    several = len(item.sequences) > 1
    sequences = [_sequence(item, at, form, tokenizer) for at in range(len(item.sequences))] if several else []
    tokens, words = _drawn(item, form, tokenizer)
    warnings = (fate,) if fate else ()
    return ExampleView(example.place, f"data row {example.id}", tokens, words, item.cut, warnings, tuple(sequences))


def _sequence(item: Encoded, at: int, form: Form, tokenizer: Tokenizer) -> SequenceView:
    sequence = item.sequences[at]
    words = tokenizer.decode(list(sequence.tokens), skip_special_tokens=True).split()
    ends = words if len(words) <= 2 * ENDS else [*words[:ENDS], "…", *words[-ENDS:]]
    tokens, words = _drawn(sequence, form, tokenizer) if at else ((), ())
    name = form.sequence_name(at, len(item.sequences))
    return SequenceView(name, len(sequence.tokens), " ".join(ends), tokens if at < DRAWN else (), words)


def _drawn(item: Encoded, form: Form, tokenizer: Tokenizer) -> tuple[tuple[TokenView, ...], tuple[str, ...]]:
    taught = form.taught(item, tokenizer)
    marked = set(taught.positions)
    tokens = tuple(TokenView(text, i in marked) for i, text in enumerate(written_tokens(item.tokens, tokenizer)))
    return tokens, taught.words


def _nothing_passes(dropped: Sequence[LedgerEntry]) -> list[Fault]:
    counts = Counter(entry.reason for entry in dropped)
    places = {entry.reason: str(entry.place) for entry in reversed(dropped)}
    return [
        Fault(f"no row can be trained on: {reason} ({count} rows)", places[reason], "see `kamerton show` on this file")
        for reason, count in counts.most_common(SHOWN)
    ]
