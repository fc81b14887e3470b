"""What a run of a large model on several cards takes, on paper: memory, bytes moved, and time, from formulas.

`python docs/generate.py` writes docs/scale.md out of this module; tests/test_scale.py holds its formulas against what
others measured. The memory of one card is that of `kamerton.session.memory`, with weights divided among the cards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kamerton.core.contracts import ModelFacts
from kamerton.core.weights import WeightCounts
from kamerton.runs.recipe import Decision
from kamerton.session.machine import Machine
from kamerton.session.memory import LOGIT, Footprint, PassSize

GIB = 1 << 30
HALF, FULL = 2, 4
"""Bytes of a number in bf16 and in fp32."""
PEAK = 989e12
"""Products of an H100 SXM in bf16, dense, a second: NVIDIA's data sheet; NeMo counts utilization by it, too."""
NVLINK, RAIL, ONE_CARD = 450e9, 50e9, 12.5e9
"""Bytes a second: what a card takes in by NVLink 4 (900 GB/s in both directions together), and what a machine takes in
by a network card of 400 Gb/s and by one of 100 Gb/s."""
ACHIEVED = 0.8
"""Share of a link's bytes that is reached: 376 to 380 of NVLink's 450 GB/s were measured (NVIDIA/nccl issue 1264)."""


