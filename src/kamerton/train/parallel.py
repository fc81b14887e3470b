"""How several processes train one model: each computes the gradients of its share of every update's rows.

Gradients are summed over all rows of the update, whoever computed them, so losses and weights are those of one process
but for rounding. Whole models on every process are torch's DistributedDataParallel; models whose weights are divided
among the processes are its FSDP2 (`fully_shard`).
"""

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from kamerton.core.errors import Fault, TrainingError
from kamerton.core.messages import Message, msg
from kamerton.core.records import Encoded
from kamerton.engine.layout import Layout, in_mode
from kamerton.kernels.device import CPU, LESS_MEMORY, name_of, own_random_states, within_memory
from kamerton.kernels.processes import RankError, dealt, gathered, lost_rank_told, rank, world_size
from kamerton.kernels.trial import is_out_of_memory
from kamerton.models.structure import device_of, outer_model
from kamerton.runs.recipe import TrainSettings

SHARDED = "fsdp"
"""The setting of `train.parallel` that divides the weights."""
SAME = 1e-4
"""Largest difference of logits, relative to the largest: the tolerance between two layouts."""


@dataclass(frozen=True)
class Pass:
    """Rows that one process runs at once, by number."""

    rows: Sequence[int]
    counts: bool = True
    """Whether they count; if not, the pass is there because the other processes make one, and its weight is zero."""


