"""The run folder: what is there can be trusted after any stop, and reads back as it was written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.core.errors import RunError
from kamerton.core.files import replacing, write_json
from kamerton.core.outcomes import Answers, Resources
from kamerton.core.records import (
    Example,
    Finding,
    LedgerEntry,
    Place,
    Prediction,
    Saved,
    Split,
    Started,
    Stepped,
    Stopped,
    Validated,
)
from kamerton.runs.changes import RunFiles
from kamerton.runs.logs import append_line
from kamerton.runs.recipe import Recipe, resolve
from kamerton.runs.run import Run
from kamerton.runs.state import State
from kamerton.runs.tables import read_examples, write_examples

EVENTS = (
    Started(0, 40, 128, 1024, "flat: rows are laid end to end"),
    Stepped(10, 0.5, 1.25, 1e-3, 0.7, 2048, 1.5),
    Validated(10, 0.5, 1.1, {"accuracy": 0.75, "loss": 1.1}, best=True),
    Saved(10, 0.2),
    Stepped(20, 1.0, 0.9, 5e-4, 0.6, 2048, 1.4),
    Stopped(20, 10, "остановлено по просьбе 🙂", 0.03),
)

TEXTS = (
    "A warm film.",
    "Тёплый фильм — «лучший» за год.",
    "🙂👩‍👩‍👧 \t\n",
    "a\u2028b\x85c\x00d",
    "",
    "combining e\u0301",
)


def example(id: int, text: str) -> Example:
    return Example(id, Place("отзывы 2024.csv", id + 2), text, "хорошо", {"text": text, "spans": [[0, 4], [5, 9]]})


EXAMPLES = tuple(example(id, text) for id, text in enumerate(TEXTS))
SPLIT = Split(EXAMPLES[:3], EXAMPLES[3:4], EXAMPLES[4:])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has just begun."""
    return Run.create(tmp_path / "прогон", Recipe())


# ── round trips ───────────────────────────────────────────────────────────────────────────────


def test_a_run_keeps_its_recipe_and_takes_a_more_resolved_one(tmp_path):
    recipe = resolve(flags={"data.path": "отзывы.csv", "train.epochs": 3})
    run = Run.create(tmp_path / "run", recipe)
    assert Run(tmp_path / "run").recipe.data.path == "отзывы.csv"
    run.write_recipe(resolve(run.path / "recipe.yaml", {"train.epochs": 4}))
    assert run.recipe.train.epochs == 4


def test_a_split_reads_back_as_it_was_frozen(run):
    findings = [Finding("empty-text", "warning", "1 строка пуста", "fill it", (4,), (4,), ("отзывы.csv:6",))]
    ledger = [LedgerEntry(e.id, e.place, "train", "") for e in EXAMPLES]
    assert not run.has_split
    run.write_data(SPLIT, findings, ledger)
    assert run.has_split
    assert (run.read_split(), run.read_findings(), run.read_ledger()) == (SPLIT, findings, ledger)


def test_answers_read_back_in_their_order_with_what_they_do_not_know(run):
    predictions = tuple(Prediction(e.id, e.text, None, None, None) for e in SPLIT.train)
    scored = tuple(Prediction(e.id, "да 🙂", 0.25, 1e-9, 3) for e in SPLIT.train)
    answers = [Answers("tuned", "tuned", scored, 1.5), Answers("большинство", "trivial", predictions, 0.0)]
    assert run.read_answers() == []
    run.write_answers(SPLIT.train, answers)
    assert run.read_answers() == answers


def test_the_result_is_there_only_when_the_run_is_finished(run):
    assert not run.finished
    with pytest.raises(RunError, match="kamerton resume"):
        _ = run.result
    run.write_result({"schema": 1, "task": "задача"})
    assert run.finished
    assert run.result == {"schema": 1, "task": "задача"}


def test_the_state_is_empty_before_it_is_known(run):
    assert run.state == State()
    known = State(libraries={"torch": "2.13.0"}, processors=2, seconds={"train": 1.5}, forecast=Resources(2.5, 100, 10))
    run.write_state(known)
    assert run.state == known
    assert set(json.loads((run.path / "environment.json").read_text("utf-8"))) == {
        "libraries", "processors", "seconds", "forecast",
    }  # fmt: skip


@pytest.mark.parametrize("damage", ['{"seconds": "long"}', '{"model": {"name": "minilm"}}', '{"rate": "fast"}'])
def test_a_damaged_state_is_told_with_its_place(run, damage):
    (run.path / "environment.json").write_text(damage, "utf-8")
    with pytest.raises(RunError, match=r"environment\.json"):
        _ = run.state


