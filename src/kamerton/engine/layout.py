"""How sequences are laid out for a model, and how its output is read only where it is supervised.

The outer model (with its head) is made to see a batch of as many one-token sequences as there are
reads, while its backbone sees the real sequences: two of torch's own hooks exchange the backbone's
inputs, and pick the read positions out of its output before the head. So the head, be it a vocabulary
of 50,000 or three classes, is computed only where it is needed, by the model's own code.

Which layout a model can take is not guessed from its name: each is tried on a few real rows and must
give the logits of the model's own forward pass on single rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from kamerton.core.records import Encoded
from kamerton.engine.last_layer import Narrowing, narrowings
from kamerton.engine.packed import NAME as FLAT
from kamerton.engine.packed import Context, Witness
from kamerton.models.structure import device_of, is_encoder_decoder, outer_model

TOLERANCE = 1e-4
"""Largest difference from the plain forward pass, relative to the largest logit, in fp32."""


class Layout(Protocol):
    """A way to put sequences to a model."""

    @property
    def name(self) -> str:
        """What is printed: `flat: no padding`."""

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the head's output at every read of every item, in order: `[outputs, classes]`."""

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the last hidden state at every read of every item, in order: `[outputs, hidden]`."""

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Pick the reads out of states that lie as this layout lays them: `[outputs, hidden]`."""

    def lay(self, states: Sequence[Tensor], items: Sequence[Encoded]) -> Tensor:
        """Lay states of items, each `[tokens, hidden]`, as this layout lays them."""

    def common(self, items: Sequence[Encoded]) -> int:
        """Say how many tokens that all items begin with are computed once for a pass."""


@dataclass(frozen=True)
class Flat:
    """All sequences in one row, no padding."""

    offset: int = 0
    """Where the model's positions begin (2 in RoBERTa)."""
    narrowing: Narrowing | None = None
    """How the last layer is run at the reads only, if it can."""
    witness: Witness | None = None

    @property
    def name(self) -> str:
        """Name the layout with its reason."""
        if self.narrowing:
            return "flat: one row without padding; the last layer only where it is read"
        return "flat: one row without padding"

    def logits(
        self,
        model: nn.Module,
        items: Sequence[Encoded],
        context: Context | None = None,
        positions: Sequence[int] | None = None,
    ) -> Tensor:
        """Give the head's output at every read: `[outputs, classes]`.

        Args:
            model: with a head.
            items: the sequences.
            context: what they attend to instead of just themselves.
            positions: where each token of the row stands; from 0 in each sequence if not given.
        """
        output, reads = self._forward(model, items, context, positions)
        return head_output(output).reshape(reads, -1)

    def hidden(
        self,
        model: nn.Module,
        items: Sequence[Encoded],
        context: Context | None = None,
        positions: Sequence[int] | None = None,
    ) -> Tensor:
        """Give the last hidden state at every read: `[outputs, hidden]`; the arguments are those of `logits`."""
        output, reads = self._forward(model, items, context, positions)
        return output.last_hidden_state.reshape(reads, -1)

    def _forward(
        self, model: nn.Module, items: Sequence[Encoded], context: Context | None, positions: Sequence[int] | None
    ) -> tuple[Any, int]:
        device = device_of(model)
        boundaries = torch.tensor(_bounds(items), dtype=torch.int32, device=device)
        longest = max(len(item.tokens) for item in items)
        places = positions or [at for item in items for at in range(len(item.tokens))]
        inputs = {
            "input_ids": torch.tensor([[token for item in items for token in item.tokens]], device=device),
            "position_ids": torch.tensor([places], device=device) + self.offset,
            "cu_seq_lens_q": boundaries,
            "cu_seq_lens_k": boundaries,
            "max_length_q": longest,
            "max_length_k": longest,
            **_types(items, [[kind for item in items for kind in types_of(item)]], device),
            **({} if context is None else {"kamerton_context": context}),
            **({} if self.witness is None else {"kamerton_witness": self.witness}),
        }
        reads = sum(len(item.output_positions) for item in items)
        with attending(model, FLAT), self._narrowed(items, device):
            return _forward(model, inputs, lambda states: self.pick(states, items), reads), reads

    def _narrowed(self, items: Sequence[Encoded], device: torch.device) -> AbstractContextManager[None]:
        """Run the last layer at the reads, if these are fewer than the tokens."""
        places = _places(items)
        if self.narrowing is None or len(places) >= sum(len(item.tokens) for item in items):
            return nullcontext()
        return self.narrowing.at(torch.tensor(places, device=device))

    def places(self, items: Sequence[Encoded]) -> Sequence[Sequence[int]]:
        """Say for each item where its tokens stand in the row."""
        return [range(start, end) for start, end in pairwise(_bounds(items))]

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Pick the reads out of `[1, tokens, hidden]`, or take them as they are where there are no others."""
        places = _places(items)
        if self.narrowing and states.shape[1] == len(places) < sum(len(item.tokens) for item in items):
            return states[0]
        return states[0, torch.tensor(places, device=states.device)]

    def lay(self, states: Sequence[Tensor], items: Sequence[Encoded]) -> Tensor:
        """Lay states one after the other: `[1, tokens, hidden]`."""
        return torch.cat(list(states)).unsqueeze(0)

    def common(self, items: Sequence[Encoded]) -> int:
        """Nothing is computed once."""
        return 0


class _Below:
    """What layouts have in common that put items below each other."""

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Pick the reads out of `[items, longest, hidden]`."""
        return _pick_padded(states, items)

    def lay(self, states: Sequence[Tensor], items: Sequence[Encoded]) -> Tensor:
        """Lay states below each other: `[items, longest, hidden]`."""
        return pad_sequence(list(states), batch_first=True)

    def common(self, items: Sequence[Encoded]) -> int:
        """Nothing is computed once."""
        return 0


