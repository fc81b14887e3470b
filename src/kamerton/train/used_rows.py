"""Only the rows of an embedding table that the training rows use are trained: exact, and a fraction of the work.

A multilingual encoder of 118M weights has 96M of them in a table of 250,000 rows, of which a few thousand texts use
some thousands. The others have a gradient of zero in every update, and some optimizers then leave them unchanged. So
while training lasts, the rows in use are a table of their own, which alone has gradients, optimizer state and a place
in checkpoints; then they are copied back.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from kamerton.core.records import Encoded
from kamerton.engine.layout import Layout, in_mode
from kamerton.kernels.device import own_random_states
from kamerton.models.structure import device_of, is_encoder_decoder, outer_model
from kamerton.runs.recipe import TrainSettings
from kamerton.train.optimizer import optimizer_class

SHARE = 0.5
"""Share of a table's rows in use from which a second table would take more memory than it saves."""
NONE = -1
"""The index of a token that is not in use."""


class UsedRows(nn.Embedding):
    """An embedding table whose rows in use train in a table of their own; the others are frozen."""

    rows: nn.Parameter
    """The rows in use, in the order of their tokens: `[used, hidden]`."""
    places: Tensor
    """Each token's index in `rows`: `[vocabulary]`."""
    padding: int | None
    """The padding token's index in `rows`, if it is in use."""

    def forward(self, input: Tensor) -> Tensor:
        """Look tokens up; in training, only those in use.

        Raises:
            IndexError: a token is trained on that no training row contains.
        """
        places = self.places[input]
        used = places != NONE
        if not self.training:
            return torch.where(used.unsqueeze(-1), self._look_up(places.clamp(min=0)), super().forward(input))
        if input.device.type == "cpu" and not used.all():  # a device would wait; its own lookup refuses what is below 0
            raise IndexError(f"token {input[~used][0].item()} is trained on, but no training row contains it")
        return self._look_up(places)

    def _look_up(self, places: Tensor) -> Tensor:
        return embedding(places, self.rows, self.padding)


@contextmanager
def only_used_rows(
    model: nn.Module, layout: Layout, rows: Sequence[Encoded], settings: TrainSettings
) -> Iterator[Mapping[str, str]]:
    """While active, the token table of a model trains only where rows use it, if that changes nothing.

    Yields:
        What else identifies a checkpoint made meanwhile: the tokens in use.
    """
    chosen = _choose(model, layout, rows) if optimizer_class(settings).leaves_untouched else None
    if chosen is None:
        yield {}
        return
    table, tokens = chosen
    with _split(table, tokens):
        yield {"tokens in use": hashlib.sha256(tokens.numpy().tobytes()).hexdigest()}


def tokens_in_use(model: nn.Module, rows: Sequence[Encoded]) -> set[int]:
    """Return all tokens that a model is given while it trains on these rows, padding and start token included."""
    config, sequences = outer_model(model).config, [sequence for row in rows for sequence in row.sequences]
    used = {config.get_text_config().pad_token_id or 0}
    used.update(chain.from_iterable(sequence.tokens for sequence in sequences))
    if is_encoder_decoder(model):
        used |= {config.decoder_start_token_id, config.get_text_config(decoder=True).pad_token_id or 0}
        used.update(chain.from_iterable(sequence.targets[:-1] for sequence in sequences))
    return used


def _choose(model: nn.Module, layout: Layout, rows: Sequence[Encoded]) -> tuple[nn.Embedding, Tensor] | None:
    """Return the table to split and the sorted tokens in use; None if that would save little, or change anything."""
    table = _table(model)
    if table is None:
        return None
    tokens = torch.tensor(sorted(tokens_in_use(model, rows)))
    if len(tokens) >= SHARE * len(table.weight) or not _is_only_looked_up(table, tokens, model, layout, rows):
        return None
    return table, tokens


def _table(model: nn.Module) -> nn.Embedding | None:
    """Find the token table, if it trains, is torch's own, and no other module shares it, as an output head may."""
    try:
        table = outer_model(model).get_input_embeddings()
    except NotImplementedError:
        return None  # transformers finds no token table
    if type(table) is not nn.Embedding or not table.weight.requires_grad:
        return None
    if table.sparse or table.scale_grad_by_freq or table.max_norm is not None:
        return None
    holders = [module for module in model.modules() for own in module.parameters(recurse=False) if own is table.weight]
    return table if len(holders) == 1 else None


def _is_only_looked_up(
    table: nn.Embedding, tokens: Tensor, model: nn.Module, layout: Layout, rows: Sequence[Encoded]
) -> bool:
    """Return whether a table is only looked up, and only for the tokens of the rows.

    DeBERTa's masked-language head multiplies by it: a gradient reaches it even when its rows in use are split off.
    CPM-Ant puts tokens of its own before each row.
    """
    some = [sequence for row in rows for sequence in row.sequences if sequence.output_positions][:1]
    with in_mode(model, training=False):
        if not some or not _looks_up(table, tokens, lambda: layout.logits(model, some)):
            return False
    with in_mode(model, training=True), _split(table, tokens), own_random_states(device_of(model)):
        table.weight.requires_grad_(True)
        logits = layout.logits(model, some)
        [gradient] = torch.autograd.grad(logits.sum(), [table.weight], allow_unused=True)
    return gradient is None


def _looks_up(table: nn.Embedding, tokens: Tensor, run: Callable[[], Tensor]) -> bool:
    """Return whether a table is asked for these tokens only while something runs."""
    asked: list[Tensor] = []
    with table.register_forward_pre_hook(lambda _module, args: asked.append(args[0].flatten())), torch.no_grad():
        run()
    return bool(torch.isin(torch.cat(asked).cpu(), tokens).all()) if asked else False


@contextmanager
def _split(table: nn.Embedding, tokens: Tensor) -> Iterator[None]:
    """While active, the rows of some tokens, in order, train in a table of their own; the others are frozen."""
    places = torch.full((len(table.weight),), NONE)
    places[tokens] = torch.arange(len(tokens))
    table.weight.requires_grad_(False)
    table.__class__ = UsedRows
    split_table = cast(UsedRows, table)
    split_table.rows = nn.Parameter(table.weight[tokens.to(table.weight.device)].clone())
    padding = NONE if table.padding_idx is None else int(places[table.padding_idx])
    split_table.padding = None if padding == NONE else padding
    split_table.register_buffer("places", places.to(table.weight.device), persistent=False)
    try:
        yield
    finally:
        with torch.no_grad():
            table.weight[split_table.places != NONE] = split_table.rows
        del split_table.rows, split_table.places, split_table.padding
        table.__class__ = nn.Embedding
        table.weight.requires_grad_(True)
