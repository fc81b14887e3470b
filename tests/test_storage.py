"""Runs and data at addresses: whole for every reader at any moment, and no key in what is kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from children import Child
from kamerton.core.addresses import address_of
from kamerton.core.errors import DataError, RecipeError, RunError
from kamerton.core.storage import Storage
from kamerton.data.read import read_table
from kamerton.runs.mirror import OBJECTS, STATES, MirrorState, newest_state
from kamerton.runs.recipe import Recipe
from kamerton.runs.run import Run
from kamerton.session.new_run import new_run
from stories import DONE, QUICK, RUNS, wait_for, weights_of

ADDRESS = "dying://bucket/runs/x"


class Killed(BaseException):
    """As good as kill -9: nothing of ours catches it."""


class Dying(MemoryFileSystem):
    """An object store; the process is killed in its n-th operation, of which half was done."""

    protocol = "dying"
    store: dict = {}  # noqa: RUF012  # fsspec's own
    pseudo_dirs = [""]  # noqa: RUF012
    left = -1
    """Operations until the kill; below 0, none comes."""

    def _count(self) -> bool:
        Dying.left -= 1
        return Dying.left == 0

    def pipe_file(self, path, value, **given):
        if self._count():
            super().pipe_file(path, value[: len(value) // 2], **given)
            raise Killed
        super().pipe_file(path, value, **given)

    def put_file(self, lpath, rpath, **given):
        if self._count():
            super().pipe_file(rpath, Path(lpath).read_bytes()[:3])
            raise Killed
        super().put_file(lpath, rpath, **given)

    def rm_file(self, path):
        if self._count():
            raise Killed
        super().rm_file(path)


fsspec.register_implementation("dying", Dying, clobber=True)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path / "here"))
    Dying.store.clear()
    Dying.left = -1
    yield
    Dying.left = -1


@pytest.fixture
def on_another_machine(tmp_path, monkeypatch):
    """Return a function after which nothing of the address is here."""
    numbers = iter(range(1000))

    def move() -> None:
        monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path / f"machine-{next(numbers)}"))

    return move


def filled(run: Run, number: int) -> None:
    """Commit a change of two files and a new one."""
    with run.changing() as change:
        run.write_recipe(Recipe(seed=number))
        change.write("data/ledger.parquet", bytes([number]) * 100)
        change.write(f"model/{number}.bin", bytes([number]) * 1000)


def seen(address: str = ADDRESS) -> int:
    """Read a run as a stranger does, and return which of the commits it shows, after a check of all files."""
    run = Run(address)
    assert run.files.damaged() == []
    number = run.recipe.seed
    assert run.files.read("data/ledger.parquet") == bytes([number]) * 100
    assert run.files.read(f"model/{number}.bin") == bytes([number]) * 1000
    return number


# ── addresses ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("word", "address"), [
    ("s3://bucket/run", "s3://bucket/run"), (Path("s3://bucket/run/"), "s3://bucket/run"),
    ("file:///tmp/x", "file:///tmp/x"), (Path("file:///tmp/x"), "file:///tmp/x"), (Path("memory://a"), "memory://a"),
    ("runs/x", None), ("/tmp/x", None), ("C:/x", None), ("a text: with signs", None), ("", None),
])  # fmt: skip
def test_addresses_are_told_from_paths_also_as_pathlib_writes_them(word, address):
    assert address_of(word) == address


@pytest.mark.parametrize("address", [
    "s3://AKIA123:hush@bucket/x.csv", "https://host/x.csv?X-Amz-Signature=hush", "https://host/x.csv?a=1&sas_token=hush",
    "ftp://user:hush@host/x.csv",
])  # fmt: skip
def test_an_address_with_a_key_is_refused_and_the_key_is_not_repeated(address, tmp_path):
    with pytest.raises(RecipeError, match="an address holds no key") as raised:
        new_run(Path(address), tmp_path / "run", {})
    assert "hush" not in str(raised.value) and "AKIA" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_what_no_library_reads_is_a_users_mistake_with_the_extra_that_helps():
    with pytest.raises(RecipeError, match=r"kamerton\[s3\]"):
        Storage.at("s3://bucket/x")
    with pytest.raises(RecipeError, match="nothing here reads nope://"):
        Storage.at("nope://bucket/x")


# ── runs ──────────────────────────────────────────────────────────────────────────────────────


def test_a_run_at_an_address_is_there_with_each_commit(on_another_machine):
    run = Run.create(ADDRESS, Recipe())
    for number in (1, 2, 3):
        filled(run, number)
        on_another_machine()
        assert seen() == number
    assert Run(ADDRESS).files.checksums == run.files.checksums
    assert (run.path.stat().st_mode & 0o777, (run.path / "recipe.yaml").stat().st_mode & 0o777) == (0o700, 0o600)


def test_only_what_changed_is_written_and_only_the_last_two_states_are_kept():
    run = Run.create(ADDRESS, Recipe())
    for number in (1, 2, 3):
        filled(run, number)
    storage = Storage.at(ADDRESS)
    assert len(storage.names(STATES)) == 2
    state = newest_state(storage)
    before = set(storage.names(OBJECTS))
    assert {f"{OBJECTS}/{one.sha256}" for one in state.files.values()} <= before
    run.write_recipe(Recipe(seed=4))
    added = set(storage.names(OBJECTS)) - before
    assert len(added) == 2  # the recipe and the manifest
    run.write_recipe(Recipe(seed=4))
    assert newest_state(storage).number == state.number + 1


def test_a_kill_in_any_operation_leaves_a_whole_state_and_the_next_sitting_completes_it(
    on_another_machine, monkeypatch
):
    home, shown = os.environ["KAMERTON_CACHE"], set()
    run = Run.create(ADDRESS, Recipe())
    filled(run, 1)
    for operation in range(1, 40):
        number = operation + 1
        monkeypatch.setenv("KAMERTON_CACHE", home)
        run, Dying.left = Run(ADDRESS), operation
        with suppress(Killed):
            filled(run, number)
        survived = Dying.left > 0
        Dying.left = -1
        on_another_machine()
        shown.add(number - seen())
        monkeypatch.setenv("KAMERTON_CACHE", home)
        with Run(ADDRESS).locked():
            pass
        on_another_machine()
        assert seen() == number
        if survived:
            break
    assert survived and operation > 6
    assert shown == {0, 1}


def test_a_reader_from_whom_the_writer_removes_a_state_takes_the_newer_one(on_another_machine, monkeypatch):
    run = Run.create(ADDRESS, Recipe())
    filled(run, 1)
    on_another_machine()
    read, get = [], Storage.get

    def late(storage: Storage, name: str, target: Path) -> None:
        read.append(name)
        if len(read) == 1:
            filled(run, 2)
            filled(run, 3)
        get(storage, name, target)

    monkeypatch.setattr(Storage, "get", late)
    assert seen() == 3


def test_two_machines_do_not_write_one_run(on_another_machine, tmp_path):
    first = Run.create(ADDRESS, Recipe())
    filled(first, 1)
    on_another_machine()
    filled(Run(ADDRESS), 2)
    with pytest.raises(RunError, match="another process has written this run") as raised:
        filled(first, 3)
    assert f"`kamerton resume {ADDRESS}` goes on" in str(raised.value)
    on_another_machine()
    assert seen() == 2


def test_a_damaged_object_is_told_and_an_unsafe_name_makes_no_state(on_another_machine):
    filled(Run.create(ADDRESS, Recipe()), 1)
    storage, state = Storage.at(ADDRESS), newest_state(Storage.at(ADDRESS))
    storage.write(f"{OBJECTS}/{state.files['recipe.yaml'].sha256}", b"seed: 7")
    on_another_machine()
    with pytest.raises(RunError, match="the object is not what the run wrote"):
        Run(ADDRESS)
    unsafe = MirrorState(1, "x", {"../outside": state.files["recipe.yaml"]})
    assert MirrorState.from_bytes(unsafe.to_bytes()) is None
    assert MirrorState.from_bytes(state.to_bytes()[:-9]) is None


def test_an_address_without_a_run_and_one_with_other_objects_are_refused():
    with pytest.raises(RunError, match="there is no run at this address"):
        Run(ADDRESS)
    Storage.at(ADDRESS).write("photo.jpg", b"a cat")
    with pytest.raises(RunError, match="must be new or empty"):
        Run.create(ADDRESS, Recipe())
    other = ADDRESS + "2"
    filled(Run.create(other, Recipe()), 1)
    with pytest.raises(RunError, match="already holds a run"):
        Run.create(other, Recipe())


# ── data ──────────────────────────────────────────────────────────────────────────────────────


def texts(path: str) -> list[tuple[str, object]]:
    return [(str(row.place), row.values["text"]) for row in read_table(Path(path)).rows]


def test_data_at_an_address_are_fetched_privately_and_again_when_they_change(tmp_path):
    source = tmp_path / "store" / "a.csv"
    source.parent.mkdir()
    source.write_text("text,label\none,x\ntwo,y\n")
    address = f"file://{source}"
    assert texts(address) == [(f"{address}:2", "one"), (f"{address}:3", "two")]
    [copy] = (tmp_path / "here" / "fetched").rglob("a.csv")
    assert copy.stat().st_mode & 0o777 == 0o600
    made = copy.stat().st_ino
    texts(address)
    assert copy.stat().st_ino == made
    copy.write_text("text,label\nforged,x\n")
    assert texts(address)[0][1] == "one"
    source.write_text("text,label\nthree,x\n")
    assert [text for _, text in texts(address)] == ["three"]


def test_folders_and_patterns_at_an_address_are_read_like_those_here():
    storage = Storage.at("dying://bucket/data")
    for name, text in (("a.csv", "one"), ("b/c.csv", "two"), ("b/d.jsonl", "three"), ("notes.md", "none")):
        rows = f'{{"text": "{text}", "label": "x"}}\n' if name.endswith("l") else f"text,label\n{text},x\n"
        storage.write(name, rows.encode())
    folder = "dying://bucket/data"
    assert texts(folder) == [
        (f"{folder}/a.csv:2", "one"), (f"{folder}/b/c.csv:2", "two"), (f"{folder}/b/d.jsonl:1", "three"),
    ]  # fmt: skip
    assert texts(f"{folder}/b/*.csv") == [(f"{folder}/b/c.csv:2", "two")]
    assert len(texts(f"{folder}/**/*.csv")) == 2
    with pytest.raises(DataError, match="there is no data at this address"):
        texts(f"{folder}/none.csv")


# ── the whole story ───────────────────────────────────────────────────────────────────────────


def test_a_run_is_told_at_an_address_killed_resumed_elsewhere_and_used_from_there(place, tmp_path):
    store = place.folder / "store"
    store.mkdir()
    shutil.copy(place.folder / "reviews.csv", store)
    address = f"file://{store}/runs/head"

    def start(machine: str, *arguments: object) -> Child:
        words = [str(argument) for argument in arguments]
        return place.nursery.start("children:kamerton_elsewhere", str(tmp_path / machine), words, cwd=place.folder)

    data = (f"file://{store}/reviews.csv", "--set", "data.fetched=removed")
    child = start("a", "tune", *data, *RUNS["head"][1:], *QUICK, "--out", address)
    wait_for(child, lambda: (store / "runs/head/states/00000005.json").exists())
    child.kill()
    child.wait()
    for machine, command in (
        ("b", ("verify", address)),
        ("b", ("resume", address)),
        ("c", ("report", address, "--language", "ru")),
        ("c", ("predict", address, f"file://{store}/reviews.csv")),
    ):
        ended = start(machine, *command).wait()
        assert ended.status == DONE, (command, ended.said)
    assert weights_of(Run(address)) == weights_of(place.run("head"))
    assert (Run(address).path / "report.ru.html").exists()
    assert not list((tmp_path / "b" / "fetched").glob("*/*"))