@dataclass(frozen=True)
class Padded(_Below):
    """Rows padded to the longest, for models that cannot take a flat row; the head still only where it is read."""

    reason: str

    @property
    def name(self) -> str:
        """Name the layout with its reason."""
        return f"padded: {self.reason}"

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the head's output at every read: `[outputs, classes]`."""
        output, reads = self._forward(model, items)
        return head_output(output).reshape(reads, -1)

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the last hidden state at every read: `[outputs, hidden]`."""
        output, reads = self._forward(model, items)
        return output.last_hidden_state.reshape(reads, -1)

    def _forward(self, model: nn.Module, items: Sequence[Encoded]) -> tuple[Any, int]:
        reads = sum(len(item.output_positions) for item in items)
        return _forward(model, padded_inputs(model, items), lambda states: self.pick(states, items), reads), reads


@dataclass(frozen=True)
class Plain(_Below):
    """The model's own forward pass on padded rows."""

    reason: str = "the model's own forward pass"

    @property
    def name(self) -> str:
        """Name the layout with its reason."""
        return f"padded, all positions: {self.reason}"

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the head's output at every read: `[outputs, classes]`."""
        logits = head_output(model(**padded_inputs(model, items)))
        if logits.dim() == 2:  # one output a sequence: the model itself chose where to read
            return logits
        longest = max(len(item.tokens) for item in items)
        return self.pick(logits[:, -longest:], items)  # a method may have put virtual tokens before the real ones

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the last hidden state at every read: `[outputs, hidden]`."""
        return self.pick(model(**padded_inputs(model, items)).last_hidden_state, items)


@dataclass(frozen=True)
class Unpadded:
    """Rows of one length at a time: what every other layout is proven against, and the last resort.

    A model that is given embeddings in place of tokens cannot see where padding begins.
    """

    plain: Plain | EncoderDecoder = field(default_factory=Plain)

    @property
    def name(self) -> str:
        """Name the layout with its reason."""
        return "rows of one length at a time: padding gives this model other results"

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the head's output at every read: `[outputs, classes]`."""
        return self._by_length(items, lambda group: self.plain.logits(model, group))

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the last hidden state at every read: `[outputs, hidden]`."""
        return self._by_length(items, lambda group: self.plain.hidden(model, group))

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Pick the reads out of `[items, longest, hidden]`."""
        return self.plain.pick(states, items)

    def lay(self, states: Sequence[Tensor], items: Sequence[Encoded]) -> Tensor:
        """Lay states below each other: `[items, longest, hidden]`."""
        return self.plain.lay(states, items)

    def common(self, items: Sequence[Encoded]) -> int:
        """Nothing is computed once."""
        return 0

    def _by_length(self, items: Sequence[Encoded], output: Callable[[Sequence[Encoded]], Tensor]) -> Tensor:
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, item in enumerate(items):
            groups[len(item.tokens), len(item.output_positions)].append(index)
        parts: dict[int, Tensor] = {}
        for chosen in groups.values():
            group = [items[index] for index in chosen]
            parts.update(zip(chosen, output(group).split([len(item.output_positions) for item in group]), strict=True))
        return torch.cat([parts[index] for index in range(len(items))])