@dataclass(frozen=True)
class Shape:
    """A Llama-like decoder, by its configuration on the Hugging Face Hub; embeddings and head are not tied."""

    name: str
    layers: int
    hidden: int
    inner: int
    key_values: int
    """Numbers of a token's keys: heads of keys times their size."""
    vocabulary: int = 128_256

    @property
    def of_layer(self) -> int:
        """Parameters of a layer: queries and outputs, keys and values, three feed-forward matrices, norms."""
        return 2 * self.hidden * (self.hidden + self.key_values) + 3 * self.hidden * self.inner + 2 * self.hidden

    @property
    def table(self) -> int:
        """Parameters of the embeddings, and of the head."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.layers * self.of_layer + 2 * self.table + self.hidden

    @property
    def multiplied(self) -> int:
        """Parameters that each token is multiplied with: all but the embeddings."""
        return self.parameters - self.table

    def pairs(self, rank: int) -> int:
        """Return the parameters of LoRA on all matrices of all layers."""
        rows = 2 * (self.hidden + self.hidden) + 2 * (self.hidden + self.key_values) + 3 * (self.hidden + self.inner)
        return self.layers * rank * rows

    def facts(self) -> ModelFacts:
        """Return what the estimate of memory needs."""
        sizes = (self.parameters, self.layers, self.hidden, self.vocabulary)
        return ModelFacts(self.name, "", "decoder", "llama", *sizes, 131_072, "", tables=2, published="BF16")


EIGHT = Shape("Llama 3.1 8B", 32, 4096, 14_336, 1024)
SEVENTY = Shape("Llama 3.1 70B", 80, 8192, 28_672, 1024)


@dataclass(frozen=True)
class Plan:
    """A training on several cards, sharded by FSDP2: each pass gathers the weights twice, layer by layer, in bf16."""

    shape: Shape
    cards: int
    tokens: int
    """Tokens that a card trains on in a pass."""
    rank: int | None = None
    """Of LoRA; None trains all weights."""
    recomputed: bool = True
    length: int = 4096
    """Tokens of a row, for attention."""
    activation_bytes: int = FULL
    """Of an activation: Kamerton keeps them in fp32, others in bf16."""
    card_bytes: int = 80 * GIB

    @property
    def trained(self) -> int:
        """Parameters that train."""
        return self.shape.pairs(self.rank) if self.rank else self.shape.parameters

    @property
    def frozen(self) -> int:
        """Parameters that do not."""
        return self.shape.parameters if self.rank else 0

    def footprint(self) -> Footprint:
        """Return one card's share of weights, gradients and averages, as the planner counts them."""
        shares = WeightCounts(self.trained // self.cards, self.frozen // self.cards)
        machine = Machine("a card", "cuda", self.card_bytes, Decision("bf16", ""), here=False)
        return Footprint(self.shape.facts(), shares, machine, activation_bytes=self.activation_bytes)

    @property
    def gathered_bytes(self) -> int:
        """Bytes of what is whole: embeddings and head; two layers, for one is fetched ahead; the largest gradient."""
        gradient = 0 if self.rank else (HALF + FULL) * max(self.shape.of_layer, self.shape.table)
        return 2 * HALF * (self.shape.table + self.shape.of_layer) + gradient

    @property
    def state_bytes(self) -> int:
        """Bytes of the card's share that stays."""
        return self.footprint().held_bytes

    @property
    def kept_bytes(self) -> int:
        """Bytes of the activations that a pass keeps."""
        return self.footprint().kept_bytes(PassSize(self.tokens, self.recomputed))

    @property
    def memory(self) -> int:
        """Peak bytes of a card, with logits in parts, as Kamerton computes them."""
        return self.footprint().peak_bytes(PassSize(self.tokens, self.recomputed)) + self.gathered_bytes

    @property
    def flops_per_token(self) -> float:
        """Operations for a token, without what is computed again, as is usual for utilization.

        For each weight, 2 forward, 2 for its input's gradient, and 2 for its own if it trains; and causal attention.
        """
        weights = 4 * self.shape.multiplied + (6 * self.trained if self.rank else 2 * self.shape.multiplied)
        return weights + 6 * self.shape.layers * self.shape.hidden * self.length

    @property
    def executed_per_token(self) -> float:
        """Operations that are carried out for a token, the second forward pass included."""
        return self.flops_per_token + self.recomputed * (
            2 * self.shape.multiplied + 2 * self.shape.layers * self.shape.hidden * self.length
        )

    @property
    def moved_bytes(self) -> float:
        """Bytes that each card takes in for a pass: all weights in bf16 twice, and gradients in fp32 once."""
        others = (self.cards - 1) / self.cards
        return others * (2 * HALF * self.shape.parameters + FULL * self.trained)

    def seconds(self, utilization: float, bandwidth: float) -> tuple[float, float]:
        """Return the seconds of a pass that a card computes, and that a link of so many bytes a second is busy."""
        compute = self.executed_per_token * self.tokens / (utilization * PEAK)
        return compute, self.moved_bytes / (ACHIEVED * bandwidth)

    def tokens_per_second(self, utilization: float, bandwidth: float) -> float:
        """Return the tokens a second of one card, if computing and moving overlap as far as they can."""
        return self.tokens / max(self.seconds(utilization, bandwidth))

    def least_tokens(self, utilization: float, bandwidth: float) -> float:
        """Return the tokens of a pass from which on computing takes longer than moving."""
        compute, moving = self.seconds(utilization, bandwidth)
        return self.tokens * moving / compute


FULL_ON_8 = Plan(EIGHT, 8, 8192)
LORA_ON_16 = Plan(SEVENTY, 16, 8192, rank=16)
UTILIZATIONS = (0.2, 0.3, 0.4)
"""Shares of the peak for which rates are given, recomputation counted."""


@dataclass(frozen=True)
class Measurement:
    """What others measured, and what our formulas say of it."""

    source: str
    what: str
    measured: str
    ours: str


AT = "https://github.com/pytorch/torchtitan/blob/31a17bfdb70bab6f62a13d21816a5339b911d6e3"
TORCHTITAN = f"{AT}/benchmarks/llama3_h100_202412_torchtitan.md"
TORCHTITAN_A100 = "https://github.com/will-thompson-k/torchtitan/blob/main/docs/performance.md"
"""A copy of an older page of torchtitan's."""
AT = "https://github.com/NVIDIA-NeMo/Automodel/blob/01926a5c443b7979463c73341bf64adf79de638e"
NEMO = f"{AT}/docs/performance-summary.md"

TITAN_ON_8 = Plan(EIGHT, 8, 2 * 8192, length=8192, activation_bytes=HALF)
TITAN_ON_128 = replace(TITAN_ON_8, cards=128)
TITAN_GIB = {8: (82.4, 77.0, 76.8), 128: (67.0, 62.0, 61.8)}
"""Peak GiB of a card by torchtitan, by the number of cards: eager, compiled, and with float8 as well."""
TITAN_RATES = {"eager": (5762, 0.33), "compiled": (6667, 0.39)}
"""Tokens a second of a card, and the utilization that torchtitan states."""
A100_PEAK, TITAN_70B, TITAN_70B_RATE = 312e12, Plan(SEVENTY, 64, 8192, length=8192), (331, 0.517)
NEMO_LORA, NEMO_TOKENS, NEMO_FLOPS = Plan(SEVENTY, 8, 4096, rank=8), 608.42, 176e12
"""NeMo's page states no rank; 8 is its default, and 64 would add 1%."""


def stated_utilization(plan: Plan, tokens: float, peak: float = PEAK) -> float:
    """Return the utilization at so many tokens a second, as torchtitan counts it: attention without its mask."""
    unmasked = plan.flops_per_token + 6 * plan.shape.layers * plan.shape.hidden * plan.length
    return tokens * unmasked / peak


def with_all_logits(plan: Plan) -> float:
    """Return the peak bytes of a program that holds the logits of all its tokens at once, as torchtitan does."""
    logits = LOGIT * plan.tokens * plan.shape.vocabulary
    return plan.state_bytes + plan.gathered_bytes + plan.kept_bytes + logits


def saved_gib() -> tuple[Sequence[float], float]:
    """Return the GiB that a card saves on 128 cards against 8: measured by torchtitan, and by our sum."""
    measured = [few - many for few, many in zip(TITAN_GIB[8], TITAN_GIB[128], strict=True)]
    return measured, (TITAN_ON_8.state_bytes - TITAN_ON_128.state_bytes) / GIB


def measurements() -> Iterator[Measurement]:
    """Yield what our formulas say of runs that others measured."""
    measured, ours = saved_gib()
    what = "8B, full, FSDP2: memory that a card saves on 128 cards against 8 (eager, compiled, float8)"
    yield Measurement(TORCHTITAN, what, " / ".join(f"{one:.1f}" for one in measured) + " GiB", f"{ours:.1f} GiB")
    both = [with_all_logits(plan) / GIB for plan in (TITAN_ON_8, replace(TITAN_ON_8, recomputed=False))]
    what = "the same on 8 cards, 2 x 8,192 tokens: peak memory of a card, a part of the activations recomputed"
    said = f"{both[0]:.0f} GiB if all are recomputed, {both[1]:.0f} GiB if none"
    yield Measurement(TORCHTITAN, what, f"{TITAN_GIB[8][0]} GiB", said)
    for way, (tokens, share) in TITAN_RATES.items():
        what = f"the same, {way}: utilization at {tokens:,} tokens/s a card"
        yield Measurement(TORCHTITAN, what, f"{share:.0%}", f"{stated_utilization(TITAN_ON_8, tokens):.1%}")
    tokens, share = TITAN_70B_RATE
    what = f"70B, full, FSDP2, 64 A100, all recomputed: utilization at {tokens} tokens/s a card"
    ours = stated_utilization(TITAN_70B, tokens, A100_PEAK)
    yield Measurement(TORCHTITAN_A100, what, f"{share:.1%}", f"{ours:.1%}")
    what = f"70B, LoRA, 8 cards (TP 2, PP 4): operations for a token, at {NEMO_TOKENS:,.0f} tokens/s a card"
    said = f"{NEMO_LORA.flops_per_token / 1e9:.0f} GFLOP"
    yield Measurement(NEMO, what, f"{NEMO_FLOPS / NEMO_TOKENS / 1e9:.0f} GFLOP", said)


def page() -> str:
    """Compose docs/scale.md."""
    parts = [HEAD, *plan_lines(FULL_ON_8, "8B on 8 cards, all weights"), BETWEEN]
    parts += plan_lines(LORA_ON_16, "70B on 16 cards of two machines, LoRA of rank 16 on all matrices")
    parts += ["", *table_of_measurements(), "", TAIL]
    return "\n".join(parts)


def plan_lines(plan: Plan, title: str) -> Iterator[str]:
    """Describe a plan."""
    logits = plan.memory - plan.state_bytes - plan.gathered_bytes - plan.kept_bytes
    trained = f"and {plan.trained:,} of the pairs, which train" if plan.rank else "which all train"
    yield from (f"## {title}", "")
    yield f"{plan.shape.name}: {plan.shape.parameters:,} parameters, {trained}; passes of {plan.tokens:,} tokens a"
    yield f"card, rows of {plan.length:,}, activations recomputed."
    yield ""
    yield "| of one card | |"
    yield "|---|---|"
    yield f"| its share of weights, gradients and averages | {plan.state_bytes / GIB:.1f} GiB |"
    yield f"| what is gathered: two layers, embeddings, head | {plan.gathered_bytes / GIB:.1f} GiB |"
    yield f"| activations, in fp32 | {plan.kept_bytes / GIB:.1f} GiB |"
    yield f"| logits, at most | {logits / GIB:.1f} GiB |"
    yield f"| **memory** | **{plan.memory / GIB:.1f} GiB** |"
    yield f"| operations for a token, recomputation counted | {plan.executed_per_token / 1e9:.0f} GFLOP |"
    yield f"| bytes taken in for a pass | {plan.moved_bytes / 1e9:.0f} GB |"
    yield ""
    heads = [f"{share:.0%} of the peak" for share in UTILIZATIONS]
    yield f"| link | {' | '.join(heads)} | moving is hidden from |"
    yield "|---|" + "---|" * (len(heads) + 1)
    for name, bandwidth in links(plan):
        rates = [f"{plan.tokens_per_second(share, bandwidth):,.0f}" for share in UTILIZATIONS]
        least = plan.least_tokens(UTILIZATIONS[1], bandwidth)
        yield f"| {name} | {' | '.join(f'{rate} tokens/s' for rate in rates)} | {least:,.0f} tokens a pass |"
    yield ""


def links(plan: Plan) -> Sequence[tuple[str, float]]:
    """Return the links that a plan may have, with the bytes a second that each card takes in."""
    inside = ("NVLink, 450 GB/s a card", NVLINK)
    if plan.cards <= 8:
        return (inside, ("PCIe 5.0, 64 GB/s a card", 64e9))
    return (
        ("8 network cards of 400 Gb/s a machine", 8 * RAIL),
        ("one of 400 Gb/s a machine", RAIL),
        ("one of 100 Gb/s a machine", ONE_CARD),
    )


def table_of_measurements() -> Iterator[str]:
    """List what others measured beside what our formulas say."""
    yield from ("## Held against measurements", "", "| measured by others | measured | our formulas |", "|---|---|---|")
    for one in measurements():
        yield f"| {one.what} ([source]({one.source})) | {one.measured} | {one.ours} |"


HEAD = """\
# Large models on several cards: a plan on paper

Written by `make docs` out of `docs/scale.py`, which holds the formulas; `tests/test_scale.py` holds them against what
others measured.

**No run of this size was made by us, and none on a card.** What was run: two and four processes on CPUs, with small
models, and Slurm on one node ([launch.md](launch.md)). Rates below are what the formulas give at a share of an H100's
peak, recomputation counted; what share Kamerton reaches on cards is not known. The last table has what others reached.
"""
BETWEEN = """\
Computing is what limits such a run, where cards are joined by NVLink: moving takes a fraction of it, and FSDP2 overlaps
both. Short passes change that: below the tokens of the last column the links are busy longer than the cards. Several
passes an update move all weights again for each of them; a larger pass is better as long as it fits.
"""
CHECKPOINT, ON_8 = 3 * FULL * EIGHT.parameters, replace(LORA_ON_16, cards=8)
TAIL = f"""\
The second row must lie between our two sums, and does. NeMo's 70B LoRA reached 18% of an H100's peak with tensor and
pipeline parallelism; a figure for 70B LoRA by FSDP2 on 16 cards was not found.

## What becomes the bottleneck

- **8B, full, 8 cards**: computing. Kamerton keeps activations in fp32, twice the bytes of others: a pass that keeps
  them all is half as long on the same card. A checkpoint with the averages has {CHECKPOINT / 1e9:.0f} GB.
- **70B, LoRA, 16 cards**: the network between the machines, unless each card has a network card of its own: all weights
  cross it twice a pass. On one machine of 8 cards the weights take {ON_8.state_bytes / GIB:.1f} GiB of each, and
  nothing crosses a network: where the pass fits, that is the better plan for a card.
- **Loading**: each machine reads {HALF * SEVENTY.parameters / 1e9:.0f} GB for 70B, more than a minute at 2 GB/s.
- **Evaluation and decoding** are not in these sums.
"""
