"""What `make chaos` does to runs: kills, damaged files, a full disk, forbidden folders, too little memory.

Each attack yields one `Outcome` for each moment or damage: what went wrong, or nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from chaos_runs import Arena, Kind, differences, portrait
from children import Ended
from faults import FAIL, FOREVER, KILL, TEAR, Fault
from kamerton.runs.changes import LOGS

TRACEBACK = "Traceback (most recent call last)"
REMEDY = "→"
CHAIN = 3
"""Most kills of one run, one after the other."""


@dataclass(frozen=True)
class Outcome:
    """What came of one moment."""

    kind: str
    attack: str
    moment: str
    defects: tuple[str, ...] = ()
    """Each begins with its name: `stuck: …`, `left over: …`."""
    refused: bool = False
    """Whether a command said that something is wrong, with the remedy."""


@dataclass(frozen=True)
class Operation:
    """A file operation of an undisturbed run."""

    number: int
    name: str
    path: str


def operations(arena: Arena, kind: Kind) -> list[Operation]:
    """Return the operations of an undisturbed run; of several writes to a file in a row the first and the middle."""
    lines = [line.partition(" ") for line in arena.operations(kind)]
    every = [Operation(n, name, path.removeprefix(f"{arena.work}/")) for n, (name, _, path) in enumerate(lines)]
    chosen = []
    for name, group in groupby(every, key=lambda one: (one.name, one.path)):
        several = list(group)
        chosen += several if name[0] != "write" else sorted({several[0], several[len(several) // 2]}, key=_number)
    return chosen


def _number(operation: Operation) -> int:
    return operation.number


# ── kills ─────────────────────────────────────────────────────────────────────────────────────


def kills(arena: Arena, kind: Kind, every: int) -> Iterator[Outcome]:
    """Go on from what a kill before each operation, and after half of each write, leaves on the disk.

    The folder is copied at these moments of one run; copies that are equal are gone on from once.
    """
    found = operations(arena, kind)
    wanted = portrait(arena.work)
    moments = [(one, how) for one in found for how in (KILL, TEAR) if how == KILL or one.name == "write"][::every]
    copies = _copies(arena, kind, moments)
    defects = dict[str, tuple[str, ...]]()
    for operation, how in moments:
        copy = copies / f"{operation.number}{'.torn' if how == TEAR else ''}"
        state = _state(copy)
        if state not in defects:
            arena.restore(copy)
            defects[state] = tuple(settled(arena, kind, wanted))
        yield Outcome(kind.title, "kill", _named(operation, how), defects[state])
        shutil.rmtree(copy)


def _copies(arena: Arena, kind: Kind, moments: Sequence[tuple[Operation, int]]) -> Path:
    """Run to the end, and copy the folder at each moment; return where the copies are."""
    copies = arena.root / "copies"
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir()
    kinds = ["-"] * (1 + max(operation.number for operation, _ in moments))
    for operation, how in moments:
        kinds[operation.number] = "b" if kinds[operation.number] == "k" else "kt"[how == TEAR]
    arena.clear(kind.before)
    done = arena.call(kind.command, Fault(copies=(str(arena.work), str(copies), "".join(kinds))))
    assert done.status == 0, done.said
    return copies


def _state(folder: Path) -> str:
    """Hash the paths, permissions and contents of all that is in a folder."""
    told = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        told.update(repr((str(path.relative_to(folder)), path.lstat().st_mode, content)).encode())
    return told.hexdigest()


def _named(operation: Operation, how: int) -> str:
    words = {KILL: "before", TEAR: "within", FAIL: "no space for"}
    return f"{words[how]} {operation.number} {operation.name} {operation.path}"


def random_kills(arena: Arena, kind: Kind, count: int, seed: int) -> Iterator[Outcome]:
    """Kill a run at random times, up to three times one after the other, alone or with all that it started."""
    began, drawn = time.monotonic(), random.Random(f"{seed} {kind.title}")
    arena.operations(kind)
    lasts, wanted = time.monotonic() - began, portrait(arena.work)
    for number in range(count):
        arena.clear(kind.before)
        times = [drawn.uniform(0, lasts) for _ in range(drawn.randint(1, CHAIN))]
        for seconds in times:
            if _has_done_its_work(arena, kind, wanted):
                break
            child = arena.start(arena.next_command(kind))
            until = time.monotonic() + seconds
            while time.monotonic() < until and not child.has_ended:
                time.sleep(0.005)
            child.kill(group=drawn.random() < 0.5)
            child.wait()
        moment = f"{number}: after {', '.join(f'{one:.2f}' for one in times)} s"
        yield Outcome(kind.title, "random kill", moment, tuple(settled(arena, kind, wanted)))


def settled(arena: Arena, kind: Kind, wanted: Mapping[str, str]) -> Iterator[str]:
    """Go on with a run after a stop; yield what is not as if nothing had happened."""
    if _has_done_its_work(arena, kind, wanted):
        return
    for attempt in range(2):
        done = arena.call(arena.next_command(kind))
        if TRACEBACK in done.said:
            yield f"traceback: {done.err.strip().splitlines()[-1]}"
        if not done.status:
            break
        yield f"{'stuck' if attempt else 'refused'}: {_first_line(done)}"
    for name, path in differences(portrait(arena.work), wanted):
        yield f"{name}: {path}"


def _has_done_its_work(arena: Arena, kind: Kind, wanted: Mapping[str, str]) -> bool:
    """Return whether a command that would do its work again has done it."""
    return not kind.resumes and not [*differences(portrait(arena.work), wanted)]


def _first_line(done: Ended) -> str:
    return f"status {done.status}: " + " ".join(done.err.split())[:200]


# ── a full disk ───────────────────────────────────────────────────────────────────────────────


def full_disk(arena: Arena, kind: Kind, every: int, times: int = FOREVER) -> Iterator[Outcome]:
    """Let the disk be full from each operation on that needs space; free it, and go on."""
    arena.clear(kind.before)
    log = arena.root / "operations.log"
    assert arena.call(kind.command, Fault(FOREVER, FAIL, log=str(log))).status == 0
    wanted = portrait(arena.work)
    lines = [line.partition(" ") for line in log.read_text("utf-8").splitlines()]
    for number in range(0, len(lines), every):
        arena.clear(kind.before)
        name, _, path = lines[number]
        operation = Operation(number, name, path.removeprefix(f"{arena.work}/"))
        done = arena.call(kind.command, Fault(number, FAIL, errno.ENOSPC, times))
        defects = list(unclear(done, "disk is full|No space left on device"))
        defects += settled(arena, kind, wanted)
        yield Outcome(kind.title, "full disk", _named(operation, FAIL), tuple(defects), bool(done.status))


def unclear(done: Ended, wanted: str = "") -> Iterator[str]:
    """Yield what is wrong about how a command that could not do its work said so: a pattern must be in it."""
    if TRACEBACK in done.said:
        yield f"traceback: {done.err.strip().splitlines()[-1][:200]}"
    elif done.status < 0:
        yield f"stuck: status {done.status}"
    elif done.status and (REMEDY not in done.err or not re.search(wanted, done.err)):
        yield f"unclear: {_first_line(done)}"


# ── damaged files ─────────────────────────────────────────────────────────────────────────────


def _flip(data: bytes, _: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else b"\1"


def _nul(data: bytes, _: bytes) -> bytes:
    start, size = len(data) // 4, min(512, max(1, len(data) // 2))
    return data[:start] + bytes(size) + data[start + size :]


HARMS: Mapping[str, Callable[[bytes, bytes], bytes]] = {
    "flipped bit": _flip,
    "cut in half": lambda data, _: data[: len(data) // 2],
    "emptied": lambda *_: b"",
    "a block of NUL": _nul,
    "another run's": lambda _, other: other,
}
WHOLE_LINES = ("emptied", "cut in half", "another run's")
"""What leaves a log as a kill could, or with lines that each have a right checksum of its own."""
IDLE = re.compile(r"\.lock|\.progress\.json|\..+\.tmp")
"""What no result depends on: the lock, how far the run is, and what was not committed."""
DATA = "DATA"
"""In the words of a command: the data of the run."""
OTHER_SEED = ("--seed", "7", "--learning-rate", "2e-3")


@dataclass(frozen=True)
class Reader:
    """A command that reads a run."""

    words: tuple[str, ...]
    remakes: bool = False
    """Whether the run itself is what it answers."""


READERS = (
    Reader(("predict", "run", DATA, "--json")),
    Reader(("evaluate", "run", DATA, "--json")),
    Reader(("report", "run")),
    Reader(("export", "run", "--to", "merged", "--out", "exported")),
    Reader(("resume", "run"), remakes=True),
)
VERIFY = Reader(("verify", "run"))


def corruptions(
    arena: Arena, kind: Kind, every: int, readers: Sequence[Reader], stop: Fault | None = None
) -> Iterator[Outcome]:
    """Damage each file of a run in five ways, and let each command read it.

    Args:
        arena: where it happens.
        kind: of the run.
        every: of so many damages take one.
        readers: the commands.
        stop: where the run is stopped before, and is half done; None for a finished one.
    """
    other = _run(arena, kind, (*kind.command, *OTHER_SEED), None, "other")
    template = _run(arena, kind, kind.command, stop, "damaged")
    readers = [
        replace(one, words=tuple(kind.command[1] if word == DATA else word for word in one.words)) for one in readers
    ]
    answers = {reader: _answer(arena, template, reader) for reader in readers}
    found = [path.relative_to(template) for path in sorted((template / "run").rglob("*")) if path.is_file()]
    files = [path for path in found if not any(map(IDLE.fullmatch, path.parts))]
    unsealed = [name for name in files if _unsealed(template, name)]
    harms = [(name, harm) for name in files for harm in HARMS]
    attack = "damaged, half done" if stop else "damaged"
    for name, harm in harms[::every]:
        for reader in readers:
            arena.restore(template)
            path, twin = arena.work / name, other / name
            before = path.read_bytes()
            after = HARMS[harm](before, twin.read_bytes() if twin.exists() else b"{}")
            if after == before or (reader == VERIFY and name in unsealed and harm in WHOLE_LINES):
                continue
            path.write_bytes(after)
            done = arena.call(reader.words)
            defects = [*unclear(done)]
            if done.status and not defects and not _names(done, name):
                defects.append(f"does not name the file: {_first_line(done)}")
            if not done.status and _result(arena, done, reader) != answers[reader][0]:
                defects.append(f"silent difference: {reader.words[0]}")
            if not done.status and reader == VERIFY:
                defects.append("silent difference: verify finds nothing")
            yield Outcome(kind.title, attack, f"{name}, {harm}: {reader.words[0]}", tuple(defects), bool(done.status))


def _unsealed(folder: Path, name: Path) -> bool:
    """Return whether no line of a log is counted by a commit: a resumed run repeats all that is in it."""
    if name.name not in LOGS:
        return False
    logged = json.loads((folder / name).with_name("MANIFEST.json").read_text("utf-8"))["logged"]
    return not logged.get(name.name, {}).get("size")


def _run(arena: Arena, kind: Kind, command: Sequence[str], stop: Fault | None, name: str) -> Path:
    """Make a run, and return a copy of the folder in which it is."""
    arena.clear(kind.before)
    done = arena.call(command, stop or Fault())
    assert done.status == (-signal.SIGKILL if stop else 0), done.said
    template = arena.root / name
    shutil.rmtree(template, ignore_errors=True)
    shutil.copytree(arena.work, template, symlinks=True)
    return template


def _answer(arena: Arena, template: Path, reader: Reader) -> tuple[object, Ended]:
    arena.restore(template)
    done = arena.call(reader.words)
    return _result(arena, done, reader), done


def _result(arena: Arena, done: Ended, reader: Reader) -> object:
    """Return what a command answered: its output, its pages, its exported model, or the run itself."""
    run, exported = arena.work / "run", arena.work / "exported"
    if reader.remakes:
        return done.status, {name: one for name, one in portrait(run).items() if "checkpoints/" not in name}
    pages = [path.read_bytes() for path in sorted(run.glob("*.html"))] if reader.words[0] == "report" else []
    return done.status, done.out, pages, portrait(exported) if exported.exists() else {}


def _names(done: Ended, name: Path) -> bool:
    """Return whether a message names a damaged file, or the folder that it is in."""
    return any(part in done.err for part in name.parts[1:])


# ── forbidden folders, little memory ──────────────────────────────────────────────────────────


def forbidden(arena: Arena, kind: Kind) -> Iterator[Outcome]:
    """Make each folder read-only in which a run, half done or not begun, writes; then allow it, and go on."""
    found = operations(arena, kind)
    wanted = portrait(arena.work)
    half = next(one for one in found if "checkpoints" in one.path)
    for name in ("run", "home", "cache", "tmp", "."):
        arena.clear(kind.before)
        if name == "run":
            arena.call(kind.command, Fault(half.number, KILL))
        folder = arena.work / name
        inner = [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]
        inner = inner if name == "run" else [folder]
        for path in inner:
            path.chmod(0o500)
        done = arena.call(arena.next_command(kind))
        for path in inner:
            path.chmod(0o700)
        defects = [*unclear(done, "[Pp]ermission (is )?denied"), *settled(arena, kind, wanted)]
        yield Outcome(kind.title, "read-only", f"{name} is read-only", tuple(defects), bool(done.status))


def little_memory(arena: Arena, kind: Kind, sizes: Sequence[int]) -> Iterator[Outcome]:
    """Let a process have only so much more memory than the libraries take; then go on without a bound."""
    arena.operations(kind)
    wanted = portrait(arena.work)
    for megabytes in sizes:
        arena.clear(kind.before)
        done = arena.call(kind.command, memory=megabytes << 20)
        defects = [*unclear(done, "memory"), *settled(arena, kind, wanted)]
        yield Outcome(kind.title, "little memory", f"{megabytes} MB", tuple(defects), bool(done.status))