@dataclass(frozen=True)
class EncoderDecoder(_Below):
    """An encoder's rows and a decoder's, both padded; the head only where the decoder is read.

    An item's tokens are the encoder's; its targets are the decoder's answer, read from the start token on.
    """

    whole: bool = False
    """Whether the model's own head runs at all positions, as it would without us."""

    @property
    def name(self) -> str:
        """Name the layout with its reason."""
        return "padded on both sides" + (", all positions" if self.whole else "")

    def logits(self, model: nn.Module, items: Sequence[Encoded], source: Mapping[str, Any] | None = None) -> Tensor:
        """Return the logits at the output positions, `[outputs, classes]`; `source` replaces the items' tokens."""
        inputs = {**(source or padded_inputs(model, items)), **decoder_inputs(model, items)}
        if self.whole:
            return self.pick(model(**inputs, use_cache=False).logits, items)

        def at_reads(_module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> Any:
            output.last_hidden_state = self.pick(output.last_hidden_state, items).unsqueeze(0)
            return output

        hook = outer_model(model).get_decoder().base_model.register_forward_hook(at_reads, with_kwargs=True)
        try:
            return model(**inputs, use_cache=False).logits[0]
        finally:
            hook.remove()

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the encoder's last hidden state at every read: `[outputs, hidden]`."""
        encoder = outer_model(model).get_encoder()
        return _pick_padded(encoder(**padded_inputs(model, items)).last_hidden_state, items)

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Pick the reads out of the decoder's `[items, longest, hidden]`; virtual tokens may stand before."""
        longest = max(len(item.output_positions) for item in items)
        return _pick_padded(states[:, -longest:], items)


def prove_layout(model: nn.Module, output: Callable[[Layout], Tensor]) -> Layout:
    """Choose the best layout that gives what the model's own forward pass gives for each row without padding.

    Args:
        model: as it will be trained or read.
        output: computes logits (or hidden states) of a few real rows of different lengths under a layout.
    """
    reference = Unpadded(EncoderDecoder(whole=True)) if is_encoder_decoder(model) else Unpadded()
    wanted = partial(output, reference)
    fitting = (way for way in _candidates(model) if prove_equal(model, partial(output, way), wanted))
    layout = next(fitting, reference)
    return _narrowed(model, layout, output) if isinstance(layout, Flat) else layout


def _narrowed(model: nn.Module, flat: Flat, output: Callable[[Layout], Tensor]) -> Flat:
    """Run the last layer only where it is read, if that changes nothing."""
    with evaluating(model):
        ways = list(narrowings(outer_model(model), lambda witness: output(replace(flat, witness=witness))))
    narrowed = (replace(flat, narrowing=way) for way in ways)
    wanted = partial(output, flat)
    return next((way for way in narrowed if prove_equal(model, partial(output, way), wanted)), flat)


def prove_equal(model: nn.Module, way: Callable[[], Tensor], reference: Callable[[], Tensor]) -> bool:
    """Say whether one way to run a model gives the output of another, within `TOLERANCE`."""
    try:
        with evaluating(model), torch.no_grad():
            wanted = reference()
            got = way()
    except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError, AssertionError):
        return False  # a model that cannot take a layout says so in one of these ways
    scale = wanted.abs().max().item()
    return got.shape == wanted.shape and (got - wanted).abs().max().item() <= TOLERANCE * scale


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in its state for evaluation for a while."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _candidates(model: nn.Module) -> Iterator[Layout]:
    if is_encoder_decoder(model):
        yield EncoderDecoder()
        yield EncoderDecoder(whole=True)
        return
    config = outer_model(model).config.get_text_config().to_dict()
    pad = config.get("pad_token_id")
    if "sliding_attention" in (config.get("layer_types") or ()) or config.get("local_attention"):
        reason = "the model attends in windows"
    else:
        reason = "a flat row gives this model other results"
        yield Flat()
        if pad is not None:
            yield Flat(offset=pad + 1)
    yield Padded(reason)
    yield Plain()


@contextmanager
def attending(model: nn.Module, implementation: str) -> Iterator[None]:
    """Run a model with another attention function for a while."""
    config = outer_model(model).config
    before = config._attn_implementation
    config._attn_implementation = implementation
    try:
        yield
    finally:
        config._attn_implementation = before