@given(st.lists(st.tuples(st.text(), st.text(), st.dictionaries(st.text(), st.text(), max_size=3)), max_size=8))
def test_any_text_survives_the_table_of_examples(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    examples = tuple(Example(i, Place(text, i), text, gold, fields) for i, (text, gold, fields) in enumerate(rows))
    write_examples(path, examples)
    assert read_examples(path.read_bytes(), path) == examples


def test_a_number_that_json_has_not_is_refused_and_the_old_file_stays(tmp_path):
    write_json(tmp_path / "a.json", {"loss": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"loss": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


# ── refusals ──────────────────────────────────────────────────────────────────────────────────


def test_a_folder_without_a_recipe_is_no_run(tmp_path):
    with pytest.raises(RunError, match="it has no recipe"):
        Run(tmp_path)


def test_a_second_run_never_takes_the_place_of_the_first(run):
    run.write_data(SPLIT, [], [])
    with pytest.raises(RunError, match="already holds a run"):
        Run.create(run.path, Recipe())


def test_a_run_that_came_to_nothing_gives_way(run):
    wanted = Recipe(seed=7)
    assert Run.create(run.path, wanted).recipe.seed == wanted.seed


def test_a_run_does_not_give_way_while_a_process_is_at_work_on_it(run):
    with run.locked(), pytest.raises(RunError, match="another process"):
        Run.create(run.path, Recipe(seed=7))
    assert run.recipe.seed == 0


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match="cannot be made"):
            Run.create(path, Recipe())


# ── events ────────────────────────────────────────────────────────────────────────────────────


def test_every_event_reads_back_as_it_happened(run):
    for event in EVENTS:
        run.append(event)
    assert run.events() == list(EVENTS)
    assert (run.path / "events.jsonl").read_bytes().count(b"\n") == len(EVENTS)


def test_a_last_event_cut_at_any_byte_is_left_out(run):
    for event in EVENTS:
        run.append(event)
    path = run.path / "events.jsonl"
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        assert run.events() == list(EVENTS[:-1])


def test_rewinding_forgets_later_events_and_a_cut_one(run):
    for event in EVENTS:
        run.append(event)
    with (run.path / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "stepped", "st')
    run.rewind(10)
    assert run.events() == list(EVENTS[:4])
    run.append(EVENTS[4])
    assert run.events() == list(EVENTS[:5])


def test_events_before_a_checkpoint_are_missed_if_they_are_cut(run):
    saved = next(n for n, event in enumerate(EVENTS, 1) if isinstance(event, Saved))
    for event in EVENTS[:saved]:
        run.record(event)
    path = run.path / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(len(lines)):
        path.write_bytes(b"".join(lines[:kept]))
        with pytest.raises(RunError, match="damaged"):
            run.events()


def test_events_of_another_run_are_told(run, tmp_path):
    saved = next(n for n, event in enumerate(EVENTS, 1) if isinstance(event, Saved))
    for event in EVENTS[:saved]:
        run.record(event)
    path, other = run.path / "events.jsonl", tmp_path / "other.jsonl"
    for step in range(50):
        append_line(other, {"event": "saved", "step": step, "seconds": 0.5}, 0o600)
    path.write_bytes(other.read_bytes())
    with pytest.raises(RunError, match="damaged"):
        run.events()


# ── one writer ────────────────────────────────────────────────────────────────────────────────

TRY_LOCK = """
import sys
from kamerton.core.errors import RunError
from kamerton.runs.run import Run
try:
    with Run(sys.argv[1]).locked():
        print("mine", flush=True)
        sys.stdin.read()
except RunError as error:
    print(error, flush=True)
"""


def other_process(run: Run) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", TRY_LOCK, str(run.path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_the_lock_excludes_a_second_process_until_it_is_released(run):
    with run.locked(), other_process(run) as refused:
        assert "another process is at work" in refused.stdout.readline()
    with other_process(run) as admitted:
        assert admitted.stdout.readline() == "mine\n"


def test_the_lock_of_a_killed_process_is_free(run):
    with other_process(run) as holder:
        assert holder.stdout.readline() == "mine\n"
        with pytest.raises(RunError, match="another process"), run.locked():
            raise AssertionError("two writers")
        holder.kill()
        holder.wait()
    with run.locked():
        assert run.path.exists()


# ── kill -9 ───────────────────────────────────────────────────────────────────────────────────

STEPS = {"open", "os.rename", "os.remove", "os.mkdir", "os.listdir"}
"""Audit events of the calls by which a file comes to be."""
PAYLOAD = 10_000


def killed_before_step(number: int, action: Callable[[], object]) -> bool:
    """Run `action` in a child that is killed before its `number`-th call to the file system, if it makes so many."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal number
        if event in STEPS:
            number -= 1
            if number == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        sys.addaudithook(hook)
        action()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def kill_at_every_step(action: Callable[[], object], look: Callable[[], object], reset: Callable[[], object]) -> list:
    """Kill `action` before its first step, its second, and so on; say what was left each time, and at last."""
    left, killed = [], True
    while killed:
        reset()
        killed = killed_before_step(len(left) + 1, action)
        left.append(look())
    return left


def kill_at_moments(path: Path) -> list[int]:
    """Kill a process that writes one file again and again; say which version was there, -1 for a torn one."""
    versions = []
    for moment in range(40):
        pid = os.fork()
        if pid == 0:
            for version in count(1):
                write_json(path, [version] * PAYLOAD)
        time.sleep(0.03 + 0.0013 * moment)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        values = json.loads(path.read_bytes())
        versions.append(values[0] if values == values[:1] * PAYLOAD else -1)
    return versions


def kill_everywhere(folder: Path) -> None:
    """Kill a write and a rewind at every step, and a long write at many moments; write what was left."""
    file, run = folder / "result.json", Run.create(folder / "run", Recipe())

    def begin_again() -> None:
        (run.path / "events.jsonl").unlink(missing_ok=True)
        for event in EVENTS:
            run.append(event)

    left = {
        "written": kill_at_every_step(
            lambda: write_json(file, "new"), lambda: json.loads(file.read_bytes()), lambda: write_json(file, "old")
        ),
        "rewound": kill_at_every_step(lambda: run.rewind(10), lambda: len(run.events()), begin_again),
    }
    write_json(file, [0] * PAYLOAD)
    write_json(folder / "left.json", left | {"versions": kill_at_moments(file)})


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """What was left after the kills; they are dealt out in a process of their own, which has no threads to fork."""
    folder = tmp_path_factory.mktemp("killed")
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import pathlib, test_run; "
    code += f"test_run.kill_everywhere(pathlib.Path({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    return json.loads((folder / "left.json").read_bytes())


def test_a_kill_at_any_step_of_a_write_leaves_the_old_file_or_the_new_one(left):
    written = left["written"]
    assert set(written) == {"old", "new"}
    assert written == sorted(written, reverse=True), "once new, never old again"
    assert len(written) >= 4


def test_a_kill_at_any_step_of_a_rewind_leaves_all_events_or_the_kept_ones(left):
    assert set(left["rewound"]) == {4, len(EVENTS)}
    assert left["rewound"][-1] == 4


def test_a_kill_at_any_moment_leaves_a_whole_file(left):
    assert -1 not in left["versions"]
    assert max(left["versions"]) > 0


def test_a_failed_write_leaves_neither_a_file_nor_its_temporary(tmp_path):
    with pytest.raises(OSError, match="disk is full"), replacing(tmp_path / "a" / "model.bin") as temporary:
        temporary.write_bytes(b"half")
        raise OSError("disk is full")
    assert list((tmp_path / "a").iterdir()) == []


def test_an_event_of_another_version_is_told_with_its_line(run):
    append_line(run.path / "events.jsonl", {"event": "saved", "step": 1, "seconds": 0.5}, 0o600)
    append_line(run.path / "events.jsonl", {"event": "reborn", "step": 2}, 0o600)
    with pytest.raises(RunError, match=r"this Kamerton knows no event 'reborn'") as caught:
        run.events()
    assert str(caught.value.faults[0].place).endswith("events.jsonl:2")


def test_a_table_of_another_version_is_told_with_what_it_lacks(tmp_path):
    pq.write_table(pa.table({"id": [1], "text": ["a"]}), tmp_path / "train.parquet")
    with pytest.raises(RunError, match="the table lacks file, line, gold, fields"):
        read_examples((tmp_path / "train.parquet").read_bytes(), tmp_path / "train.parquet")


def test_a_change_that_was_committed_in_a_run_inside_is_ended_with_the_run(run, monkeypatch):
    run.write_data(Split((), (), ()), [], [])
    inner = run.variant("seeds/1", Recipe(seed=1))
    with monkeypatch.context() as patch:
        patch.setattr(RunFiles, "_finish", lambda _: None)  # as where a kill comes right after the commit
        inner.write_temperature(2.0)
    assert (inner.path / ".change").exists()
    with run.locked():
        assert not (inner.path / ".change").exists()
    assert inner.temperature == 2.0
