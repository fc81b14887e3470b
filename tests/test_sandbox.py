"""Written programs are tried where they can do no harm, and pass@k is what drawing all subsets gives."""

from __future__ import annotations

import socket
import time
from itertools import combinations
from pathlib import Path

import pytest

from kamerton.forms.sandbox import SandboxLimits, pass_at_k, passes

LIMITS = SandboxLimits(seconds=2, megabytes=256)


@pytest.mark.parametrize("samples", range(1, 9))
def test_pass_at_k_is_the_share_of_all_subsets_that_hold_one_that_passes(samples):
    for passed in range(samples + 1):
        results = [True] * passed + [False] * (samples - passed)
        for k in range(1, samples + 1):
            subsets = [any(drawn) for drawn in combinations(results, k)]
            assert pass_at_k(samples, passed, k) == pytest.approx(sum(subsets) / len(subsets), abs=1e-12)


def test_pass_at_k_of_many_samples_does_not_overflow():
    assert pass_at_k(100_000, 10, 1000) == pytest.approx(1 - (1 - 0.01) ** 10, rel=1e-2)


@pytest.mark.parametrize(
    "program",
    [
        "assert 1 + 1 == 2",
        "import math, json, re, collections\nassert math.sqrt(4) == 2\nassert json.loads('[1]') == [1]",
        "print('Привет' * 10_000)",
        "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\nassert f(12) == 144",
    ],
)
def test_right_programs_pass(program):
    assert passes(program, LIMITS)


@pytest.mark.parametrize(
    "program",
    [
        "assert 1 + 1 == 3",
        "def f(:",
        "raise SystemExit(0)",
        "import sys; sys.exit()",
        "import os; os._exit(0)",
        "x = bytearray(10 ** 9)",
        "import os; os.write(1, b'0' * 32)",
        "import os\nwhile True: os.write(1, b'0' * 4096)",
        "'\\ud800'.encode()",
    ],
)
def test_wrong_programs_and_those_that_leave_early_or_want_too_much_do_not(program):
    assert not passes(program, LIMITS)


@pytest.mark.parametrize("program", ["while True: pass", "import time; time.sleep(60)"])
def test_programs_that_do_not_end_are_ended(program):
    began = time.monotonic()
    assert not passes(program, SandboxLimits(seconds=1, megabytes=256))
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "attempt",
    [
        "open('{file}').read()",
        "open('{file}', 'w')",
        "import os; os.open('{file}', 0)",
        "import os; os.remove('{file}')",
        "import pathlib; pathlib.Path('{file}').unlink()",
        "import shutil; shutil.rmtree('{folder}')",
        "import os; os.mkdir('{folder}/new')",
        "import os; os.rename('{file}', '{file}2')",
        "import os; os.system('rm {file}')",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['rm', '{file}'])",
        "import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}', timeout=1)",
        "import ctypes; ctypes.CDLL(None)",
        "import os; os.kill(os.getppid(), 9)",
        "import multiprocessing; multiprocessing.Process(target=print).start()",
    ],
)
def test_nothing_outside_is_reached(tmp_path: Path, attempt):
    file = tmp_path / "file.txt"
    file.write_text("precious")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.01)
        line = attempt.format(file=file, folder=tmp_path, port=server.getsockname()[1])
        assert not passes(line, LIMITS)
        with pytest.raises(TimeoutError):
            server.accept()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]
