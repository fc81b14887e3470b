"""Real processes that start in milliseconds: one has imported everything, and forks each of the others.

A forked child has its own streams, its own folder and its own process group, so that it can be killed
together with whatever it started. Where a child starts `python -m kamerton` itself, or the program that loads an
export, `warm_python` stands in for Python: it runs in a process that is forked from a second server, which never
trained anything.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMPORTED = (
    "kamerton.cli.actions.tune", "kamerton.cli.actions.predict", "peft", "scipy.stats", "sklearn.linear_model",
    "rouge_score.rouge_scorer",
)  # fmt: skip
"""What the children need and what takes long to import."""
WARM_PYTHON = Path(__file__).with_name("warm_python")
"""What the children take for Python."""
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@dataclass(frozen=True)
class Ended:
    """How a child ended, and what it wrote."""

    status: int
    """Its exit status; minus the signal's number if it was killed."""
    out: str
    err: str

    @property
    def said(self) -> str:
        """Both streams, for the message of a failed test."""
        return f"status {self.status}\n{self.out}\n{self.err}"


@dataclass(frozen=True)
class Streams:
    """What a child gets as its standard streams."""

    stdin: bytes | None = b""
    """None is a closed stream."""
    stdout: str | None = ""
    """A path in place of a file that is read afterwards; None is a closed stream."""
    encoding: str = "utf-8"
    """Of its output."""


@dataclass(frozen=True)
class Child:
    """A child at work."""

    nursery: Nursery
    pid: int
    out: Path
    err: Path

    def kill(self, number: int = signal.SIGKILL, *, group: bool = True) -> None:
        """Send a signal to the child, and to all that it started."""
        (os.killpg if group else os.kill)(self.pid, number)

    @property
    def has_ended(self) -> bool:
        """Whether it is over."""
        return bool(self.nursery.ask({"poll": self.pid}))

    def wait(self) -> Ended:
        """Wait for its end."""
        status = os.waitstatus_to_exitcode(self.nursery.ask({"wait": self.pid}))
        return Ended(status, self.out.read_text("utf-8", "replace"), self.err.read_text("utf-8", "replace"))


