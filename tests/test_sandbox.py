"""Written programs are tried where they can do no harm, and pass@k is what drawing all subsets gives."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import pytest

from kamerton.core.errors import RecipeError
from kamerton.forms.sandbox import SandboxLimits, isolation, pass_at_k, passes

LIMITS = SandboxLimits(seconds=1, megabytes=257)
MARK = str(LIMITS.megabytes << 20).encode()
"""Stands in the command lines of the programs tried here, and of their copies."""
LONGEST = 20
"""Seconds that no program may take, with what follows it, on a machine that may be busy; they try to last 60."""


@pytest.fixture(scope="module", params=["bwrap", "unshare"])
def kept(request):
    """The isolation: the first choice where it is installed, and the second."""
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    with pytest.MonkeyPatch.context() as patch:
        which = shutil.which
        patch.setattr(shutil, "which", lambda name: which(name) if name == request.param else None)
        isolation.cache_clear()
        yield isolation()
    isolation.cache_clear()


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
        "import os; os.write(1, b'0' * 32)",
        "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\nassert f(12) == 144",
        "import random, uuid, secrets, hashlib, zlib, decimal, dataclasses, enum, typing, datetime, unittest, io",
        "import sqlite3\nassert sqlite3.connect(':memory:').execute('select 1').fetchone() == (1,)",
        "from collections import namedtuple\nassert namedtuple('P', 'x y')(1, 2).y == 2",
        "import signal\nsignal.alarm(1)\nsignal.alarm(0)",
        "import asyncio\nasync def f(): return 3\nassert asyncio.run(f()) == 3",
        "try:\n    input()\nexcept EOFError:\n    pass\nelse:\n    assert False",
        "# the last line ends in a word\nif True:\n    x = 1  # end",
    ],
)
def test_right_programs_pass(kept, program):
    assert passes(program, LIMITS)


@pytest.mark.parametrize(
    "program",
    [
        "assert 1 + 1 == 3",
        "def f(:",
        "x = 1 \\",
        "raise SystemExit(0)",
        "import sys; sys.exit()",
        "x = bytearray(10 ** 9)",
        "'\\ud800'.encode()",
    ],
)
def test_wrong_programs_and_those_that_leave_early_or_want_too_much_do_not(kept, program):
    assert not passes(program, LIMITS)


STOLEN = "import os, sys, __main__\nword, out = __main__.word.encode(), __main__.out\n"
FORGERIES = {
    "leave at once": "import os; os._exit(0)",
    "kill oneself": "import os; os.kill(os.getpid(), 15)",
    "guess the word": "import os\nfor fd in range(16):\n    try: os.write(fd, b'0' * 32)\n    except OSError: pass",
    "take the word from the main module": STOLEN + "os.write(out, word); os._exit(0)",
    "take it from the frames": "import os, sys\n"
    "f = sys._getframe(1).f_globals\nos.write(f['out'], f['word'].encode())\n1 / 0",
    "take it from a traceback": "import os\ntry: 1 / 0\nexcept ZeroDivisionError as error:\n"
    "    f = error.__traceback__.tb_frame.f_back.f_globals\nos.write(f['out'], f['word'].encode()); os._exit(0)",
    "find it among all objects": "import gc, os\nfor found in gc.get_objects():\n"
    "    if isinstance(found, dict) and 'RUNNER' not in found and isinstance(found.get('word'), str):\n"
    "        os.write(found['out'], found['word'].encode()); os._exit(0)",
    "read it again": "import os\nos.lseek(0, 0, 0)\nos.write(3, os.read(0, 32)); os._exit(0)",
    "write it at the exit": STOLEN + "import atexit; atexit.register(os.write, out, word); raise SystemExit",
    "write it in the hook of errors": STOLEN + "sys.excepthook = lambda *_: os.write(out, word)\nassert False",
    "write it from a thread": STOLEN
    + "import threading\nthreading.Thread(target=os.write, args=(out, word)).start()\n1 / 0",
    "write it from C": STOLEN + "import ctypes; ctypes.CDLL(None).write(out, word, 32); ctypes.CDLL(None)._exit(0)",
    "write it when collected": STOLEN + "class A:\n    def __del__(self, w=os.write): w(out, word)\na = A()\n1 / 0",
    "write it in a handler of signals": STOLEN + "import signal\n"
    "signal.signal(14, lambda *_: (os.write(out, word), os._exit(0)))\nsignal.raise_signal(14)",
    "write it and fall": STOLEN + "import faulthandler\nos.write(out, word)\nfaulthandler._sigsegv()",
    "write it twice": STOLEN + "os.write(out, word)",
    "open the pipe's other end": STOLEN + "os.write(os.open(f'/proc/self/fd/{out}', os.O_RDWR), word); os._exit(0)",
}
"""Programs that claim to have passed without coming to their end."""


@pytest.mark.parametrize("program", FORGERIES.values(), ids=FORGERIES)
def test_no_program_passes_that_does_not_come_to_its_end(kept, program):
    assert not passes(program, LIMITS)


HARMS = {
    "read a file": "open('{file}').read()",
    "read the users": "open('/etc/passwd').read()",
    "read the home": "import os; os.listdir('{home}/.ssh') or os.stat('{home}/.bashrc')",
    "list the folder": "import os; os.listdir('{folder}')",
    "read its own code's folder": "import os; os.listdir('{tests}')",
    "write a file": "open('{file}', 'w')",
    "write to the root": "open('/new', 'w')",
    "write to the temporary folder": "import tempfile; tempfile.mkstemp()",
    "write beside Python": "import os; open(os.path.dirname(os.__file__) + '/new.py', 'w')",
    "write to shared memory": "open('/dev/shm/new', 'w')",
    "write to a file without a name": "import os; os.write(os.memfd_create('x'), b'x')",
    "remove a file": "import os; os.remove('{file}')",
    "remove the folder": "import shutil; shutil.rmtree('{folder}')",
    "make a folder": "import os; os.mkdir('{folder}/new')",
    "rename a file": "import os; os.rename('{file}', '{file}2')",
    "make a named pipe": "import os; os.mkfifo('/pipe')",
    "make a link": "import os; os.symlink('{file}', '/link'); open('/link').read()",
    "climb by dots": "open('/usr/../../../..{file}').read()",
    "look through the first process": "import os; os.listdir('/proc/1/root')",
    "read the environment of the first process": "open('/proc/1/environ', 'rb').read()",
    "read the disk": "import os; os.open('/dev/vda', 0) if os.path.exists('/dev/vda') else os.listdir('/dev')",
    "readline": "import readline; readline.read_history_file('{file}'); assert readline.get_history_item(1)",
    "readline writes": "import readline; readline.add_history('x'); readline.write_history_file('{file}')",
    "sqlite3": "import sqlite3; c = sqlite3.connect('{folder}/new.db'); c.execute('create table t (x)'); c.commit()",
    "sqlite3 attaches": "import sqlite3; sqlite3.connect(':memory:').execute(\"attach '{folder}/new.db' as x\")",
    "ctypes": "import ctypes; assert ctypes.CDLL(None).open(b'{file}', 0) >= 0",
    "import what lies there": "import sys; sys.path.insert(0, '{folder}'); import beside",
    "fork": "import os; os.fork()",
    "fork without end": "import os\nwhile True:\n    os.fork()",
    "fork twice and live on": "import os, time\n"
    "if not os.fork():\n    os.setsid()\n    if not os.fork():\n        time.sleep(60)",
    "fork in C": "import ctypes; assert ctypes.CDLL(None).fork() >= 0",
    "a child": "import subprocess; subprocess.run(['/bin/sh', '-c', 'rm {file}'], check=True)",
    "a shell": "import os; assert os.system('rm {file}') == 0",
    "become a shell": "import os; os.execv('/usr/bin/env', ['env', 'rm', '{file}'])",
    "become another and sleep": "import os; os.setsid(); os.execv('/usr/bin/sleep', ['sleep', '31337'])",
    "processes": "import multiprocessing; multiprocessing.Process(target=print).start()",
    "connect": "import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
    "fetch": "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}', timeout=1)",
    "connect by a name": "import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0{port}')",
    "connect by a file": "import socket; s = socket.socket(socket.AF_UNIX); s.connect('{folder}/socket')",
    "kill the parent": "import os; os.kill({pid}, 9)",
    "kill the first process": "import os; os.kill(1, 9); 1 / 0",
    "kill all": "import os; os.kill(-1, 9)",
    "kill the group": "import os; os.kill(0, 9)",
    "stop the group": "import os; os.kill(0, 19)",
    "trace the parent": "import ctypes; assert ctypes.CDLL(None).ptrace(16, {pid}, 0, 0) == 0",
    "trace the first process": "import ctypes; assert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0",
    "mount": "import ctypes; assert ctypes.CDLL(None).mount(b'none', b'/usr', b'tmpfs', 0, None) == 0",
    "mount in spaces of its own": "import ctypes; c = ctypes.CDLL(None); assert c.unshare(0x10020000) == 0\n"
    "assert c.umount2(b'/usr', 2) == 0 or c.mount(None, b'/usr', None, 0x1020, None) == 0",
    "change the root": "import os; os.chroot('/usr')",
    "become root": "import os; assert os.setuid(0) is None and os.getuid() == 0 and os.chroot('/') is None",
    "become root by a program": "import os; os.execv('/usr/bin/su', ['su', '-c', 'rm {file}'])",
    "raise the limits": "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",
    "change the host's name": "import socket; socket.sethostname('x')",
    "outlive the parent": "import ctypes, os, time; ctypes.CDLL(None).prctl(1, 0); os.setsid(); time.sleep(60)",
    "ignore signals": "import signal, time\n"
    "for s in (1, 2, 3, 14, 15, 24):\n    signal.signal(s, 1)\nwhile True: time.sleep(9)",
    "never end": "while True: pass",
    "catch all and never end": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "sleep": "import time; time.sleep(60)",
    "read the clock only": "import time\nwhile time.sleep(0.01) is None: pass",
    "threads": "import threading, time\nfor _ in range(9): threading.Thread(target=time.sleep, args=(60,)).start()",
    "wait for a thread at the end": "import _thread, time; _thread.start_new_thread(time.sleep, (60,)); time.sleep(60)",
    "say much": "import os\nwhile True: os.write(3, b'0' * 4096)",
    "print much": "while True: print('x' * 4096)\n",
    "much memory": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "much mapped": "import mmap; mmap.mmap(-1, 1 << 40)",
    "a large number": "x = 10 ** 10 ** 8",
    "deep recursion": "import sys; sys.setrecursionlimit(1 << 30)\ndef f(): f()\nf()",
    "fall in C": "import ctypes; ctypes.string_at(0)",
    "forget all modules": "import sys; sys.modules.clear(); import io; io.open('{file}')",
    "a bad regular expression": "import re; re.match('(a+)+$', 'a' * 40 + 'b')",
    "a program of a megabyte": "x = '" + "x" * (1 << 20) + "'; open('{file}')",
    "an end in nothing": "import os\nfor fd in range(16):\n    try: os.close(fd)\n    except OSError: pass",
}
"""Programs that end without an error only if they did harm, or that would never end."""


def survivors() -> list[bytes]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:  # has ended
            continue
    return [line for line in lines if MARK in line or b"sleep\x0031337" in line]


@pytest.fixture(scope="module")
def harm(kept, tmp_path_factory):
    """What became of each program, all tried in turn by a few threads: whether it passed, its seconds, its folder."""
    place = tmp_path_factory.mktemp("harm")
    with socket.socket() as server, socket.socket(socket.AF_UNIX) as named:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        named.bind(f"\0{port}")
        for one in (server, named):
            one.listen()
            one.settimeout(0)

        def tried(name: str) -> tuple[bool, float, Path]:
            folder = place / str(list(HARMS).index(name))
            folder.mkdir()
            for file in (folder / "file.txt", folder / "beside.py"):
                file.write_text("precious")
                file.chmod(0o666)
            folder.chmod(0o777)
            values = {
                "file": folder / "file.txt",
                "folder": folder,
                "port": port,
                "pid": os.getpid(),
                "home": Path.home(),
            }
            program = HARMS[name]
            for word, value in {**values, "tests": Path(__file__).parent}.items():
                program = program.replace(f"{{{word}}}", str(value))
            began = time.monotonic()
            return passes(program, LIMITS), time.monotonic() - began, folder

        with ThreadPoolExecutor(8) as threads:
            found = dict(zip(HARMS, threads.map(tried, HARMS), strict=True))
        began = time.monotonic()
        while left := survivors():
            assert time.monotonic() - began < LONGEST, left
        for one in (server, named):
            with pytest.raises(BlockingIOError):
                one.accept()
    python = Path(os.__file__).parent
    assert not [
        path for path in map(Path, ("/new", "/pipe", "/link", "/dev/shm/new", python / "new.py")) if path.exists()
    ]
    return found


@pytest.mark.parametrize("name", HARMS)
def test_no_program_does_harm_or_outlives_its_time(harm, name):
    passed, seconds, folder = harm[name]
    assert not passed
    assert seconds < LONGEST
    assert {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys(
        ["beside.py", "file.txt"], "precious"
    )


def test_a_program_has_no_environment_and_sees_only_python_and_libraries(kept, monkeypatch):
    monkeypatch.setenv("SECRET_WORD", "precious")
    program = f"""