class OneProcess:
    """Training on one process: nothing is divided, and nothing is exchanged."""

    def __init__(self, model: nn.Module, layout: Layout) -> None:
        self.model, self.layout = model, layout

    def share(self, numbers: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """Return which rows of an update this process computes, of so many tokens each."""
        return list(numbers)

    def aligned(self, passes: list[list[int]], numbers: Sequence[int]) -> list[Pass]:
        """Return this process's passes, with those added that others wait for."""
        return [Pass(rows) for rows in passes]

    def logits(self, sequences: Sequence[Encoded]) -> Tensor:
        """Run the model in training."""
        return self.layout.logits(self.model, sequences)

    def agreeing_on_memory(self) -> AbstractContextManager[None]:
        """Return what the passes but the last run within: if memory runs out on one rank, it does on all."""
        return nullcontext()

    def within_memory(self, too_little: Message) -> AbstractContextManager[None]:
        """Return what the optimizer runs within. Raises `TrainingError` with the sentence if memory runs out."""
        return within_memory(too_little)

    def exchanging(self, too_little: Message) -> AbstractContextManager[None]:
        """Return what the last pass of an update runs within, in which gradients are exchanged."""
        return nullcontext()

    def counted(self, one: Pass) -> float:
        """Return what the loss of a pass is multiplied by, so that the exchange gives the sum."""
        return 1.0

    def number(self, value: Tensor) -> float:
        """Return the number of a tensor that may be divided."""
        return float(value)

    def whole(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return tensors of weights, or of the optimizer, undivided."""
        return tensors

    def part(self, value: Tensor, like: Tensor) -> Tensor:
        """Return of a whole tensor what this process holds of one like it."""
        return value

    def begin(self, seed: int, step: int) -> None:
        """Prepare for an update: ranks draw different dropout, by seed and step alone, so that a stop changes none."""

    @contextmanager
    def undivided(self) -> Iterator[None]:
        """Let every process have the whole model within the block, to evaluate it."""
        yield


class DataParallel(OneProcess):
    """Every process has the whole model; gradients are averaged while the last backward pass goes on."""

    def __init__(self, model: nn.Module, layout: Layout, sample: Sequence[Encoded]) -> None:
        super().__init__(model, layout)
        forward = _Forward(model, layout)
        same = [name for name, weight in forward.named_parameters() if not weight.requires_grad]
        same += [name for name, _ in forward.named_buffers()]  # all ranks have loaded them from the same files
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(forward, same)
        unused = _without_gradient(forward, sample)
        with lost_rank_told():
            self.wrapped = DistributedDataParallel(forward, find_unused_parameters=unused)
            # After its first backward pass torch orders the exchange anew. If that were an update, a run that goes on
            # would add the gradients of more than two ranks in another order than one that was never stopped.
            with in_mode(model, training=True), own_random_states(device_of(model)):
                self.wrapped(sample).sum().backward()
            model.zero_grad(set_to_none=True)

    def share(self, numbers: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """Deal the rows out so that all have about as many tokens."""
        return [numbers[i] for i in dealt(tokens, world_size())[rank()]]

    def aligned(self, passes: list[list[int]], numbers: Sequence[int]) -> list[Pass]:
        """Order the passes so that memory runs out at once or never; without any, one takes part in the exchange."""
        return [Pass(rows) for rows in reversed(passes)] or [Pass(numbers[:1], counts=False)]

    def logits(self, sequences: Sequence[Encoded]) -> Tensor:
        """Run the model through the wrapper, which exchanges gradients afterwards."""
        with lost_rank_told():
            return cast(Tensor, self.wrapped(sequences))

    @contextmanager
    def agreeing_on_memory(self) -> Iterator[None]:
        """Exchange no gradients, and then whether memory ran out: all ranks try again, or none."""
        failed = ""
        try:
            with self.wrapped.no_sync():
                yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failed = str(error)
        if ran_out := next(filter(None, gathered(failed)), ""):
            raise MemoryError(ran_out)

    @contextmanager
    def exchanging(self, too_little: Message) -> Iterator[None]:
        """Exchange gradients. Raises `RankError` if memory runs out, since the other ranks wait for this one then."""
        try:
            with lost_rank_told():
                yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise RankError(Fault(too_little, remedy=LESS_MEMORY)) from error

    def within_memory(self, too_little: Message) -> AbstractContextManager[None]:
        """Raise `RankError` with the sentence if memory runs out, since the other ranks go on."""
        return self.exchanging(too_little)

    def counted(self, one: Pass) -> float:
        """Count as often as the exchange divides by."""
        return float(world_size() * one.counts)

    def begin(self, seed: int, step: int) -> None:
        """Let rank 0 go on drawing as one process does, and the others begin anew."""
        if rank():
            torch.manual_seed(int(np.random.SeedSequence([seed, step, rank()]).generate_state(1)[0]))


class Sharded(DataParallel):
    """The weights, their gradients and the optimizer's state are divided; each layer is gathered when it runs.

    Raises:
        TrainingError: a model whose weights are divided computes something else.
    """

    def __init__(self, model: nn.Module, layout: Layout, sample: Sequence[Encoded], *, offload: bool) -> None:
        OneProcess.__init__(self, model, layout)
        policy = CPUOffloadPolicy(pin_memory=device_of(model) != CPU) if offload else OffloadPolicy()
        self.forward = _Forward(model, layout)
        wanted = self._computed(sample)
        self.units = [fully_shard(module, offload_policy=policy) for module in [*_blocks(model), self.forward]]
        found = self._computed(sample)
        self.units[-1].reshard()  # else the optimizer would be made for gathered weights
        if not torch.allclose(found, wanted, rtol=SAME, atol=SAME * float(wanted.abs().max())):
            rule = msg("{model} computes something else when its weights are divided", model=type(model).__name__)
            raise TrainingError(Fault(rule, "train.parallel", msg("let every process have the whole model: ddp")))

    def _computed(self, sample: Sequence[Encoded]) -> Tensor:
        with in_mode(self.model, training=False), torch.no_grad():
            return self.logits(sample)

    def aligned(self, passes: list[list[int]], numbers: Sequence[int]) -> list[Pass]:
        """Let all make as many passes: every layer of each is gathered by all."""
        most = max(gathered(len(passes)))
        return [*map(Pass, reversed(passes)), *[Pass(numbers[:1], counts=False)] * (most - len(passes))]

    def logits(self, sequences: Sequence[Encoded]) -> Tensor:
        """Run the model; layers are gathered on the way."""
        with lost_rank_told(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)  # no view is written to: proven
            return cast(Tensor, self.forward(sequences))

    @contextmanager
    def agreeing_on_memory(self) -> Iterator[None]:
        """Keep gradients here. Raises `RankError` if memory runs out: the other ranks wait for layers of this one."""
        self.units[-1].set_requires_gradient_sync(False)
        with super().exchanging(msg("the memory of {device} does not suffice", device=name_of(device_of(self.model)))):
            yield
        self.units[-1].set_requires_gradient_sync(True)

    def number(self, value: Tensor) -> float:
        """Return the number of all parts."""
        return float(next(iter(self.whole({"": value}).values())))

    def whole(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Gather what is divided."""
        with lost_rank_told():
            return {name: one.full_tensor() if isinstance(one, DTensor) else one for name, one in tensors.items()}

    def part(self, value: Tensor, like: Tensor) -> Tensor:
        """Divide a tensor as another one is."""
        if not (isinstance(like, DTensor) and value.dim()):  # a count of steps is not divided
            return value
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)

    @contextmanager
    def undivided(self) -> Iterator[None]:
        """Gather all layers, and keep them until the block ends."""
        for unit in self.units:
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()
        try:
            yield
        finally:
            for unit in self.units:
                unit.set_reshard_after_forward(unit is not self.units[-1], recurse=False)
                unit.reshard()


class _Forward(nn.Module):
    """A model run in its layout, as the one call that wrappers expect."""

    def __init__(self, model: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.model, self.layout = model, layout

    def forward(self, sequences: Sequence[Encoded]) -> Tensor:
        return self.layout.logits(self.model, sequences)


def _without_gradient(forward: _Forward, sample: Sequence[Encoded]) -> bool:
    """Return whether weights that train get no gradient from a few rows: the exchange must look for them each time."""
    trained = [weight for weight in forward.parameters() if weight.requires_grad]
    with in_mode(forward.model, training=True), own_random_states(device_of(forward.model)):
        found = torch.autograd.grad(forward(sample).sum(), trained, allow_unused=True)
    return any(one is None for one in found)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Return a model's layers, which transformers knows as what must not be split over devices.

    One whose weights are used elsewhere is left out: heads are tied to tables of embeddings, and PEFT's soft prompts
    look tokens up in them.
    """
    parts = [part for part in outer_model(model).modules() if isinstance(part, PreTrainedModel)]
    names = {name for part in parts for name in part._no_split_modules or ()}
    blocks = [module for module in model.modules() if type(module).__name__ in names]
    outside = {weight for module in _reached(model, set(blocks)) for weight in module.parameters(recurse=False)}
    holders = Counter(weight for block in blocks for weight in {*block.parameters()})
    return [block for block in blocks if all(holders[one] == 1 and one not in outside for one in block.parameters())]


def _reached(module: nn.Module, closed: set[nn.Module]) -> Iterator[nn.Module]:
    """Yield a module and those within it that are reached without entering a closed one."""
    if module not in closed:
        yield module
        for child in module.children():
            yield from _reached(child, closed)


def how_divided(settings: TrainSettings, count: int) -> Message:
    """Say how so many processes train."""
    if settings.parallel == SHARDED:
        return msg("{count} processes train one model, whose weights are divided among them", count=count)
    return msg("{count} processes train one model, and each has all of it", count=count)


def divided(model: nn.Module, layout: Layout, rows: Sequence[Encoded], settings: TrainSettings) -> OneProcess:
    """Prepare a model for training by the processes that there are, as the settings say."""
    if world_size() == 1:
        return OneProcess(model, layout)
    sequences = [(hash(one.tokens), hash(one.targets), row.weight) for row in rows for one in row.sequences]
    told = hashlib.sha256(repr(sequences).encode()).hexdigest()
    if len({*gathered(told)}) > 1:
        rule = msg("the processes read other training rows than each other")
        raise TrainingError(
            Fault(rule, remedy=msg("let all machines use one folder of runs, and one version of Kamerton"))
        )
    sample = min(rows, key=lambda row: sum(len(sequence.tokens) for sequence in row.sequences)).sequences
    if settings.parallel == SHARDED:
        return Sharded(model, layout, sample, offload=settings.offload)
    return DataParallel(model, layout, sample)
