"""The gate before training: check what the model would get, row by row.

`kamerton show` draws rows with the same code. Other tools miss these faults: an answer that was cut away whole, an end
token masked as padding (the model never learns to stop), two beginning tokens, a prompt that is written differently in
training and in serving.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kamerton.core.contracts import Form, RowInspector, TooLong
from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import Message, Wording, msg
from kamerton.core.records import Encoded, Example, ExampleView, LedgerEntry, SequenceView, TokenView
from kamerton.forms.supervision import written_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

SHOWN = 5
DRAWN = 2
"""Sequences of a row that are drawn token by token; of the others only the first and last words are shown."""
ENDS = 4
"""Words shown at each end of a sequence."""


@dataclass(frozen=True)
class Passed:
    """The examples that may train, and the ledger entries of the rest and of the cut ones."""

    examples: tuple[Example, ...]
    dropped: tuple[LedgerEntry, ...]
    cut: tuple[LedgerEntry, ...]


def pass_gate(
    examples: Sequence[Example], encoded: Sequence[Encoded], form: Form, tokenizer: Tokenizer, too_long: TooLong
) -> Passed:
    """Return the examples that can be trained on, and ledger entries of the rest and of those that lost tokens.

    Raises:
        DataError: no row passes; or rows are too long and `too_long` is `refuse`.
    """
    long = [(example, item.cut) for example, item in zip(examples, encoded, strict=True) if item.cut]
    if long and too_long == "refuse":
        remedy = msg("allow it with `--set data.too_long=cut`, or choose a model with a longer context")
        raise DataError([Fault(overlong(cut), str(example.place), remedy) for example, cut in long[:SHOWN]])
    longest = max((len(sequence.tokens) for item in encoded for sequence in item.sequences), default=0)
    prompts = form.prompts(examples, tokenizer, longest)
    passed, dropped, cut = [], [], []
    for example, item, prompt in zip(examples, encoded, prompts, strict=True):
        reason = faults_of(item, prompt, form, tokenizer)
        if item.cut and too_long == "drop":
            reason = reason or overlong(item.cut)
        if reason:
            dropped.append(LedgerEntry(example.id, example.place, "dropped", reason))
            continue
        passed.append(example)
        if item.cut:
            cut.append(LedgerEntry(example.id, example.place, "cut", overlong(item.cut)))
    if not passed:
        places = {entry.reason: str(entry.place) for entry in reversed(dropped)}
        counts = Counter(entry.reason for entry in dropped).most_common(SHOWN)
        faults, remedy = [], msg("look at the rows with `kamerton show`")
        for reason, rows in counts:
            rule = msg("no row can be trained on: {reason} ({rows} {rows:row|rows})", reason=reason, rows=rows)
            faults.append(Fault(rule, places[reason], remedy))
        raise DataError(faults)
    return Passed(tuple(passed), tuple(dropped), tuple(cut))


def overlong(cut: int) -> Message:
    """Return the reason why a row that lost so many tokens is cut, left out or refused."""
    return msg("too long by {tokens} {tokens:token|tokens}", tokens=cut)


def faults_of(item: Encoded, prompt: Encoded, form: RowInspector, tokenizer: Tokenizer) -> Wording:
    """Return why a row must not train; an empty string if it may."""
    if item.fault:
        return item.fault
    if not form.supervised(item):
        return msg("nothing in the row is supervised: its answer was cut away or is not known")
    begin = tokenizer.bos_token_id
    doubled = any(sequence.tokens[:2] == (begin, begin) for sequence in item.sequences)
    if begin is not None and begin != tokenizer.eos_token_id and doubled:
        return msg("the row begins with two beginning tokens")
    return form.flaw(item, prompt, tokenizer)


def look(
    examples: Sequence[Example],
    encoded: Sequence[Encoded],
    form: Form,
    tokenizer: Tokenizer,
    max_tokens: int,
    too_long: TooLong = "cut",
) -> list[ExampleView]:
    """Return what the model gets of each example: tokens, which of them are trained on, and why a row is left out."""
    views = []
    for example, item, prompt in zip(examples, encoded, form.prompts(examples, tokenizer, max_tokens), strict=True):
        warnings = _fate(item, faults_of(item, prompt, form, tokenizer), too_long)
        count = len(item.sequences)
        sequences = tuple(_sequence(item, at, form, tokenizer) for at in range(count)) if count > 1 else ()
        title, shown = msg("data row {row}", row=example.id), _drawn(item, form, tokenizer)
        views.append(ExampleView(example.place, title, *shown, item.cut, warnings, sequences))
    return views


def _fate(item: Encoded, fault: Wording, too_long: TooLong) -> tuple[Message, ...]:
    """Return that a row is left out, or stops the run, and why; nothing if it trains."""
    if item.cut and too_long == "refuse":
        return (msg("refused: {reason}", reason=overlong(item.cut)),)
    reason = fault or (overlong(item.cut) if item.cut and too_long == "drop" else "")
    return (msg("dropped: {reason}", reason=reason),) if reason else ()


def _sequence(item: Encoded, at: int, form: RowInspector, tokenizer: Tokenizer) -> SequenceView:
    sequence = item.sequences[at]
    words = tokenizer.decode(list(sequence.tokens), skip_special_tokens=True).split()
    ends = words if len(words) <= 2 * ENDS else [*words[:ENDS], "…", *words[-ENDS:]]
    tokens, words = _drawn(sequence, form, tokenizer) if at else ((), ())
    name = form.sequence_name(at, len(item.sequences))
    return SequenceView(name, len(sequence.tokens), " ".join(ends), tokens if at < DRAWN else (), words)


def _drawn(
    item: Encoded, form: RowInspector, tokenizer: Tokenizer
) -> tuple[tuple[TokenView, ...], tuple[Wording, ...]]:
    taught = form.taught(item, tokenizer)
    marked = set(taught.positions)
    tokens = tuple(TokenView(text, i in marked) for i, text in enumerate(written_tokens(item.tokens, tokenizer)))
    return tokens, taught.words