import os
assert not set(os.environ) - {{"LC_CTYPE", "PWD"}}
assert os.listdir("/etc") == ["ld.so.cache"]
assert not os.path.exists({str(Path(__file__).parent)!r}) and not os.path.exists("/proc/self")
assert (os.getuid(), os.getgroups()) == (65534, []) or {os.geteuid() != 0}
try:
    os.fork()
except BlockingIOError:
    pass
else:
    os._exit(0)
"""
    assert passes(program, LIMITS)


@pytest.mark.skipif(os.geteuid() != 0, reason="the others are tried without privileges already")
def test_programs_that_no_root_runs_are_kept_in_as_well(kept):
    """Tried in a namespace in which this process is a user without privileges.

    To the kernel it stays root, whose processes are not counted: that a program has no children cannot be tried so.
    """
    tool = Path(kept.command[0]).name
    program = f"""
import os, shutil
which = shutil.which
shutil.which = lambda name: which(name) if name == {tool!r} else None
from kamerton.forms.sandbox import SandboxLimits, isolation, passes
tried = "assert 1", "open({__file__!r})", "open('/new', 'w')", "import os; os.kill(-1, 9)"
print(os.geteuid(), [passes(one, SandboxLimits(2, 256)) for one in tried], isolation().message)
"""
    asked = ["unshare", "--map-user=1000", "--map-group=1000", sys.executable, "-c", program]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert said == f"1000 [True, False, False, False] {kept.message}\n"


def test_without_isolation_nothing_runs_unless_setting_and_environment_both_allow_it(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    unsafe = SandboxLimits(seconds=1, megabytes=257, unsafe=True)
    for limits, variable in ((LIMITS, "0"), (LIMITS, "1"), (unsafe, "0"), (unsafe, "")):
        monkeypatch.setenv("KAMERTON_UNSAFE_PROGRAMS", variable)
        isolation.cache_clear()
        with pytest.raises(RecipeError, match=r"cannot isolate .*\n.* install bubblewrap .*UNSAFE_PROGRAMS to 1"):
            passes(f"open('{tmp_path}/new')", limits)
    monkeypatch.setenv("KAMERTON_UNSAFE_PROGRAMS", "1")
    isolation.cache_clear()
    assert "without isolation" in str(isolation(True).message)
    assert passes("assert 1 + 1 == 2", unsafe)
    assert not passes("assert 1 + 1 == 3", unsafe)
    assert not passes("while True: pass", unsafe)
    isolation.cache_clear()


def test_a_tool_that_does_not_work_here_is_passed_over(monkeypatch, tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    isolation.cache_clear()
    assert "util-linux" in str(isolation().message)
    broken.write_text("#!/bin/sh\nexec 'a path that nobody has'\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    isolation.cache_clear()
    with pytest.raises(RecipeError, match="cannot isolate"):
        isolation()
    isolation.cache_clear()


def test_a_program_ends_with_who_runs_it(kept):
    """What runs programs is killed without a chance to clean up; the clock of its program goes on."""
    program = f"""
from kamerton.forms.sandbox import SandboxLimits, passes
passes("import os, time; os.setsid(); time.sleep(60)", SandboxLimits(1, {LIMITS.megabytes}))
"""
    runner = subprocess.Popen([sys.executable, "-c", program])
    began = time.monotonic()
    while not survivors():
        assert time.monotonic() - began < 30
    runner.kill()
    runner.wait()
    began = time.monotonic()
    while survivors():
        assert time.monotonic() - began < LONGEST
