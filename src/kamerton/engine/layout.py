"""Layouts: how sequences are arranged for a model, whose head is computed only at the output positions.

The outer model (with its head) sees a batch of as many one-token sequences as there are output positions, while its
backbone sees the real sequences: two of torch's own hooks exchange the backbone's inputs, and select the output
positions before the head. So the head, be it a vocabulary of 50,000 or three classes, is computed only where it is
needed, by the model's own code.

Which layout a model supports is proven, not looked up by name (`kamerton.engine.verify`).
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from inspect import signature
from itertools import accumulate, chain, pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from kamerton.core.messages import Message, msg
from kamerton.core.records import Encoded
from kamerton.engine.device_attention import run_fused
from kamerton.engine.halves import attending, head_output, run_apart, tokens_unmasked
from kamerton.engine.last_layer import LastLayerSelection
from kamerton.engine.packed import NAME as PACKED
from kamerton.engine.packed import Context, Witness, passing
from kamerton.kernels.trial import UnsupportedError
from kamerton.models.structure import (
    backbone_of,
    device_of,
    has_prompt_tokens,
    is_encoder_decoder,
    outer_model,
    uncached,
)

MASKS: tuple[Literal["pairs", "scores", "causal scores"], ...] = ("causal scores", "scores", "pairs")


class Layout(ABC):
    """A way to run sequences through a model; rows are padded unless a layout overrides `pick` and `lay`."""

    @property
    @abstractmethod
    def name(self) -> Message:
        """What is printed: `packed: no padding`."""

    @abstractmethod
    def run(self, model: nn.Module, items: Sequence[Encoded]) -> Any:
        """Run a model; return its output at every output position of every item, in order."""

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Return the head's output at every output position: `[outputs, classes]`."""
        return head_output(self.run(model, items)).reshape(count_outputs(items), -1)

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Return the last hidden state at every output position: `[outputs, hidden]`."""
        return self.run(model, items).last_hidden_state.reshape(count_outputs(items), -1)

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Select the output positions from states in this layout: `[outputs, hidden]`."""
        rows = [row for row, item in enumerate(items) for _ in item.output_positions]
        columns = [position for item in items for position in item.output_positions]
        return states[torch.tensor(rows, device=states.device), torch.tensor(columns, device=states.device)]

    def lay(self, states: Sequence[Tensor], items: Sequence[Encoded]) -> Tensor:
        """Arrange states of items, each `[tokens, hidden]`, in this layout."""
        return pad_sequence(list(states), batch_first=True)

    def common(self, items: Sequence[Encoded]) -> int:
        """Return how many tokens that all items begin with are computed once in a pass."""
        return 0

    def _headed(self, model: nn.Module, inputs: Mapping[str, Any], items: Sequence[Encoded], *, whole: bool) -> Any:
        """Run the backbone on inputs in this layout, and the head at the output positions or on whole sequences."""
        if not whole:
            return run_apart(model, inputs, lambda states: self.pick(states, items).unsqueeze(1), count_outputs(items))
        every = [replace(item, output_positions=tuple(range(len(item.tokens)))) for item in items]
        lengths = [len(item.tokens) for item in items]

        def unpack(states: Tensor) -> Tensor:
            return pad_sequence(list(self.pick(states, every).split(lengths)), batch_first=True)

        return run_apart(model, inputs, unpack, padded_inputs(model, items))


