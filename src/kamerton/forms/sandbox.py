"""Run generated programs in isolation: in bubblewrap, or in the same namespaces made with util-linux.

A program has no network, no privileges and no children. It sees only Python and the system's libraries, and can change
no file. Its time, memory and output are limited, and everything in its namespaces ends with it.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, log1p
from pathlib import Path
from secrets import token_hex
from shlex import quote

from kamerton.core.errors import Fault, RecipeError
from kamerton.core.messages import Message, msg

RUNNER = """
import os, resource, sys
word, _, program = sys.stdin.read().partition("\\n")
limits = {"CPU": int(sys.argv[1]), "AS": int(sys.argv[2]), "FSIZE": 0, "CORE": 0, "NPROC": 0, "NOFILE": 16}
for name, most in limits.items():
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
out = os.dup(1)
os.dup2(2, 1)
exec(compile(program, "program", "exec"), {"__name__": "__main__"})
os.write(out, word.encode())
"""
"""Code of the child: set its limits, run the program, and write the secret word if it came to its end."""
PYTHON = (sys.executable, "-I", "-c", RUNNER)
START = ("sh", "-c", 'echo 1000 >/proc/self/oom_score_adj; exec timeout -s KILL "$@"', "sh")
"""Command around all: when memory runs out, the program is killed first; its deadline holds without Kamerton."""
ROOM = 1.5
"""Of the seconds of computing time, so many pass by the clock, and one for the start."""
ROOT = "/sys"
"""The program's root directory is mounted here, in its own mount namespace: it exists everywhere and is not needed."""
VARIABLE = "KAMERTON_UNSAFE_PROGRAMS"
"""Must be 1, besides the setting, before programs run without isolation: a stranger's recipe cannot set it."""


@dataclass(frozen=True)
class SandboxLimits:
    """Limits of a program."""

    seconds: int
    megabytes: int
    unsafe: bool = False
    """Whether it may run without isolation if the system has none and `VARIABLE` agrees."""


@dataclass(frozen=True)
class Isolation:
    """What isolates a program: its description, and the command that runs another command in it."""

    message: Message
    command: Sequence[str]


@cache
def isolation(unsafe: bool = False) -> Isolation:
    """Return the first isolation in which a program runs on this system; each is tried once per process.

    Raises:
        RecipeError: there is none, and the setting and the environment do not both allow to go without.
    """
    found = []
    if bubblewrap := shutil.which("bwrap"):
        found.append(Isolation(msg("generated programs run in bubblewrap"), _bubblewrap(bubblewrap)))
    if shutil.which("unshare"):
        found.append(Isolation(msg("generated programs run in namespaces made with util-linux"), _util_linux()))
    if unsafe and os.environ.get(VARIABLE) == "1":
        found.append(Isolation(msg("generated programs run without isolation, with all your rights"), ()))
    for one in found:
        if _ends("", SandboxLimits(seconds=5, megabytes=256), one):
            return one
    rule = msg("this system cannot isolate generated programs")
    remedy = msg(
        "install bubblewrap (`bwrap`) on a Linux that allows user namespaces, or set it to false; to run them without "
        "isolation, inside a container, set task.unsafe to true and the environment variable {variable} to 1",
        variable=VARIABLE,
    )
    raise RecipeError(Fault(rule, "task.run_tests", remedy))


def passes(program: str, limits: SandboxLimits) -> bool:
    """Run a Python program in a child process; return whether it ended without an error.

    A program can read the secret word from its own process. So one that passes runs again with an end that cannot be
    reached: if it passes even so, it forged the word.

    Raises:
        RecipeError: the system cannot isolate programs.
    """
    within = isolation(limits.unsafe)
    return _ends(program, limits, within) and not _ends(f"{program}\nraise SystemExit", limits, within)


def _ends(program: str, limits: SandboxLimits, within: Isolation) -> bool:
    word, most = token_hex(16), ROOM * limits.seconds + 1
    most_used = str(limits.seconds), str(limits.megabytes << 20)
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    with os.fdopen(readable, "rb", 0) as said, os.fdopen(writable, "wb") as out:
        child = subprocess.Popen(
            [*START, str(most), *within.command, *PYTHON, *most_used],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,
        )
        try:
            child.communicate(f"{word}\n{program}".encode("utf-8", "replace"), timeout=most)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
        return said.read(64) == word.encode()


def _bubblewrap(bubblewrap: str) -> list[str]:
    spaces = ["--unshare-ipc", "--unshare-net", "--unshare-pid", "--unshare-uts", "--dir", f"{ROOT}/etc"]
    binds = [word for root in ("", ROOT) for path in _visible() for word in ("--ro-bind", path, root + path)]
    rest = ["--proc", "/proc", "--remount-ro", "/", "--new-session", "--die-with-parent"]
    return [bubblewrap, *spaces, *binds, *rest, *_unprivileged()]


def _util_linux() -> list[str]:
    """Return the command for systems without bubblewrap.

    The shell stays process 1 of the namespace, where the program cannot reach it; when it ends, so do all others.
    """
    spaces = ["--ipc", "--net", "--pid", "--uts", "--mount", *_user_namespace()]
    folders = [quote(path) for path in _visible() if Path(path).is_dir() and not Path(path).is_symlink()]
    others = [quote(path) for path in _visible() if quote(path) not in folders]
    lines = [
        f"set -e; mount -t tmpfs -o mode=755 none {ROOT}",
        f"mkdir -p {ROOT}/etc {' '.join(ROOT + path for path in folders)}",
        f"cp --no-dereference --parents {' '.join(others)} {ROOT}",
        *(f"mount --bind -o ro,nosuid,nodev {path} {ROOT}{path}" for path in folders),
        f'mount -o remount,ro none {ROOT}; "$@"; exit',
    ]
    return ["unshare", *spaces, "--fork", "--kill-child", "sh", "-c", "\n".join(lines), "sh", *_unprivileged()]


def _unprivileged() -> list[str]:
    """Return the command that enters the root directory, where the kernel allows no user namespace, without privileges.

    Root becomes nobody. Other users enter a user namespace of their own first: process 1, outside it, cannot be traced.
    """
    nobody = [] if os.geteuid() else ["--reuid=65534", "--regid=65534", "--clear-groups"]
    dropped = ["setpriv", *nobody, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    return ["unshare", *_user_namespace(), f"--root={ROOT}", "--wd=/", *dropped]


def _user_namespace() -> list[str]:
    return ["--map-root-user"] if os.geteuid() else []


def _visible() -> list[str]:
    """Return the paths that a program sees, outer before inner: Python and the system's libraries."""
    python = sys.prefix, sys.base_prefix
    paths = {*python, *map(os.path.realpath, python), "/usr", "/lib", "/lib64", "/etc/ld.so.cache"}
    return sorted(filter(os.path.exists, paths))


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Estimate without bias how often one of k samples passes (Chen et al. 2021, section 2.1), in log space.

    At least k samples were drawn.

    >>> pass_at_k(2, 1, 1)
    0.5
    """
    if samples - passed < k:
        return 1.0
    return 1.0 - exp(sum(log1p(-k / i) for i in range(samples - passed + 1, samples + 1)))
