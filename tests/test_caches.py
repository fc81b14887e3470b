"""A cache folder that cannot be used, or holds damaged files: it costs time, is told once, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kamerton.cli.border import Border
from kamerton.core import registry
from kamerton.core.files import UNKEPT, cache_folder
from kamerton.forgetting.before import remembered
from kamerton.kernels.trial import kept_ratio, ratio_file
from kamerton.models import inspect
from test_forgetting import Speech

SPEECH = Speech(*(np.ones(2) for _ in range(4)), ("a", "b"))


@pytest.fixture(params=["/proc/nowhere", "a file", "/dev/full"])
def no_cache(request, tmp_path, monkeypatch):
    """Folders in which nobody can write, root included."""
    (tmp_path / "a file").touch()
    for name in ("KAMERTON_CACHE", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / request.param))
    monkeypatch.setenv(registry.ALLOWED, "")
    yield
    UNKEPT.clear()


def times() -> float:
    return kept_ratio("some", lambda: torch.ones(1), lambda: torch.ones(1))


def test_whatever_cannot_be_kept_is_computed_and_told_once(no_cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(inspect, "SMALL", 1)
    (tmp_path / "large").write_text("large")
    with Border():
        assert np.array_equal(remembered(Speech, ("a model",), lambda: SPEECH).losses, SPEECH.losses)
        assert times() > 0
        assert inspect._remembered(tmp_path / "large", "hashes", Path.read_text) == "large"
        registry.allow("some.module:Thing")
        assert registry.refused("some.module:Thing") is None
    told = capsys.readouterr().err
    assert told.count("cannot be kept for the next time") == 1 and "KAMERTON_CACHE=FOLDER" in told


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"null", b"\xff\0", b'{"ratio": "x"}', b"[" * 100_000])
def test_damaged_files_of_the_cache_are_made_anew(damage, tmp_path, monkeypatch):
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path))
    assert np.array_equal(remembered(Speech, ("a model",), lambda: SPEECH).losses, SPEECH.losses)
    first = times()
    (tmp_path / "large").write_text("large")
    monkeypatch.setattr(inspect, "SMALL", 1)
    assert inspect._remembered(tmp_path / "large", "hashes", Path.read_text) == "large"
    [readings], [hashes] = ((tmp_path / name).iterdir() for name in ("forgetting", "hashes"))
    for path in (readings, hashes, ratio_file("some")):
        path.write_bytes(damage)
    assert np.array_equal(remembered(Speech, ("a model",), lambda: SPEECH).losses, SPEECH.losses)
    assert inspect._remembered(tmp_path / "large", "hashes", Path.read_text) == "large"
    assert first > 0 and times() == times()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "kamerton").mkdir()
    (tmp_path / "kamerton" / registry.KEPT).write_bytes(damage)
    assert registry.refused("some.module:Thing")


def test_a_user_whom_the_system_does_not_know_has_no_cache(monkeypatch):
    for name in ("KAMERTON_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user id without a name
    assert cache_folder().parts[:3] == ("/", "dev", "null")