@dataclass(frozen=True)
class Packed(Layout):
    """All sequences in one row, without padding."""

    offset: int = 0
    """The model's first position (2 in RoBERTa)."""
    last_layer: LastLayerSelection | None = None
    """How the last layer is run at the output positions only, if it can be."""
    half: torch.dtype | None = None
    """The type in which attention is computed in training; that of the states if None."""
    witness: Witness | None = None
    context: Context | None = None
    """What the sequences attend to, if not just themselves."""
    positions: Sequence[int] = ()
    """Of each token of the row; from 0 in each sequence if not given."""
    whole: bool = False
    """Whether the head gets whole sequences, because it pools over their tokens itself."""

    @property
    def name(self) -> Message:
        """The layout, and whether the last layer is selective."""
        if self.last_layer:
            return msg("packed: no padding; the last layer only at output positions")
        if self.whole:
            return msg("packed: no padding; the head on whole sequences")
        return msg("packed: no padding")

    def run(self, model: nn.Module, items: Sequence[Encoded]) -> Any:
        """Run a model whose attention takes boundaries on one row."""
        device = device_of(model)
        boundaries = torch.tensor(_bounds(items), dtype=torch.int32, device=device)
        longest = max(len(item.tokens) for item in items)
        positions = self.positions or [at for item in items for at in range(len(item.tokens))]
        inputs: dict[str, Any] = {
            "input_ids": torch.tensor([[token for item in items for token in item.tokens]], device=device),
            "position_ids": torch.tensor([positions], device=device) + self.offset,
            "cu_seq_lens_q": boundaries,
            "cu_seq_lens_k": boundaries,
            "kamerton_lengths": tuple(len(item.tokens) for item in items),
            "max_length_q": longest,
            "max_length_k": longest,
        }
        if any(item.segments for item in items):
            types = [kind for item in items for kind in _types_of(item)]
            inputs["token_type_ids"] = torch.tensor([types], device=device)
        if self.context is not None:
            inputs |= {"kamerton_context": self.context, "kamerton_reach": max(positions) + 1}
        if self.half is not None and model.training:
            inputs["kamerton_half"] = self.half
        if self.witness is not None:
            inputs["kamerton_witness"] = self.witness
        selecting: AbstractContextManager[None] = nullcontext()
        if self.last_layer and count_outputs(items) < sum(len(item.tokens) for item in items):
            selecting = self.last_layer.at(torch.tensor(self._outputs(items), device=device))
        with attending(model, PACKED), passing(inputs), selecting:
            try:
                return self._headed(model, inputs, items, whole=self.whole)
            except (TypeError, AttributeError) as error:
                if outer_model(model)._supports_attention_backend:
                    raise
                raise UnsupportedError("the model's own attention wants a mask") from error  # and got None

    def places(self, items: Sequence[Encoded]) -> Sequence[Sequence[int]]:
        """Return, for each item, the indices of its tokens in the row."""
        return [range(start, end) for start, end in pairwise(_bounds(items))]

    def _outputs(self, items: Sequence[Encoded]) -> list[int]:
        starts = zip(_bounds(items), items, strict=False)
        return [start + position for start, item in starts for position in item.output_positions]

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Select the output positions from `[1, tokens, hidden]`, unless the last layer has done so."""
        outputs = self._outputs(items)
        if self.last_layer and states.shape[1] == len(outputs) < sum(len(item.tokens) for item in items):
            return states[0]
        return states[0, torch.tensor(outputs, device=states.device)]

    def lay(self, states: Sequence[Tensor], items: Sequence[Encoded]) -> Tensor:
        """Concatenate states: `[1, tokens, hidden]`."""
        return torch.cat(list(states)).unsqueeze(0)


@dataclass(frozen=True)
class Padded(Layout):
    """Rows padded to the longest; the head still only at the output positions."""

    reason: Message = field(default_factory=lambda: msg("a packed row changes this model's results"))

    @property
    def name(self) -> Message:
        """The layout with its reason."""
        return msg("padded: {reason}", reason=self.reason)

    def run(self, model: nn.Module, items: Sequence[Encoded]) -> Any:
        """Run a model on padded rows."""
        return self._headed(model, padded_inputs(model, items), items, whole=False)


@dataclass(frozen=True)
class SharedRows(Layout):
    """Several sequences in each row, hidden from each other by a mask: fewer rows than padded ones, and no wider.

    For models whose own attention takes no boundaries, but a mask for each pair of tokens (DeBERTa, MPNet, GPT-J).
    """

    mask: Literal["pairs", "scores", "causal scores"]
    """Which pairs see each other, `[rows, width, width]`; or what is added to the scores, `[rows, 1, width, width]`."""
    offset: int | None = 0
    """The model's first position; None if it counts positions itself, which is right where only distances matter."""
    together: bool = False
    """Whether all sequences share one row, whatever its width: so they do in the proof."""
    whole: bool = False
    """Whether the head gets whole sequences."""

    name = msg("several sequences in a row: little padding")

    def run(self, model: nn.Module, items: Sequence[Encoded]) -> Any:
        """Run a model on the shared rows."""
        pad, device = outer_model(model).config.get_text_config().pad_token_id or 0, device_of(model)
        rows = self._rows(items)
        ids, _ = pad_rows([[token for i in row for token in items[i].tokens] for row in rows], pad, device)
        places, _ = pad_rows([[at for i in row for at in range(len(items[i].tokens))] for row in rows], 0, device)
        owners, _ = pad_rows([[i for i in row for _ in items[i].tokens] for row in rows], -1, device)
        seen = owners[:, :, None] == owners[:, None, :]  # padding sees padding, for no row of scores may be empty
        inputs = {"input_ids": ids, "attention_mask": self._mask(model, seen)}
        if self.offset is not None:
            inputs["position_ids"] = places + self.offset
        if any(item.segments for item in items):
            types = [[kind for i in row for kind in _types_of(items[i])] for row in rows]
            inputs["token_type_ids"], _ = pad_rows(types, 0, device)
        with tokens_unmasked(model):
            try:
                return self._headed(model, inputs, items, whole=self.whole)
            except (AssertionError, ValueError) as error:
                raise UnsupportedError("the model's own attention wants a mask of tokens") from error

    def _mask(self, model: nn.Module, seen: Tensor) -> Tensor:
        if self.mask == "pairs":
            return seen.long()
        if self.mask == "causal scores":
            seen = seen.tril()
        kind = next(weight.dtype for weight in model.parameters() if weight.is_floating_point())
        hidden = torch.zeros(seen.shape, dtype=kind, device=seen.device)
        return hidden.masked_fill_(~seen, torch.finfo(kind).min).unsqueeze(1)

    def _rows(self, items: Sequence[Encoded]) -> list[list[int]]:
        """Put each sequence, the longest first, into the first row that has room for it."""
        lengths = [len(item.tokens) for item in items]
        width = sum(lengths) if self.together else max(lengths)
        rows, room = list[list[int]](), list[int]()
        for i in sorted(range(len(items)), key=lambda i: -lengths[i]):
            row = next((row for row, left in enumerate(room) if lengths[i] <= left), len(rows))
            if row == len(rows):
                rows.append([])
                room.append(width)
            rows[row].append(i)
            room[row] -= lengths[i]
        return rows

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Select the output positions from `[rows, width, hidden]`."""
        start = dict[int, tuple[int, int]]()
        for number, row in enumerate(self._rows(items)):
            ends = accumulate((len(items[i].tokens) for i in row), initial=0)
            start |= {i: (number, at) for i, at in zip(row, ends, strict=False)}
        places = [(start[i][0], start[i][1] + at) for i, item in enumerate(items) for at in item.output_positions]
        rows, columns = torch.tensor(places, device=states.device).view(-1, 2).T
        return states[rows, columns]

    def lay(self, states: Sequence[Tensor], items: Sequence[Encoded]) -> Tensor:
        """Arrange states of items, each `[tokens, hidden]`: `[rows, width, hidden]`."""
        return pad_sequence([torch.cat([states[i] for i in row]) for row in self._rows(items)], batch_first=True)


@dataclass(frozen=True)
class Plain(Layout):
    """The model's own forward pass on padded rows."""

    name = msg("padded, all positions: the model's own forward pass")

    def run(self, model: nn.Module, items: Sequence[Encoded]) -> Any:
        """Run a model on padded rows, at all positions."""
        return run_fused(model, padded_inputs(model, items) | uncached(model))

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Return the head's output at every output position: `[outputs, classes]`."""
        logits = head_output(self.run(model, items))
        if logits.dim() == 2:  # one output a sequence: the model itself chose the position
            return logits
        # a method may have put prompt tokens before the real ones
        return self.pick(logits[:, -max(len(item.tokens) for item in items) :], items)

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Return the last hidden state at every output position: `[outputs, hidden]`."""
        return self.pick(self.run(model, items).last_hidden_state, items)


@dataclass(frozen=True)
class EncoderDecoder(Layout):
    """An encoder's rows and a decoder's, both padded; the head only at the decoder's output positions.

    An item's tokens are the encoder's; its targets are the decoder's answer, read from the start token on.
    """

    all_positions: bool = False
    """Whether the model's own head runs at all positions, as it would without us."""

    @property
    def name(self) -> Message:
        """The layout."""
        return msg("padded on both sides, all positions" if self.all_positions else "padded on both sides")

    def run(self, model: nn.Module, items: Sequence[Encoded], source: Mapping[str, Any] | None = None) -> Any:
        """Run both sides; `source` replaces the items' tokens."""
        inputs = {**(source or padded_inputs(model, items)), **decoder_inputs(model, items)}
        return run_fused(model, inputs | {"use_cache": False})

    def logits(self, model: nn.Module, items: Sequence[Encoded], source: Mapping[str, Any] | None = None) -> Tensor:
        """Return the head's output at every output position: `[outputs, classes]`."""
        if self.all_positions:
            return self.pick(self.run(model, items, source).logits, items)

        def select(_module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> Any:
            output.last_hidden_state = self.pick(output.last_hidden_state, items).unsqueeze(0)
            return output

        decoder = outer_model(model).get_decoder().base_model
        with decoder.register_forward_hook(select, with_kwargs=True):
            return self.run(model, items, source).logits[0]

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Return the encoder's last hidden state at every output position: `[outputs, hidden]`."""
        states = outer_model(model).get_encoder()(**padded_inputs(model, items)).last_hidden_state
        return super().pick(states, items)

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Select the output positions from the decoder's `[items, longest, hidden]`, behind any prompt tokens."""
        return super().pick(states[:, -max(len(item.output_positions) for item in items) :], items)


@dataclass(frozen=True)
class Unpadded(Layout):
    """Rows of one length at a time: the reference of every proof, and the last resort.

    A model that is given embeddings instead of tokens cannot tell where padding begins.
    """

    plain: Plain | EncoderDecoder = field(default_factory=Plain)

    name = msg("rows of one length at a time: padding changes this model's results")

    def run(self, model: nn.Module, items: Sequence[Encoded]) -> Any:
        """Run items of one length."""
        return self.plain.run(model, items)

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Return the head's output at every output position: `[outputs, classes]`."""
        return self._by_length(items, lambda group: self.plain.logits(model, group))

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Return the last hidden state at every output position: `[outputs, hidden]`."""
        return self._by_length(items, lambda group: self.plain.hidden(model, group))

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Select the output positions as the plain layout does."""
        return self.plain.pick(states, items)

    def _by_length(self, items: Sequence[Encoded], output: Callable[[Sequence[Encoded]], Tensor]) -> Tensor:
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, item in enumerate(items):
            groups[len(item.tokens), len(item.output_positions)].append(index)
        states = torch.cat([output([items[index] for index in group]) for group in groups.values()])
        return in_order(states, items, list(chain.from_iterable(groups.values())))


def candidate_layouts(model: nn.Module) -> Iterator[Layout]:
    """Yield the layouts that may fit a model, the best first."""
    if is_encoder_decoder(model):
        yield EncoderDecoder()
        yield EncoderDecoder(all_positions=True)
        return
    if has_prompt_tokens(model):  # what exchanges the backbone's inputs would lose them
        yield Plain()
        return
    if outer_model(model)._is_stateful:  # short rows may leak less than a proof notices
        yield Padded(msg("the model carries a state from token to token"))
    else:
        ways = [*_without_padding(model)]
        yield from ways
        if backbone_of(model) is not outer_model(model) and outer_model(model).get_output_embeddings() is None:
            yield from (replace(way, whole=True) for way in ways)  # EuroBERT's and some ModernBERT's heads pool
        yield Padded()
    yield Plain()


def _without_padding(model: nn.Module) -> Iterator[Packed | SharedRows]:
    pad = outer_model(model).config.get_text_config().pad_token_id
    offsets = (0,) if pad is None else (0, pad + 1)
    yield from (Packed(offset) for offset in offsets)
    takes_positions = "position_ids" in signature(type(backbone_of(model)).forward).parameters
    places = offsets if takes_positions else (None,)
    yield from (SharedRows(mask, offset, together=True) for mask in MASKS for offset in places)


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """While active, a model is in training or evaluation mode."""
    before = model.training
    model.train(training)
    try:
        yield
    finally:
        model.train(before)


def count_outputs(items: Sequence[Encoded]) -> int:
    """Count the output positions."""
    return sum(len(item.output_positions) for item in items)


def in_order(states: Tensor, items: Sequence[Encoded], indices: Sequence[int]) -> Tensor:
    """Sort states at the output positions of items from some order of their indices: `[outputs, ...]`."""
    parts = dict(zip(indices, states.split([len(items[i].output_positions) for i in indices]), strict=True))
    return torch.cat([parts[index] for index in range(len(items))])


def _types_of(item: Encoded) -> tuple[int, ...]:
    return item.segments or (0,) * len(item.tokens)


def padded_inputs(model: nn.Module, items: Sequence[Encoded]) -> dict[str, Tensor]:
    """Pad items on the right to the longest: `input_ids` and `attention_mask`, `[items, longest]`."""
    pad = outer_model(model).config.get_text_config().pad_token_id or 0
    device = device_of(model)
    ids, mask = pad_rows([item.tokens for item in items], pad, device)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if any(item.segments for item in items):
        inputs["token_type_ids"], _ = pad_rows([_types_of(item) for item in items], 0, device)
    return inputs


def decoder_inputs(model: nn.Module, items: Sequence[Encoded]) -> dict[str, Tensor]:
    """Shift each item's targets right behind the start token: `decoder_input_ids` and mask, `[items, longest]`."""
    config = outer_model(model).config
    pad = config.get_text_config(decoder=True).pad_token_id or 0
    shifted = [(config.decoder_start_token_id, *item.targets[:-1]) for item in items]
    ids, mask = pad_rows(shifted, pad, device_of(model))
    return {"decoder_input_ids": ids, "decoder_attention_mask": mask}


def pad_rows(
    rows: Sequence[Sequence[int]], pad: int, device: torch.device, side: str = "right"
) -> tuple[Tensor, Tensor]:
    """Pad rows to the longest; return them with their mask, `[rows, longest]` each."""
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    ids = pad_sequence(tensors, batch_first=True, padding_value=pad, padding_side=side)
    mask = pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True, padding_side=side)
    return ids.to(device), mask.to(device)


def _bounds(items: Sequence[Encoded]) -> list[int]:
    return list(accumulate((len(item.tokens) for item in items), initial=0))
