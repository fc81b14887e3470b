"""The machine that a run is planned for: the one that is here, or one that is described in a word."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, TypeAdapter

from kamerton.core.errors import Fault, ModelError, nearest
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.readers import parse_yaml, read_bytes
from kamerton.kernels.device import CPU, choose_device, free_bytes, name_of
from kamerton.kernels.processes import launched
from kamerton.models.precision import by_capability, choose_precision
from kamerton.runs.recipe import Decision, ModelSettings

FILE = Path(__file__).with_name("machines.yaml")
SIZE = re.compile(r"(cpu|mac|gpu|)(\d+(?:\.\d+)?)gi?b")
UNTOLD = re.compile(r"nvidia|geforce|[\s_-]")
"""What does not tell cards apart: `NVIDIA GeForce RTX 4090` is `rtx4090`."""
METAL_SHARE, LARGE_MAC, LARGE_SHARE = 2 / 3, 36 << 30, 3 / 4
"""The share of a Mac's memory that Metal recommends for a process: 11.45 GB of 16, 22.91 of 32, 51.54 of 64, as
llama.cpp prints it in the reports of its users (recommendedMaxWorkingSetSize, in 10^6 bytes); here by 2^30 bytes."""
FULL = "fp32"
"""The working type that has 32 bits."""


@dataclass(frozen=True)
class Machine:
    """What method, pass size and precision are chosen for."""

    name: Wording
    kind: str
    """As torch names devices: cpu, cuda, mps."""
    free_bytes: int
    precision: Decision
    """The working type, that of frozen weights and their products."""
    here: bool = True
    """Whether it can be timed."""
    processes: int = 1
    """How many such devices train together, each with a process."""

    def working(self, precision: str | None) -> Self:
        """Return it with another working type, unless that is left open."""
        return replace(self, precision=Decision(precision, "")) if precision else self


class _Card(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    memory: int
    capability: tuple[int, int]


@cache
def cards() -> Mapping[str, _Card]:
    """Read the table of cards."""
    return TypeAdapter(dict[str, _Card]).validate_python(parse_yaml(read_bytes(FILE, ModelError), FILE, ModelError))


def this_machine(model: ModelSettings) -> Machine:
    """Return the device of the settings, with what is free on it now.

    Raises:
        ModelError: there is no such device.
    """
    place = choose_device(model.device)
    precision = Decision(model.precision, "") if model.precision else choose_precision(place)
    every, here = launched()
    free = free_bytes(place) // (here if place == CPU else 1)  # processes on a CPU share its memory
    return Machine(name_of(place), place.type, free, precision, processes=every)


def planned_machine(described: Machine | None, model: ModelSettings) -> Machine:
    """Return the machine to plan for: one that is described, in the working type of the settings, or the one here."""
    return described.working(model.precision) if described else this_machine(model)


def described_machine(word: str) -> Machine:
    """Return a machine that is not here: a card of the table, `24GB` of any recent card, `cpu-16gb`, or `mac-32gb`.

    Raises:
        ModelError: no machine is known by that name, with those that are.
    """
    plain = UNTOLD.sub("", word.lower())
    for name, card in cards().items():
        if plain == UNTOLD.sub("", name):
            return _card(word, card.memory << 30, by_capability(word, card.capability))
    found = SIZE.fullmatch(plain)
    if not found:
        rule = msg("no machine is known as '{name}'", name=word)
        sizes = msg("a size such as 24GB, cpu-16gb or mac-32gb is taken as well")
        raise ModelError(Fault(rule, "--for", Joined((nearest(plain, cards()), sizes))))
    return _of_size(found[1], int(float(found[2]) * 2**30))


def _of_size(kind: str, memory: int) -> Machine:
    size = Figure(memory, "memory")
    match kind:
        case "cpu":
            reason = msg("whether products in bf16 are faster on that CPU is not known")
            return Machine(msg("a CPU with {memory}", memory=size), "cpu", memory, Decision(FULL, reason), here=False)
        case "mac":
            share = LARGE_SHARE if memory > LARGE_MAC else METAL_SHARE
            name = msg("a Mac with {memory}", memory=size)
            return Machine(name, "mps", int(memory * share), by_capability(name, (0, 0)), here=False)
    name = msg("a card with {memory}", memory=size)
    return _card(name, memory, Decision("bf16", msg("a card of compute capability 8.0 or more is assumed")))


def _card(name: Wording, memory: int, precision: Decision) -> Machine:
    return Machine(name, "cuda", memory, precision, here=False)
