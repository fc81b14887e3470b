"""Generated programs, run in a child process with bounded time and memory and without files, network or children.

The kernel bounds time, memory and output; where it can, it gives the child an empty network of its own; Python's audit
hooks refuse the rest. This guards against accidents, not against a hostile model: for that, run everything in a
container.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from math import exp, log1p
from pathlib import Path
from secrets import token_hex

GUARD = """
import ctypes, os, resource, sys
seconds, memory = int(sys.argv[1]), int(sys.argv[2])
word, _, program = sys.stdin.read().partition("\\n")
out, sys.stdout, sys.stderr = os.dup(1), open(os.devnull, "w"), open(os.devnull, "w")
ctypes.CDLL(None).unshare(0x50000000)
limits = {"CPU": seconds, "AS": memory, "FSIZE": 4096, "CORE": 0, "NPROC": 0, "NOFILE": 16}
for name, most in limits.items():
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
own = tuple(os.path.realpath(path) + os.sep for path in {sys.prefix, sys.base_prefix})
harmless = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.getxattr", "os.listxattr"}
refused = ("os.", "socket.", "subprocess.", "ctypes.", "shutil.", "tempfile.", "pty.", "fcntl.", "signal.pthread_kill")
def guard(event, arguments, own=own, harmless=harmless, refused=refused, real=os.path.realpath, writing=set("wax+")):
    if event == "open":
        path, mode = arguments[0], arguments[1]
        if isinstance(path, int) or writing & set(mode or "w") or not real(path).startswith(own):
            raise PermissionError(f"{path} is not to be opened")
    elif event.startswith(refused) and event not in harmless:
        raise PermissionError(event)
code = compile(program, "program", "exec")
sys.addaudithook(guard)
exec(code, {"__name__": "__main__"})
os.write(out, word.encode())
"""
"""Code of the child: set its limits, run the program, and write the secret word if it came to its end."""
ROOM = 1.5
"""Of the seconds of computing time, so many pass by the clock, and one for the start."""


@dataclass(frozen=True)
class SandboxLimits:
    """Limits of a program."""

    seconds: int
    megabytes: int


def passes(program: str, limits: SandboxLimits) -> bool:
    """Run a Python program in a child process; return whether it ended without an error."""
    word = token_hex(16)
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        with said.open("wb") as out:
            child = subprocess.Popen(
                [sys.executable, "-I", "-c", GUARD, str(limits.seconds), str(limits.megabytes << 20)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env={},
                start_new_session=True,
            )
            try:
                child.communicate(f"{word}\n{program}".encode("utf-8", "replace"), timeout=ROOM * limits.seconds + 1)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
        return said.read_bytes() == word.encode()


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Estimate without bias how often one of k samples passes (Chen et al. 2021, section 2.1), in log space.

    At least k samples were drawn.

    >>> pass_at_k(2, 1, 1)
    0.5
    """
    if samples - passed < k:
        return 1.0
    return 1.0 - exp(sum(log1p(-k / i) for i in range(samples - passed + 1, samples + 1)))
