"""Draw docs/speed.md from the rounds that are there: every figure on it comes out of runs/bench."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from agreement import agreement
from rounds import OURS, Record, Round
from startup import STARTS
from workloads import WORKLOADS, Peer, Workload

from kamerton.runs.recipe import MOST_TOKENS_PER_PASS

INTRODUCTION = """# Speed

Written by `make bench` and `make bench-growth`: every figure on this page was measured by them, on the machine below.

**What is compared.** Both sides do the same work in processes of their own, one after the other, round by round, and
take turns at being first. Both get the same rows in the same batches and order, the same initial weights (head and
adapter included), the same learning rate at every update, the same clipping, AdamW without decay, the same number of
threads; both validate and write a checkpoint after every epoch, reload the best one, save the model and score the
test rows. Peers get their rows tokenized; Kamerton reads text and tokenizes within its time. Kamerton runs the stages
of `kamerton tune` from the frozen split to the saved model; its audit, contenders, forgetting probe and report are
left out, for no peer has them. All else is each peer's own default, but for TRL's gradient checkpointing, which is
off, because it would cost TRL a third of its speed.

**Training** is the time from the loaded model to the last update, with everything that a side does to get there (data
loading, proof of the layout, frozen work), without validations and checkpoints. **Updates** is the part of it after
the first update: how fast training goes once it goes. **Whole** is the whole process, with
imports, loading, validations, checkpoints and test. A ratio is the peer's seconds divided by Kamerton's in the same
round: above 1 Kamerton is faster, below 1 it is slower. The table gives the median and the range over the rounds;
targets are compared with the median ratio of training, or of updates where only a few are made. A round is marked
disturbed if a matrix product timed between the processes ran at less than 85% of the best speed ever seen here.
"""
LLAMA_FACTORY = """LLaMA-Factory is not among the peers: its release 0.9.5 asks for transformers up to 5.6, TRL up to
0.24 and torchaudio, and does not install beside the versions measured here without replacing torch. It stands on the
same HF Trainer.
"""


SIDE_BY_SIDE, COST, START, GROWTH = "Side by side", "Time and memory", "Start-up (W7)", "Growth"


@dataclass(frozen=True)
class Machine:
    """Where it was measured."""

    processor: str
    cores: int
    versions: str
    peaks: Mapping[str, float]
    """GFLOP/s of a matrix product by precision: the best ever seen."""


@dataclass(frozen=True)
class Page:
    """A page as it stands: what was not measured anew on the same machine is kept."""

    text: str = ""

    def rows(self, section: str, name: str) -> list[list[str]]:
        """Return a workload's rows in the table of a section."""
        lines = self.section(section).splitlines()
        return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith(f"| {name} |")]

    def section(self, title: str) -> str:
        """Return the text of a section, up to the next one."""
        return self.text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]

    def measured_on(self, machine: Machine) -> bool:
        """Say whether it is of this machine, with these versions."""
        return f"**Machine.** {_named(machine)}." in self.text

    def peaks(self) -> dict[str, float]:
        """Return the speeds of matrix products that it gives, by precision."""
        line = self.text.partition("Matrix products: ")[2].partition(" GFLOP/s.")[0]
        pairs = (part.split() for part in line.removesuffix(".").replace(" GFLOP/s", "").split(", ") if part)
        return {name: float(value) for name, value in pairs}


