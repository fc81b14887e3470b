"""Only those rows of an embedding table train that the training rows use: exact, and a fraction of the work.

A multilingual encoder of 118M weights has 96M of them in a table of 250,000 rows, of which a few thousand texts use
some thousands. The others get a gradient of zeros in every update, and an optimizer that keeps them for that reason
does as well without them. So while training lasts, the rows in use stand in a table of their own, which alone has
gradients, a norm, averages and a place in checkpoints; then they are folded back, and nothing of it is left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from kamerton.core.records import Encoded
from kamerton.engine.layout import Layout
from kamerton.models.structure import is_encoder_decoder, outer_model
from kamerton.runs.recipe import TrainSettings
from kamerton.train.optimizer import optimizer_class

SHARE = 0.5
"""Of a table's rows: from this on, a second table would be more to hold than there is to save."""
NONE = -1
"""The place of a token that is not in use."""


class UsedRows(nn.Embedding):
    """An embedding table whose rows in use train in a table of their own; the others stay as they are."""

    rows: nn.Parameter
    """Those in use, by token: `[used, hidden]`."""
    places: Tensor
    """Where in `rows` each token's is: `[vocabulary]`."""

    def forward(self, input: Tensor) -> Tensor:
        """Look tokens up: in training only such as are in use, else any.

        Raises:
            IndexError: a token is trained on that no training row holds.
        """
        places = self.places[input]
        used = places != NONE
        if not self.training:
            return torch.where(used.unsqueeze(-1), self._look_up(places.clamp(min=0)), super().forward(input))
        if not used.all():
            raise IndexError(f"token {input[~used][0].item()} is trained on, but no training row holds it")
        return self._look_up(places)

    def _look_up(self, places: Tensor) -> Tensor:
        padding = NONE if self.padding_idx is None else int(self.places[self.padding_idx])
        return embedding(places, self.rows, None if padding == NONE else padding)


@contextmanager
def only_used_rows(
    model: nn.Module, layout: Layout, rows: Sequence[Encoded], settings: TrainSettings
) -> Iterator[Mapping[str, str]]:
    """While active, the token table of a model trains only where rows use it, if that changes nothing.

    This alone decides what trains of a table: the forecast gauges a model inside of it, too.

    Args:
        model: with `requires_grad` as the method left it.
        layout: how it will be run.
        rows: all that it will be trained on.
        settings: name the optimizer.

    Yields:
        What a checkpoint made meanwhile belongs to, beside all else: which tokens are in use.
    """
    chosen = _choose(model, layout, rows) if optimizer_class(settings).leaves_untouched else None
    if chosen is None:
        yield {}
        return
    table, tokens = chosen
    with _parted(table, tokens):
        yield {"tokens in use": hashlib.sha256(tokens.numpy().tobytes()).hexdigest()}


def tokens_in_use(model: nn.Module, rows: Sequence[Encoded]) -> set[int]:
    """Give all tokens that layouts show a model while it trains on these rows, padding and start token included."""
    config, sequences = outer_model(model).config, [sequence for row in rows for sequence in row.sequences]
    used = {config.get_text_config().pad_token_id or 0}
    used.update(chain.from_iterable(sequence.tokens for sequence in sequences))
    if is_encoder_decoder(model):
        used |= {config.decoder_start_token_id, config.get_text_config(decoder=True).pad_token_id or 0}
        used.update(chain.from_iterable(sequence.targets[:-1] for sequence in sequences))
    return used


def _choose(model: nn.Module, layout: Layout, rows: Sequence[Encoded]) -> tuple[nn.Embedding, Tensor] | None:
    """Give the table to part, with the tokens in use, in order; None if that would save little, or change anything."""
    table = _table(model)
    if table is None:
        return None
    tokens = torch.tensor(sorted(tokens_in_use(model, rows)))
    if len(tokens) >= SHARE * len(table.weight) or not _is_only_looked_up(table, tokens, model, layout, rows):
        return None
    return table, tokens


def _table(model: nn.Module) -> nn.Embedding | None:
    """Find the token table, if it trains, is torch's own, and no other module holds it, as an output head may."""
    try:
        table = outer_model(model).get_input_embeddings()
    except NotImplementedError:
        return None  # transformers' word for a model whose tokens it cannot find
    if type(table) is not nn.Embedding or not table.weight.requires_grad:
        return None
    if table.sparse or table.scale_grad_by_freq or table.max_norm is not None:
        return None
    holders = [module for module in model.modules() for own in module.parameters(recurse=False) if own is table.weight]
    return table if len(holders) == 1 else None


def _is_only_looked_up(
    table: nn.Embedding, tokens: Tensor, model: nn.Module, layout: Layout, rows: Sequence[Encoded]
) -> bool:
    """Say whether a table is for looking up and nothing else: DeBERTa's head for hidden tokens multiplies by it.

    If so, no gradient reaches it once its rows in use are apart.
    """
    some = [sequence for row in rows for sequence in row.sequences if sequence.output_positions][:1]
    if not some:
        return False
    training = model.training
    try:
        with _parted(table, tokens), torch.random.fork_rng():
            table.weight.requires_grad_(True)
            logits = layout.logits(model.train(), some)
            [gradient] = torch.autograd.grad(logits.sum(), [table.weight], allow_unused=True)
    finally:
        model.train(training)
    return gradient is None


@contextmanager
def _parted(table: nn.Embedding, tokens: Tensor) -> Iterator[None]:
    """While active, some rows of a table train in a table of their own, and the others are frozen.

    Args:
        table: that trains.
        tokens: whose rows, in order.
    """
    places = torch.full((len(table.weight),), NONE)
    places[tokens] = torch.arange(len(tokens))
    table.weight.requires_grad_(False)
    table.__class__ = UsedRows
    parted = cast(UsedRows, table)
    parted.rows = nn.Parameter(table.weight[tokens.to(table.weight.device)].clone())
    parted.register_buffer("places", places.to(table.weight.device), persistent=False)
    try:
        yield
    finally:
        with torch.no_grad():
            table.weight[parted.places != NONE] = parted.rows
        del parted.rows, parted.places
        table.__class__ = nn.Embedding
        table.weight.requires_grad_(True)
