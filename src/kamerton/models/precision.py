"""Arithmetic: matrix products in bf16 where the machine is faster at them, everything else in fp32.

Only the products of the pretrained matrices are rounded; their results are fp32 again before anything is
added. So the small updates of an adapter, whose own matrices stay fp32, are not lost in the sum: added to
a bf16 result, most of a change of 1e-3 would vanish. Weights, gradients and optimizer stay fp32.
"""

from __future__ import annotations

import platform
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from kamerton.files import cache_folder, read_json, write_json
from kamerton.nodes.linear import HalfLinear
from kamerton.recipe import Decision

WORTH = 1.4
"""How much faster bf16 products must be to be worth their rounding."""
FIRST, AGAIN = 12, 4
"""How many products are timed the first time, and each time their speed is asked for."""
SHAPE = (768, 768, 2048)
"""Rows, inputs and outputs of the products that are timed: those of small models."""


def set_precision(model: nn.Module, precision: str) -> None:
    """Let a pretrained model's linear layers compute in `fp32` or `bf16`; layers added later are not touched."""
    if precision == "bf16":
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = HalfLinear


def choose_precision() -> Decision:
    """Decide by what this machine really does: the ratio is timed once and kept in the user's cache folder.

    So two runs on one machine decide alike, however busy it is.
    """
    ratio = round(_kept()["ratio"], 2)
    if ratio >= WORTH:
        return Decision("bf16", f"products in bf16 are {ratio:.1f} times as fast here; sums and weights stay fp32")
    return Decision("fp32", f"products in bf16 are {ratio:.1f} times as fast here: not worth the rounding")


def speed(precision: str) -> float:
    """Give the floating-point operations per second of this machine's products in `fp32` or `bf16`.

    The fastest ever seen counts: what was timed while the machine was busy is mended by the next call.
    """
    kept, now = _kept(), _speeds(AGAIN)
    fastest = {"ratio": kept["ratio"], **{name: max(kept[name], now[name]) for name in now}}
    if fastest != kept:
        write_json(_file(), fastest)
    return fastest[precision]


def _file() -> Path:
    return cache_folder() / f"speed-of-products-{platform.node()}-{torch.__version__}.json"


def _kept() -> dict[str, float]:
    if not _file().exists():
        speeds = _speeds(FIRST)
        write_json(_file(), {"ratio": speeds["bf16"] / speeds["fp32"], **speeds})
    kept: dict[str, float] = read_json(_file())
    return kept


def _speeds(times: int) -> dict[str, float]:
    rows, inputs, outputs = SHAPE
    x, weight = torch.ones(rows, inputs), torch.ones(outputs, inputs)
    work = 2.0 * rows * inputs * outputs
    halves = x.to(torch.bfloat16), weight.to(torch.bfloat16)
    return {"fp32": work / _seconds(x, weight, times), "bf16": work / _seconds(*halves, times)}


def _seconds(x: Tensor, weight: Tensor, times: int) -> float:
    """Time the fastest of several products."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        linear(x, weight)
        seconds.append(time.perf_counter() - began)
    return min(seconds)
