"""New files and folders that appear whole, and private folders that no killed process leaves for long."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from kamerton.core.files import appearing, scratch_folder
from killing import dies_at


def write_folder(path: Path) -> None:
    with appearing(path) as folder:
        folder.mkdir()
        (folder / "one").write_text("1")
        (folder / "other").write_text("2")


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_kill_at_any_file_operation_is_made_good_by_doing_it_again(tmp_path):
    number, killed = 0, True
    while killed:
        place = tmp_path / str(number)
        place.mkdir()
        killed = dies_at(number, lambda place=place: write_folder(place / "new"))
        if not (place / "new").exists():
            write_folder(place / "new")
        assert names_in(place) == ["new", "new/one", "new/other"]
        number += 1
    assert number > 4


def test_what_fails_leaves_nothing_and_names_the_path(tmp_path):
    with pytest.raises(OSError, match=r"new'$"), appearing(tmp_path / "new"):
        raise OSError(28, "No space left on device")
    assert names_in(tmp_path) == []


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A system's temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("KAMERTON_CACHE", "/proc/nowhere")
    return tmp_path / f"kamerton-{os.getuid()}"


def hold_rows() -> None:
    with scratch_folder() as folder:
        (folder / "rows").write_text("private")
        (folder / "more").write_text("private")


def test_a_scratch_folder_is_private_and_goes(temporary):
    with scratch_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(temporary.stat().st_mode) == 0o700
        assert folder.parent == temporary
    assert names_in(temporary) == []


def test_what_a_kill_left_goes_at_the_next_start_and_what_is_in_use_stays(temporary):
    with scratch_folder() as mine:
        (mine / "rows").write_text("mine")
        number = 0
        while dies_at(number, hold_rows):
            number += 1
        with scratch_folder() as other:
            assert {path.name for path in temporary.iterdir()} == {mine.name, other.name}
        assert (mine / "rows").read_text() == "mine"
    assert number > 4
    assert names_in(temporary) == []


def test_a_scratch_folder_of_another_user_is_not_used(temporary):
    temporary.mkdir()
    if os.getuid():
        pytest.skip("only root can give a folder away")
    os.chown(temporary, 12345, 12345)
    with pytest.raises(PermissionError), scratch_folder():
        pass