def read_above(model: nn.Module, reads: int) -> Tensor:
    """Run one token through the backbone, whose last layer's output somebody exchanges; give the logits."""
    ids = torch.zeros((1, 1), dtype=torch.long, device=device_of(model))
    return head_output(_forward(model, {"input_ids": ids}, lambda states: states.squeeze(1), reads))


def head_output(output: Any) -> Tensor:
    """Give what a head's last layer wrote: its logits, or the start's and the end's side by side, as span heads do."""
    if "start_logits" in output:
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    logits: Tensor = output.logits
    return logits


def types_of(item: Encoded) -> tuple[int, ...]:
    """Give each token's type, 0 where none is said."""
    return item.segments or (0,) * len(item.tokens)


def _types(items: Sequence[Encoded], rows: list[list[int]], device: torch.device) -> dict[str, Tensor]:
    """Give `token_type_ids`, if any item has types."""
    return {"token_type_ids": torch.tensor(rows, device=device)} if any(item.segments for item in items) else {}


def _forward(model: nn.Module, inputs: Mapping[str, Any], pick: Callable[[Tensor], Tensor], reads: int) -> Any:
    """Run the outer model on `reads` one-token rows, its backbone on `inputs`."""
    outer = outer_model(model)
    backbone = outer.base_model

    def exchange(_module: nn.Module, _args: Any, _kwargs: Any) -> tuple[tuple[()], dict[str, Any]]:
        return (), {**inputs, "use_cache": False, "return_dict": True}

    def at_reads(module: Any, _args: Any, _kwargs: Any, output: Any) -> Any:
        output.last_hidden_state = pick(output.last_hidden_state).unsqueeze(1)
        if output.get("pooler_output") is not None:
            output.pooler_output = module.pooler(output.last_hidden_state)
        return output

    hooks = (
        backbone.register_forward_pre_hook(exchange, with_kwargs=True),
        backbone.register_forward_hook(at_reads, with_kwargs=True),
    )
    try:
        # any token but padding: a head that looks for the last real token then finds this one
        token = 1 if outer.config.get_text_config().pad_token_id == 0 else 0
        ids = torch.full((reads, 1), token, device=device_of(model))
        return model(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        for hook in hooks:
            hook.remove()


def padded_inputs(model: nn.Module, items: Sequence[Encoded]) -> dict[str, Tensor]:
    """Pad items on the right to the longest: `input_ids` and `attention_mask`, `[items, longest]`."""
    pad = outer_model(model).config.get_text_config().pad_token_id or 0
    longest = max(len(item.tokens) for item in items)
    ids = torch.full((len(items), longest), pad)
    mask = torch.zeros_like(ids)
    for row, item in enumerate(items):
        ids[row, : len(item.tokens)] = torch.tensor(item.tokens)
        mask[row, : len(item.tokens)] = 1
    device = device_of(model)
    types = [[*types_of(item), *(0 for _ in range(longest - len(item.tokens)))] for item in items]
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), **_types(items, types, device)}


def decoder_inputs(model: nn.Module, items: Sequence[Encoded]) -> dict[str, Tensor]:
    """Shift each item's targets right behind the start token: `decoder_input_ids` and mask, `[items, longest]`."""
    config = outer_model(model).config
    start, pad = config.decoder_start_token_id, config.get_text_config(decoder=True).pad_token_id or 0
    longest = max(len(item.output_positions) for item in items)
    ids = torch.full((len(items), longest), pad)
    mask = torch.zeros_like(ids)
    for row, item in enumerate(items):
        shifted = (start, *item.targets[:-1])
        ids[row, : len(shifted)] = torch.tensor(shifted)
        mask[row, : len(shifted)] = 1
    device = device_of(model)
    return {"decoder_input_ids": ids.to(device), "decoder_attention_mask": mask.to(device)}


def _places(items: Sequence[Encoded]) -> list[int]:
    """Say where in a flat row the reads stand."""
    return [start + read for start, item in zip(_bounds(items), items, strict=False) for read in item.output_positions]


def _bounds(items: Sequence[Encoded]) -> list[int]:
    return list(accumulate((len(item.tokens) for item in items), initial=0))


def _pick_padded(states: Tensor, items: Sequence[Encoded]) -> Tensor:
    rows = [row for row, item in enumerate(items) for _ in item.output_positions]
    columns = [read for item in items for read in item.output_positions]
    return states[torch.tensor(rows, device=states.device), torch.tensor(columns, device=states.device)]
