"""Changes of a run's files: all or nothing after any kill, and every damaged file is noticed."""

from __future__ import annotations

import os
import shutil
import stat
from itertools import count
from pathlib import Path

import pytest

from kamerton.core.errors import RunError
from kamerton.runs.changes import COMMITTED, LOCK, LOGS, MANIFEST, PREPARED, RunFiles
from kamerton.runs.logs import append_line
from killing import dies_at

Snapshot = dict[str, bytes]
BEFORE: Snapshot = {
    "recipe.yaml": b"a: 1\n",
    "model/weights": b"old",
    "model/tokenizer": b"old",
    "remedies.json": b"[]",
    "data/stale": b"old",
}
AFTER: Snapshot = {"recipe.yaml": b"a: 2\n", "model/weights": b"new", "model/extra/part": b"new", "data/train": b"x"}


def begin(folder: Path) -> RunFiles:
    files = RunFiles(folder)
    with files.changing() as change:
        for name, data in BEFORE.items():
            change.write(name, data)
    return files


def change_all(folder: Path) -> None:
    """Replace a file and a folder, write a file into a folder that is removed, and remove a file."""
    with RunFiles(folder).changing() as change:
        change.remove("data")
        model = change.path("model")
        for name, data in AFTER.items():
            target = model.parent / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not name.startswith("model/"):
                change.path(name)
            target.write_bytes(data)
        change.remove("remedies.json")


def finish(folder: Path) -> None:
    with RunFiles(folder).locked():
        pass


def seen_by_a_reader(folder: Path) -> Snapshot:
    files = RunFiles(folder)
    names = [name for name in files.checksums if files.exists(name)]
    return {name: files.read(name) for name in names}


def on_disk(folder: Path) -> Snapshot:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in (LOCK, MANIFEST)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_kill_at_any_file_operation_leaves_the_run_as_it_was_or_wholly_changed(tmp_path):
    begin(tmp_path / "run")
    outcomes = []
    for number in count():
        folder = tmp_path / f"run-{number}"
        shutil.copytree(tmp_path / "run", folder)
        killed = dies_at(number, lambda folder=folder: change_all(folder))
        seen = seen_by_a_reader(folder)
        assert seen in (BEFORE, AFTER), number
        files = RunFiles(folder)
        finish(folder)
        assert on_disk(folder) == seen and not files.damaged(), number
        assert not (folder / COMMITTED).exists() and not (folder / PREPARED).exists()
        outcomes.append(seen == AFTER)
        if not killed:
            break
    assert len(outcomes) > 20 and outcomes == sorted(outcomes), "one moment commits the change"


def test_a_second_kill_while_a_change_is_ended_does_no_harm(tmp_path):
    begin(tmp_path / "run")
    commits = next(number for number in count() if _committed_but_open(tmp_path, number))
    for number in count():
        folder = tmp_path / f"again-{number}"
        shutil.copytree(tmp_path / f"open-{commits}", folder)
        killed = dies_at(number, lambda folder=folder: finish(folder))
        assert seen_by_a_reader(folder) == AFTER, number
        finish(folder)
        assert on_disk(folder) == AFTER
        if not killed:
            break


def _committed_but_open(tmp_path: Path, number: int) -> bool:
    folder = tmp_path / f"open-{number}"
    shutil.copytree(tmp_path / "run", folder)
    dies_at(number, lambda: change_all(folder))
    return (folder / COMMITTED).exists()


def test_a_change_that_fails_leaves_the_run_as_it_was(tmp_path):
    files = begin(tmp_path)
    with pytest.raises(ZeroDivisionError), files.changing() as change:
        change.write("recipe.yaml", b"half")
        assert files.read("recipe.yaml") == b"half", "the change itself reads what it wrote"
        raise ZeroDivisionError
    assert on_disk(tmp_path) == BEFORE and not files.damaged()


def test_a_change_within_a_change_is_committed_with_it(tmp_path):
    files = begin(tmp_path)
    with files.changing():
        with files.changing() as inner:
            inner.write("recipe.yaml", b"a: 3\n")
        assert RunFiles(tmp_path).read("recipe.yaml") == BEFORE["recipe.yaml"]
    assert RunFiles(tmp_path).read("recipe.yaml") == b"a: 3\n"