def page(
    records: Mapping[str, Record],
    starts: Sequence[Mapping[str, float]],
    growth: Mapping[str, Sequence[Mapping[str, float]]],
    machine: Machine,
    before: Page = Page(),
) -> str:
    """Draw the page.

    Args:
        records: the rounds of each workload, by name; those that were not run are left out.
        starts: seconds by the name of what was started, a mapping a round.
        growth: by name of a workload, a mapping of `rows`, `tokens`, `seconds` and `peak_bytes` for each size.
        machine: where it was measured.
        before: the page as it stands, whose figures are kept where there are no new ones.
    """
    old = before if before.measured_on(machine) else Page()
    peaks = {name: max(value, old.peaks().get(name, 0.0)) for name, value in machine.peaks.items()}
    machine = replace(machine, peaks=peaks)
    sides, costs = list[list[str]](), list[list[str]]()
    for name, workload in WORKLOADS.items():
        record = records.get(name)
        sides += side_rows(workload, record) if record else old.rows(SIDE_BY_SIDE, name)
        costs += cost_rows(workload, record, machine) if record else old.rows(COST, name)
    parts = [INTRODUCTION, *about(machine), f"## {SIDE_BY_SIDE}", "", *table(SIDES, sides), LLAMA_FACTORY]
    parts += [f"## {COST}", "", *table(COSTS, costs), COSTS_EXPLAINED]
    for title, lines in ((START, start_part(starts)), (GROWTH, growth_part(growth))):
        body = "\n".join(lines) or old.section(title)
        parts += [f"## {title}\n{body}"] if body.strip() else []
    return "\n".join(parts).rstrip() + "\n"


def _named(machine: Machine) -> str:
    return f"{machine.processor}, {machine.cores} cores; {machine.versions}"


def about(machine: Machine) -> Iterator[str]:
    """Say what the machine is."""
    peaks = ", ".join(f"{name} {value:.0f} GFLOP/s" for name, value in sorted(machine.peaks.items()))
    yield f"**Machine.** {_named(machine)}. Matrix products: {peaks}.\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Draw a table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)] + [""]


SIDES = ("", "work", "against", "rows", "rounds", "training", "updates", "whole", "target (stretch)", "outcome")


def side_rows(workload: Workload, record: Record) -> Iterator[list[str]]:
    """Give a line for each peer."""
    busy = sum(one.busy for one in record.rounds)
    rounds = f"{len(record.rounds)}" + (f", {busy} disturbed" if busy else "")
    for peer in workload.peers:
        training, whole = (spread(ratios(record.rounds, peer.script, what)) for what in ("training", "whole"))
        trains = all(one.results[side].steady for one in record.rounds for side in (OURS, peer.script))
        updates = spread(ratios(record.rounds, peer.script, "steady")) if trains else "–"
        aimed = f" ({peer.aim:g}x)" if peer.aim else ""
        promised = f"{peer.must:g}x{aimed}" if peer.must else "–"
        rows = str(record.rows)
        found = outcome(workload, peer, record.rounds)
        measured = (rounds, training, updates, whole)
        yield [workload.name, workload.title, peer.title, rows, *measured, promised, found]


def ratios(rounds: Sequence[Round], peer: str, what: str) -> list[float]:
    """Give the ratio of every round."""
    return [one.ratio(peer, what) for one in rounds]


def spread(values: Sequence[float], unit: str = "x") -> str:
    """Write the median and the range."""
    return f"**{statistics.median(values):.2f}{unit}** ({min(values):.2f}–{max(values):.2f})"


def outcome(workload: Workload, peer: Peer, rounds: Sequence[Round]) -> str:
    """Say whether the two sides did the same, and whether what was promised is kept."""
    agreed = agreement(workload, rounds, peer)
    if not agreed.reached:
        return f"FAILED: {agreed.words}"
    ratio = statistics.median(ratios(rounds, peer.script, workload.pace))
    faults = []
    if ratio < peer.must:
        faults.append("not reached" if ratio >= 1 else "not reached: Kamerton is slower")
    share = memory_share(rounds, peer.script)
    if workload.memory and share > workload.memory:
        faults.append(f"memory {share:.2f} of the peer's, target {workload.memory:g}")
    kept = "aim reached" if peer.aim and ratio >= peer.aim else "reached" if peer.must else "for comparison"
    return f"{'; '.join(faults) or kept}; {agreed.words}"


def memory_share(rounds: Sequence[Round], peer: str) -> float:
    """Give our peak memory as a share of a peer's."""
    return statistics.median(one.results[OURS].peak_bytes / one.results[peer].peak_bytes for one in rounds)


