"""Mixed precision: matrix products in bf16 or fp16 if that is faster on this machine or card, all else in fp32.

Only the products of the pretrained matrices are rounded; their results are converted to fp32 before anything is
added. So the small updates of an adapter, whose own matrices stay fp32, survive the sum: added to a bf16 result, most
of a change of 1e-3 would vanish. Weights, gradients and optimizer states stay fp32.

Inference runs in fp32, since answers must not depend on the machine. On SmolLM2 with prompts of 1,300 tokens, prefill
in bf16 took two thirds of the time, and changed the margin of the best token over the second by 0.02 on average and by
0.11 at most. In 4 of 7 answers of 33 tokens some margin was below 0.1: these prompts would have to be computed again in
fp32, which costs the time saved. The loss of a true answer changed by 0.001 per token, ten times the tolerance between
two ways to compute it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from kamerton.core.figures import Figure
from kamerton.core.messages import Wording, msg
from kamerton.kernels.device import BF16_FROM, CPU, FP16_FROM, capability_of, name_of
from kamerton.kernels.linear import HalfEmbedding, HalfLinear
from kamerton.kernels.product import product
from kamerton.kernels.trial import kept_ratio
from kamerton.models.structure import outer_model
from kamerton.runs.recipe import Decision

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Types of 16 bits by the names of precisions."""
WORDS = {torch.bfloat16: "BF16", torch.float16: "F16"}
"""safetensors' words for them."""
BASE = "base_layer"
"""What PEFT names a layer that it wraps."""
WORTH = 1.4
"""The speed-up from which bf16 products are worth their rounding."""
SHAPE = (768, 768, 2048)
"""Rows, inputs and outputs of the timed products: those of small models."""


def set_precision(model: nn.Module, precision: str) -> None:
    """Set the precision of a pretrained model's linear layers by name; layers added later are unchanged."""
    if half := HALVES.get(precision):
        for module in model.modules():
            if type(module) in (nn.Linear, HalfLinear):
                module.__class__ = HalfLinear
                cast(HalfLinear, module).product_type = half


def matrices_in_half(
    model: PreTrainedModel, saved: Mapping[str, str], half: torch.dtype, *, rounded: bool
) -> list[str]:
    """Return the names of the matrices to load in 16 bits, of a model that has no weights yet.

    Args:
        model: the structure, on torch's meta device.
        saved: the names of the weights in the files, with safetensors' words for their types.
        half: the type.
        rounded: whether those of other types are rounded to it; else only what was published in it is loaded in it.
    """
    prefix, fitting = f"{model.base_model_prefix}.", {"F32", "F16", "BF16"} if rounded else {WORDS[half]}
    chosen = list[str]()
    for _, readers in _matrices(model, nn.Linear):
        names = [f"{name}.weight" for name, _ in readers]
        known = {saved.get(key) for name in names for key in (name, name.removeprefix(prefix), prefix + name)}
        if known - {None} and known - {None} <= fitting:
            chosen += names
    return chosen


def loading_in_half(kind: type[PreTrainedModel], names: Sequence[str], half: torch.dtype) -> type[PreTrainedModel]:
    """Return a class of models that loads some matrices in 16 bits, and all else as its base `kind` does."""

    def plan(self: PreTrainedModel, dtype: torch.dtype) -> dict[str, torch.dtype]:
        return {**kind._get_dtype_plan(self, dtype), **dict.fromkeys(names, half)}

    # transformers looks families up by these names
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "_get_dtype_plan": plan})


@torch.no_grad()
def hold_in_half(model: nn.Module, half: torch.dtype = torch.bfloat16, *, rounded: bool = False) -> None:
    """Hold frozen matrices in 16 bits: those whose numbers these can hold, or all of them if they may be rounded.

    Evaluation makes fp32 of a matrix for each product, so that answers stay the same to the bit. A layer of PEFT that
    reads the table of embeddings itself keeps it in fp32.
    """
    for weight, readers in _matrices(model, HalfLinear):
        if weight.requires_grad or weight.dtype == half:
            continue
        rounding = weight.to(half)
        if rounded or torch.equal(rounding.float(), weight):
            weight.data = rounding
            read_from_half(module for _, module in readers)


def read_from_half(modules: Iterable[nn.Module]) -> None:
    """Make layers and tables whose weights are held in 16 bits read them in fp32."""
    for module in modules:
        if module.weight.dtype in WORDS:
            module.__class__ = HalfEmbedding if isinstance(module, nn.Embedding) else HalfLinear


def _matrices(model: nn.Module, linear: type[nn.Linear]) -> Iterator[tuple[Tensor, list[tuple[str, nn.Module]]]]:
    """Yield each matrix that only linear layers of a type and tables of embeddings read, with them by name.

    What a family wants in fp32 is left out: T5 converts states to the type of such a weight.
    """
    precise = set(outer_model(model)._keep_in_fp32_modules or ())
    readers = defaultdict[Tensor, list[tuple[str, nn.Module]]](list)
    for name, module in model.named_modules():
        if type(module) is linear or (type(module) is nn.Embedding and BASE not in name):
            readers[module.weight].append((name, module))
    holders: Counter[Tensor] = Counter(
        weight for module in model.modules() for weight in module.parameters(recurse=False)
    )
    for weight, found in readers.items():
        if holders[weight] == len(found) and not any(precise & set(name.split(".")) for name, _ in found):
            yield weight, found


def choose_precision(device: torch.device = CPU) -> Decision:
    """Choose by what an accelerator is; on a CPU, by a ratio timed once and kept in the cache folder for all runs."""
    if device != CPU:
        return by_capability(name_of(device), capability_of(device))
    rows, inputs, outputs = SHAPE
    x, weight = torch.ones(rows, inputs), torch.ones(outputs, inputs)
    half_x, half_weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
    measured = kept_ratio("bf16-products", lambda: product(x, weight), lambda: linear(half_x, half_weight))
    ratio = round(measured, 2)
    times = Figure(ratio, "tenths")
    if ratio >= WORTH:
        reason = msg("products in bf16 are {times} times as fast here; sums and weights stay fp32", times=times)
        return Decision("bf16", reason)
    return Decision("fp32", msg("products in bf16 are {times} times as fast here: not worth the rounding", times=times))


def by_capability(device: Wording, capability: tuple[int, int]) -> Decision:
    """Choose by the compute capability of an accelerator, zeros if it has none."""
    if capability >= BF16_FROM:
        return Decision("bf16", msg("{device} has units for products in bf16", device=device))
    if capability >= FP16_FROM:
        return Decision("fp16", msg("{device} has units for products in fp16, and none for bf16", device=device))
    return Decision("fp32", msg("{device} is not known to have units for products in 16 bits", device=device))