@pytest.mark.parametrize("name", [*BEFORE, MANIFEST])
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "zeros", "more"])
def test_every_damaged_file_is_noticed(tmp_path, name, harm):
    files = begin(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    harmed = {
        "flip": bytes([data[0] ^ 1]) + data[1:],
        "cut": data[:-2],
        "empty": b"",
        "zeros": bytes(len(data)),
        "more": data + b"\n",
    }[harm]
    path.write_bytes(harmed)
    if name == MANIFEST and harm == "more":  # white space: the same list
        assert files.read("recipe.yaml") == BEFORE["recipe.yaml"]
        return
    with pytest.raises(RunError, match="damaged"):
        files.read(name if name != MANIFEST else "recipe.yaml")
    with pytest.raises(RunError, match="damaged"):
        files.check(name.partition("/")[0] if name != MANIFEST else "model")


def test_a_list_of_checksums_of_another_run_is_named_itself(tmp_path):
    files, other = begin(tmp_path / "run"), begin(tmp_path / "other")
    change_all(other.folder)
    shutil.copy(other.folder / MANIFEST, files.folder / MANIFEST)
    place = str(files.folder / MANIFEST)
    for look in (lambda: files.read("recipe.yaml"), lambda: files.check("", "data"), lambda: files.check("model")):
        with pytest.raises(RunError) as raised:
            look()
        first, *others = raised.value.faults
        assert (first.place, str(first.rule)) == (
            place, "2 of the 2 files in this list differ from it: it seems to be another run's"
        )  # fmt: skip
        assert len(others) >= 1


def test_most_files_missing_are_told_as_missing_and_the_list_is_not_blamed(tmp_path):
    files = begin(tmp_path)
    for name in ("model/weights", "model/tokenizer", "data/stale"):
        (tmp_path / name).unlink()
    assert [str(fault.rule) for fault in files.damaged()] == ["the file is missing"] * 3


def test_all_damaged_logs_are_told_together(tmp_path):
    files = begin(tmp_path)
    for name in LOGS[:2]:
        append_line(tmp_path / name, {"a": 1}, 0o600)
    with files.changing() as change:
        change.write("recipe.yaml", b"a: 3\n")
    assert files.damaged_logs() == []
    (tmp_path / LOGS[0]).write_bytes(b"")
    (tmp_path / LOGS[1]).write_bytes((tmp_path / LOGS[1]).read_bytes().replace(b"1", b"2", 1))
    assert [Path(str(fault.place)).name.partition(":")[0] for fault in files.damaged_logs()] == [*LOGS[:2]]


def test_a_missing_file_and_a_foreign_one_in_a_folder_are_told_together(tmp_path):
    files = begin(tmp_path)
    (tmp_path / "model" / "weights").unlink()
    (tmp_path / "model" / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(RunError) as caught:
        files.check("model")
    assert [str(fault.rule) for fault in caught.value.faults] == [
        "the file is missing",
        "the run did not write this file",
    ]
    with pytest.raises(RunError, match="did not write"):
        files.read("model/adapter_model.bin")


def test_a_run_without_checksums_is_read_and_gets_them_at_its_first_change(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"old")
    (tmp_path / "recipe.yaml").write_bytes(b"a: 1\n")
    files = RunFiles(tmp_path)
    assert files.read("recipe.yaml") == b"a: 1\n" and not files.damaged()
    with files.changing() as change:
        change.write("result.json", b"{}")
    assert files.checksums.keys() == {"model/weights", "recipe.yaml", "result.json"} and not files.damaged()


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_files_get_the_mode_that_was_asked_for_and_folders_are_private(tmp_path, mode):
    previous = os.umask(0)
    try:
        with RunFiles(tmp_path / "run", mode).changing() as change:
            change.write("data/train", b"x")
    finally:
        os.umask(previous)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "run").rglob("*")}
    assert modes == {"data": 0o700, "train": mode, MANIFEST: mode, LOCK: 0o666}
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


def test_one_file_of_a_folder_is_replaced_alone_and_readers_see_the_others(tmp_path):
    files = begin(tmp_path)
    with files.changing() as change:
        change.write("model/tokenizer", b"new")
        assert files.place("model") == tmp_path / "model" and files.read("model/weights") == b"old"
        assert files.read("model/tokenizer") == b"new"
    assert files.read("model/tokenizer") == b"new" and not files.damaged(["model"])
    assert on_disk(tmp_path) == {**BEFORE, "model/tokenizer": b"new"}
