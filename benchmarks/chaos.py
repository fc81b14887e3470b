"""Do to runs what machines and people do, at every moment, and see that nothing is lost.

    python benchmarks/chaos.py [--every 1] [--random 1000] [--attack WORD,…] [--kind "WORD|…"] [--beside 2] [--out PAGE]

Tiny runs of every kind, on tiny models of random weights, are killed before every file operation and within writes (a
copy of their folder at that moment is what a kill leaves), or killed at random times; their files are damaged; the disk
is full from every write on; folders may not be written; memory is short. Then a user goes on: `kamerton resume`, or the
same command again. What comes out must be what comes out undisturbed: the same weights, record and result, and no other
file anywhere. A command that cannot do its work must say so in a sentence with a remedy. It ends with status 1 if
anything else was seen.

A library that is preloaded (tests/faults.c, built by `cc`) counts the operations, so this needs Linux.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from queue import SimpleQueue

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "KAMERTON_LANGUAGE": "en"}

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import chaos_attacks as attacks
from chaos_attacks import READERS, VERIFY, Outcome
from chaos_runs import KINDS, Arena, Kind, arena_in
from faults import KILL, Fault

BY_TITLE = {kind.title: kind for kind in KINDS}
DAMAGED = ("tune, full", "tune, LoRA", "remedy: training")
"""Kinds of runs whose files are damaged, finished and half done."""
SPARING = ("tune, full",)
"""Kinds of runs that are refused memory and folders."""
MEGABYTES = (4, 8, 16, 32, 64, 128, 256, 900)
DEFECTS = ("different", "lost", "left over", "silent difference", "traceback", "stuck", "refused", "unclear")
INTRODUCTION = (
    "# What runs withstand",
    "",
    "Written by `make chaos`. Tiny runs of every kind are killed before every file operation and within writes, or at",
    "random times; every file of a run is damaged in five ways and read by every command; the disk is full from every",
    "write on; folders may not be written; memory is short. Then a user goes on: `kamerton resume`, or the same",
    "command again. Whole: afterwards weights, record, result and the names of all files are those of an undisturbed",
    "run. Told: a command said in a sentence, with the place and the remedy, that it could not do its work.",
    "",
)


Work = Callable[[Arena], Iterable[Outcome]]


def halves(arena: Arena, kind: Kind) -> list[Fault]:
    """Return two moments at which a run is half done: in training, and before its result."""
    found = attacks.operations(arena, kind)
    saved = next(one for one in found if "/checkpoints/" in one.path and one.name == "rename")
    result = next(one for one in found if one.path.endswith("result.json") or "result.json." in one.path)
    return [Fault(saved.number + 1, KILL), Fault(result.number, KILL)]


def plan(given: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    """List the attacks, each for an arena."""
    kinds = [kind for kind in KINDS if any(word in kind.title for word in given.kind.split("|"))]
    readers, every = [*READERS, VERIFY], given.every
    for kind in kinds:
        yield "kill", partial(attacks.kills, kind=kind, every=every)
    for kind in [one for one in kinds if one.title in DAMAGED]:
        yield "damage", partial(attacks.corruptions, kind=kind, every=every, readers=readers)
        yield "damage", partial(half_done, kind=kind, every=every)
    for kind in [one for one in kinds if one.title in SPARING]:
        yield "forbid", partial(attacks.forbidden, kind=kind)
        yield "memory", partial(attacks.little_memory, kind=kind, sizes=MEGABYTES)

    each = -(-given.random // len(kinds)) if given.random else 0
    for kind in kinds:
        yield "random", partial(attacks.random_kills, kind=kind, count=each, seed=given.seed)
    for kind in kinds:
        yield "disk", partial(attacks.full_disk, kind=kind, every=every)


def half_done(arena: Arena, kind: Kind, every: int) -> Iterator[Outcome]:
    """Damage the files of runs that were stopped."""
    for stop in halves(arena, kind):
        yield from attacks.corruptions(arena, kind, every, [READERS[-1], VERIFY], stop)


def carried_out(works: Sequence[Work], arenas: Sequence[Arena]) -> Iterator[Sequence[Outcome]]:
    """Carry out attacks in several arenas at once, since each waits for its children; yield what each came to."""
    free = SimpleQueue[Arena]()
    for arena in arenas:
        free.put(arena)

    def carry_out(work: Work) -> Sequence[Outcome]:
        arena = free.get()
        try:
            return [_told(one) for one in work(arena)]
        finally:
            free.put(arena)

    with ThreadPoolExecutor(len(arenas)) as pool:
        yield from pool.map(carry_out, works)


def _told(one: Outcome) -> Outcome:
    if one.defects:
        print(f"{one.kind}, {one.attack}, {one.moment}", *one.defects, sep="\n    ", flush=True)
    return one


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines of the table: a line for each kind of run and attack."""
    yield f"| run | attack | moments | whole | told | {' | '.join(DEFECTS)} |"
    yield f"|---|---|{'---:|' * (3 + len(DEFECTS))}"
    groups = defaultdict[tuple[str, str], list[Outcome]](list)
    for one in outcomes:
        groups[one.kind, one.attack].append(one)
    for (kind, attack), found in [*groups.items(), (("all", ""), list(outcomes))]:
        seen = Counter(name for one in found for name in {defect.partition(":")[0] for defect in one.defects})
        counts = [len(found), sum(not one.defects for one in found), sum(one.refused for one in found)]
        counts += [seen[name] for name in DEFECTS]
        yield f"| {kind} | {attack} | {' | '.join(map(str, counts))} |"


def _written(given: argparse.Namespace, outcomes: Sequence[Outcome], seconds: float, state: str) -> None:
    """Write the page as it stands: a round takes hours, and may be stopped."""
    taken = f"Of {given.every} moments one was taken, and {given.random} random kills."
    lines = ["", f"{seconds:.0f} s, {platform.machine()}, {given.beside} runs at once.", taken, state, ""]
    print(f"{seconds:.0f} s:", state, len(outcomes), "moments", file=sys.stderr, flush=True)
    if given.out:
        given.out.write_text("\n".join([*INTRODUCTION, *table(outcomes), *lines]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="of so many moments take one")
    parser.add_argument("--random", type=int, default=0, help="kills at random times, of all kinds of runs together")
    parser.add_argument("--attack", default="kill,random,damage,disk,forbid,memory")
    parser.add_argument("--kind", default="", help="only kinds of runs whose title holds one of the words a|b")
    parser.add_argument("--seed", type=int, default=0, help="of the random times")
    parser.add_argument("--beside", type=int, default=2, help="so many attacks at once; half a GB of memory each")
    parser.add_argument("--out", type=Path, help="a page to write")
    given = parser.parse_args()
    began, outcomes = time.perf_counter(), list[Outcome]()
    works = [work for attack, work in plan(given) if attack in given.attack.split(",")]
    with ExitStack() as stack:
        folders = [
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kamerton-chaos-")))
            for _ in range(given.beside)
        ]
        arenas = [stack.enter_context(arena_in(folder)) for folder in folders]
        for number, found in enumerate(carried_out(works, arenas), 1):
            outcomes += found
            _written(given, outcomes, time.perf_counter() - began, f"{number} of {len(works)} attacks carried out.")
    print(*table(outcomes), sep="\n")
    sys.exit(any(one.defects for one in outcomes))


if __name__ == "__main__":
    main()
