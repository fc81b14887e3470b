"""What is made from a user's rows: private folders, the data's own permissions, and nothing left after a kill."""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kamerton.core.files import mode_of, permitting, scratch_folder, write_text
from kamerton.data.find import unpacked
from kamerton.deliver.export import export_run
from kamerton.models import fresh
from kamerton.runs.run import Run
from killing import dies_at
from stories import DONE


@pytest.fixture
def system(tmp_path, monkeypatch) -> Path:
    """The system's temporary folder, and a cache, of the test's own."""
    (tmp_path / "system").mkdir()
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "system"))
    return tmp_path / "system"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def permissions(folder: Path) -> dict[bool, set[int]]:
    """The permissions of folders (True) and files (False) in a folder, which is one of them."""
    found: dict[bool, set[int]] = {True: {mode(folder)}, False: set()}
    for path in folder.rglob("*"):
        found[path.is_dir()].add(mode(path))
    return found


# ── folders for a while ───────────────────────────────────────────────────────────────────────


def test_an_archive_is_unpacked_where_a_kill_leaves_nothing_in_the_systems_folder(system, tmp_path):
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr("rows.csv", "text,label\na,b\n")

    def work() -> None:
        with unpacked(tmp_path / "rows.zip") as [(path, _)]:
            assert path.read_text() == "text,label\na,b\n"

    killed = [dies_at(number, work) for number in range(20)]
    assert killed[0] and not killed[-1] and list(system.iterdir()) == []
    with scratch_folder() as folder:
        assert list((tmp_path / "cache" / "scratch").iterdir()) == [folder]


def test_nothing_else_makes_files_among_the_systems():
    source = Path(fresh.__file__).parents[1]
    makers = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if "import tempfile" in (text := path.read_text("utf-8")) or "from tempfile" in text
    }
    # rows and a server's errors are spooled to files without a name; others name the folder of a run, an export or the
    # cache; Ray's sockets hold no rows and need a short path
    assert makers == {
        "contenders/llama_server.py",
        "core/files.py",
        "data/rows.py",
        "evaluate/artefact.py",
        "launch/local.py",
        "models/catalog.py",
        "plugins/exports/_llama_cpp.py",
        "plugins/exports/_transformers.py",
        "plugins/workers/ray.py",
        "plugins/exports/onnx.py",
    }


def test_without_a_cache_a_folder_for_a_while_is_the_systems(system, monkeypatch):
    monkeypatch.setenv("KAMERTON_CACHE", "/proc/nowhere")
    with scratch_folder() as folder:
        assert folder.parent.parent == system and mode(folder) == mode(folder.parent) == 0o700
    assert list(next(system.iterdir()).iterdir()) == []


# ── files half written ────────────────────────────────────────────────────────────────────────


def test_files_half_written_by_killed_processes_are_removed_at_the_next_writing(tmp_path):
    others = [tmp_path / name for name in (".a.json.x.tmp", f".a.json.{os.getppid()}.tmp", ".b.json.1.tmp", "a.tmp")]
    for path in others:
        path.touch()
    for number in itertools.count():
        killed = dies_at(number, lambda: write_text(tmp_path / "a.json", "new"))
        write_text(tmp_path / "a.json", "newer")
        assert {*tmp_path.iterdir()} == {*others, tmp_path / "a.json"}
        if not killed:
            break
    assert number >= 3


@pytest.mark.parametrize(("wanted", "folder"), [(0o600, 0o700), (0o640, 0o750), (0o644, 0o755), (0o666, 0o755)])
def test_what_a_block_makes_has_the_permissions_that_are_given_from_its_first_byte(tmp_path, wanted, folder):
    usual = os.umask(0o022)
    try:
        with permitting(wanted):
            (tmp_path / "in" / "deeper").mkdir(parents=True)
            with (tmp_path / "in" / "file").open("w"):
                assert mode(tmp_path / "in" / "file") == wanted & 0o644
        assert (mode(tmp_path / "in"), mode(tmp_path / "in" / "deeper")) == (folder, folder)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(usual)


def test_permissions_are_those_of_the_file_or_its_archive(tmp_path):
    archive = tmp_path / "a.zip"
    archive.touch(0o640)
    archive.chmod(0o640)
    assert [mode_of(str(path)) for path in (archive, archive / "in" / "rows.csv")] == [0o640] * 2
    assert [mode_of(path) for path in (None, "", str(tmp_path), str(tmp_path / "*.csv"), "org/name")] == [0o600] * 5


# ── copies, ledgers, pages, exports ───────────────────────────────────────────────────────────

ROWS = [("a text", "x"), ("a text", "x"), *((f"text {n}", "xy"[n % 2]) for n in range(12))]


def write_rows(path: Path) -> None:
    lines = "".join(f"{text},{label}\n" for text, label in [("text", "label"), *ROWS])
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}), path)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("rows.csv", lines)
    else:
        path.write_text(lines, encoding="utf-8")


@pytest.mark.parametrize("wanted", [0o600, 0o640, 0o644])
def test_copies_ledgers_and_pages_have_the_permissions_of_the_data(place, tmp_path, wanted):
    for ending in (".csv", ".csv.gz", ".parquet", ".zip") if wanted == 0o600 else (".csv",):
        folder = tmp_path / ending
        folder.mkdir()
        data = folder / f"rows{ending}"
        write_rows(data)
        data.chmod(wanted)
        ended = place.call("audit", data, "--fix", "--out", folder / "page.html")
        assert ended.status == DONE, ended.said
        made = [path for path in folder.rglob("*") if path.is_file() and path != data]
        assert len(made) == 3 and {mode(path) for path in made} == {wanted}, (made, ended.said)


def test_a_folders_private_file_has_a_private_copy(place, tmp_path):
    (tmp_path / "data").mkdir()
    for name, wanted in (("a.csv", 0o644), ("b.csv", 0o600)):
        (tmp_path / "data" / name).write_text(
            f"text,label\n{name} one,x\n{name} one,x\n" + "".join(f"{name} {n},y\n" for n in range(9))
        )
        (tmp_path / "data" / name).chmod(wanted)
    ended = place.call("audit", tmp_path / "data", "--fix")
    assert ended.status == DONE, ended.said
    made = {path.name: mode(path) for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "data"}
    assert len(made) == 3 and made.pop("a.csv") == 0o644 and set(made.values()) == {0o600}


def test_an_export_has_the_permissions_of_the_runs_files(place, tmp_path, monkeypatch, system):
    monkeypatch.chdir(place.folder)
    run = Run(place.run("lora").path)
    run.files.mode = 0o600
    monkeypatch.setattr(
        "kamerton.plugins.exports._transformers._asked", lambda job, inputs: fresh.logits_of(fresh.load(job), inputs)
    )
    export_run(run, "adapter", tmp_path / "out")
    assert permissions(tmp_path / "out") == {True: {0o700}, False: {0o600}}
    assert list(system.iterdir()) == []


def test_pages_to_judge_have_the_permissions_of_the_run(place, tmp_path):
    shutil.copytree(place.run("answers").path, tmp_path / "run")
    (tmp_path / "run" / "MANIFEST.json").chmod(0o600)
    ended = place.call("judge", tmp_path / "run", "--out", tmp_path / "page.html")
    assert ended.status == DONE, ended.said
    assert mode(tmp_path / "page.html") == 0o600
