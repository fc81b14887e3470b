"""Continuous decoding of encoder-decoders: each answer has its source's encoding and a cache of its own.

Answers join, leave and stream as those of causal models do (`kamerton.engine.continuous`), one token a step, each in a
forward pass of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from kamerton.core.records import Encoded
from kamerton.engine.continuous import Joining, KeptPrompts
from kamerton.engine.hf_generate import EncodedSources
from kamerton.models.structure import device_of, outer_model


@dataclass
class _OpenAnswer:
    """An answer that is being written."""

    inputs: dict[str, Any]
    """Of the decoder: the encoded source and its mask."""
    size: int
    """Most tokens of source and answer."""
    cache: Any = None


class EncoderDecoderBatch:
    """Answers that are written side by side.

    Args:
        model: an encoder-decoder without prompt tokens, whose sources can be encoded once.
        room: most tokens of sources and answers at once.
    """

    by_token: ClassVar = False
    """Rows pass one by one, so all go through one adapter."""

    def __init__(self, model: nn.Module, room: int) -> None:
        self.model, self.room = model, room
        self.logits = torch.empty(0)
        """Of each answer's next token, `[answers, vocabulary]`."""
        self._answers: list[_OpenAnswer] = []

    def __len__(self) -> int:
        return len(self._answers)

    def fits(self, joining: Sequence[Joining]) -> bool:
        """Return whether there is memory for more answers; an empty batch takes any one."""
        sizes = [*(len(one.tokens) + one.room for one in joining), *(one.size for one in self._answers)]
        return len(sizes) == 1 or sum(sizes) <= self.room

    @torch.no_grad()
    def join(self, joining: Sequence[Joining], kept: KeptPrompts) -> None:
        """Encode sources and begin their answers; of sources nothing is kept."""
        start, first = int(outer_model(self.model).config.decoder_start_token_id), len(self)
        for one in joining:
            inputs = EncodedSources.of(self.model, [Encoded(one.tokens, (), ())]).inputs([0])
            self._answers.append(_OpenAnswer(inputs, len(one.tokens) + one.room))
        new = torch.stack([self._step(answer, start) for answer in self._answers[first:]])
        self.logits = torch.cat([self.logits, new]) if first else new

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only the chosen answers, in this order."""
        self._answers = [self._answers[index] for index in indices]
        self.logits = self.logits[torch.tensor(indices, dtype=torch.long, device=self.logits.device)]

    @torch.no_grad()
    def add(self, tokens: Sequence[int]) -> None:
        """Add one token to each answer."""
        pairs = zip(self._answers, tokens, strict=True)
        self.logits = torch.stack([self._step(answer, token) for answer, token in pairs])

    def write(self, sources: Sequence[tuple[int, ...]], room: int, ends: Sequence[int]) -> list[list[int]]:
        """Return the most probable tokens of each source's answer, at most `room`, without the end token."""
        rows, going = [list[int]() for _ in sources], list(range(len(sources)))
        self.join([Joining(tokens, room) for tokens in sources], KeptPrompts())
        while going:
            tokens = self.logits.argmax(dim=-1).tolist()
            for row, token in zip(going, tokens, strict=True):
                rows[row] += [] if token in ends else [token]
            left = [at for at, token in enumerate(tokens) if token not in ends and len(rows[going[at]]) < room]
            self.keep(left)
            going, tokens = [going[at] for at in left], [tokens[at] for at in left]
            if going:
                self.add(tokens)
        return rows

    def _step(self, answer: _OpenAnswer, token: int) -> Tensor:
        ids = torch.tensor([[token]], device=device_of(self.model))
        output = cast(Any, self.model)(
            **answer.inputs, decoder_input_ids=ids, past_key_values=answer.cache, use_cache=True
        )
        answer.cache = output.past_key_values
        logits: Tensor = output.logits[0, -1]
        return logits