COSTS = ("", "side", "first update s", "training s", "whole s", "tokens/s", "padding", "share of peak", "memory GB")
COSTS_EXPLAINED = """Medians over the rounds. Seconds to the first update count from the start of the process. Tokens
are real ones, without padding; padding is how many tokens a side computes for each real one: less than one where what
all rows of a batch begin with is computed once. The share of the peak is useful arithmetic (products with the
pretrained matrices and attention over real tokens, of which a common beginning counts once in a causal model; the
output head where an answer is taught) in the seconds of the updates after the first, against the speed of a bare matrix
product of the same precision as PyTorch computes it by itself (Kamerton takes oneDNN's where they are faster), measured
beside. The target is 50%, the stretch target 65%. Memory is the peak of the process (VmHWM).
"""


def cost_rows(workload: Workload, record: Record, machine: Machine) -> Iterator[list[str]]:
    """Give a line for each side."""
    titles = {peer.script: peer.title for peer in workload.peers} | {OURS: "Kamerton"}
    precision = str(workload.settings["model.precision"])
    for side, title in titles.items():
        results = [one.results[side] for one in record.rounds]
        first, training, whole = (
            statistics.median(values)
            for values in zip(*((one.first, one.training, one.whole) for one in results), strict=True)
        )
        peak = machine.peaks["fp32" if side.endswith("exact") else precision] * 1e9
        pace = statistics.median(one.steady / (len(one.losses) - 1) for one in results) if record.work.flops else 1.0
        share = f"{record.work.flops / len(results[0].losses) / pace / peak:.0%}" if record.work.flops else "–"
        seconds = [f"{value:.1f}" for value in (first, training, whole)]
        laid = (record.work.needed or record.work.tokens) if side.startswith(OURS) else record.work.padded
        padding = f"{laid / record.work.tokens:.2f}"
        memory = f"{statistics.median(one.peak_bytes for one in results) / 1e9:.2f}"
        yield [workload.name, title, *seconds, f"{record.work.tokens / training:,.0f}", padding, share, memory]


def start_part(starts: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Draw how long the product takes to begin."""
    if not starts:
        return
    yield ""
    rows = []
    for start in STARTS:
        values = [one[start.name] for one in starts]
        kept = "reached" if statistics.median(values) <= start.must else "not reached"
        kept = "aim reached" if statistics.median(values) <= start.aim else kept
        rows.append([start.title, spread(values, " s"), f"{start.must:g} s ({start.aim:g} s)", kept])
    yield from table(("", f"seconds, {len(starts)} rounds", "target (stretch)", "outcome"), rows)
    if alone := [one["alone"] for one in starts if "alone" in one]:
        yield f"A script that answers the same text with transformers alone takes {spread(alone, ' s')}.\n"
    yield "The tuning reads, audits and splits the data and lets the contenders answer before its first update.\n"


def growth_part(growth: Mapping[str, Sequence[Mapping[str, float]]]) -> Iterator[str]:
    """Draw how time and memory grow with the data."""
    if not growth:
        return
    yield ""
    yield "One epoch of Kamerton's side on more and more rows: time should grow as the tokens do, and memory hardly:"
    yield f"passes over validation rows fill up to {MOST_TOKENS_PER_PASS:,} tokens, and a row takes some kilobytes.\n"
    for name, sizes in growth.items():
        yield f"{name}: {WORKLOADS[name].title}\n"
        rows = [
            [
                f"{one['rows'] / sizes[0]['rows']:.1f}x",
                f"{one['rows']:,.0f}",
                f"{one['tokens']:,.0f}",
                f"{one['seconds']:.1f}",
                f"{one['tokens'] / one['seconds']:,.0f}",
                f"{one['peak_bytes'] / 1e9:.2f}",
            ]
            for one in sizes
        ]
        yield from table(("data", "training rows", "tokens", "training s", "tokens/s", "memory GB"), rows)