class Nursery:
    """The process that forks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        warm = {"KAMERTON_WARM_PYTHON": sys.executable, "KAMERTON_WARM_SOCKET": str(folder / "s")}
        warm["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # pyenv's python3 starts by way of bash
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENVIRONMENT, **warm},
        )

    def ask(self, request: dict[str, Any]) -> int:
        """Send a request and take its answer."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(
        self, function: str, *arguments: object, cwd: Path, stdin: str = "", streams: Streams | None = None
    ) -> Child:
        """Start `module:function` in a new process."""
        self.count += 1
        given = streams or Streams(stdin.encode())
        paths = {name: self.folder / f"{self.count}.{name}" for name in ("stdin", "out", "err")}
        for path in paths.values():
            path.write_bytes(given.stdin or b"" if path.suffix == ".stdin" else b"")
        opened: dict[str, str | None] = {name: str(path) for name, path in paths.items()}
        opened["encoding"] = given.encoding
        opened |= {} if given.stdin is not None else {"stdin": None}
        opened |= {"out": given.stdout} if given.stdout != "" else {}
        pid = self.ask({"start": function, "arguments": arguments, "cwd": str(cwd), "streams": opened})
        return Child(self, pid, paths["out"], paths["err"])

    def run(
        self, function: str, *arguments: object, cwd: Path, stdin: str = "", streams: Streams | None = None
    ) -> Ended:
        """Start `module:function` and wait for its end."""
        return self.start(function, *arguments, cwd=cwd, stdin=stdin, streams=streams).wait()

    def close(self) -> None:
        """Let the process end."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def kamerton(arguments: Sequence[str]) -> None:
    """Be the command line, on a pretend GPU where the parent process has one."""
    if mode := os.environ.get("KAMERTON_PRETEND_GPU"):
        importlib.import_module("pretend_gpu").pretend(mode)
    sys.argv = ["kamerton", *arguments]
    importlib.import_module("kamerton.cli").main()


def kamerton_elsewhere(cache: str, arguments: Sequence[str]) -> None:
    """Be the command line as on another machine: with a cache folder of its own."""
    os.environ["KAMERTON_CACHE"] = cache
    kamerton(arguments)


def warm_up() -> None:
    """Import, parse and compile what each child would by itself, for half a second."""
    for name in IMPORTED:
        importlib.import_module(name)
    importlib.import_module("kamerton.models.published").catalogue()
    for module, page in (("html", "report.html.j2"), ("html", "sections.html.j2"), ("card", "card.md.j2")):
        importlib.import_module(f"kamerton.report.{module}").environment().get_template(page)


def _serve() -> None:
    warm_up()
    gc.collect()
    gc.freeze()  # no child need look through what was imported
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.environ["KAMERTON_WARM_SOCKET"])
    server.listen()
    warm = os.fork()
    if not warm:
        _serve_commands(server)
    server.close()
    sys.executable = str(WARM_PYTHON)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitpid(request["wait"], 0)[1]
        elif "poll" in request:
            answer = int(os.waitid(os.P_PID, request["poll"], os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None)
        else:
            answer = os.fork()
            os.setpgid(answer, answer)  # in both of them, so that it is done whichever comes first
            if not answer:
                _be(request)
        print(answer, flush=True)
    os.kill(warm, signal.SIGKILL)


def _serve_commands(server: socket.socket) -> None:
    """Fork a process for each `python -m kamerton…` that `warm_python` hands on; it gets the caller's streams."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever handles a command is reaped by the system
    while True:
        connection, _ = server.accept()
        if os.fork():
            connection.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        request, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        pid = os.fork()
        if not pid:
            connection.close()
            _be_command(json.loads(request), streams)
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(str(pid).encode())
            if not connection.recv(2):  # else it knows whom to hand Ctrl-C on to
                os.kill(pid, signal.SIGKILL)  # it was stopped before
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(BrokenPipeError):  # who waited was killed
            connection.sendall(str(status).encode())
        os._exit(0)


def _be_command(request: dict[str, Any], streams: Sequence[int]) -> None:
    """Become `python -m kamerton` or another program, and never come back."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, "w" if n else "r", encoding="utf-8") for n in range(3))
    first, *others = request["arguments"]
    if first == "-m" and others[0] == "kamerton":
        _end_with(lambda: kamerton(others[1:]))
    if first == "-m":
        sys.argv, sys.executable = others, str(WARM_PYTHON)
        _end_with(importlib.import_module(others[0]).main)
    sys.argv = [first, *others]
    _end_with(lambda: runpy.run_path(first, run_name="__main__"))


def _be(request: dict[str, Any]) -> None:
    """Become the child, and never come back."""
    os.chdir(request["cwd"])
    streams = request["streams"]
    for number, name in enumerate(("stdin", "out", "err")):
        os.close(number)
        if streams[name] is not None:
            opened = os.open(streams[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY)
            os.dup2(opened, number)
            os.set_inheritable(number, True)  # it may be the same descriptor, which `open` closes in programs
    sys.stdin = os.fdopen(0, encoding="utf-8") if streams["stdin"] else None
    sys.stdout = os.fdopen(1, "w", encoding=streams["encoding"]) if streams["out"] else None
    sys.stderr = os.fdopen(2, "w", encoding=streams["encoding"])
    module, _, name = request["start"].partition(":")
    _end_with(lambda: vars(importlib.import_module(module))[name](*request["arguments"]))


def _end_with(work: Callable[[], None]) -> None:
    """Do some work, and end this process with its status."""
    status = 70
    try:
        work()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:  # noqa: BLE001  # a forked child must not fall back into the loop that forked it
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
