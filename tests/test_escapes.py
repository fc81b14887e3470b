"""Texts of data, models and folders on a real terminal: they cannot steer it; in a pipe and in JSON they are whole."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from children import Ended, Streams, kamerton
from kamerton.cli.output import json_for_output
from kamerton.cli.streams import Terminal
from stories import DONE, MISTAKE, QUICK, USAGE

TITLE, CLEAR, REVERSED, C1, BELL = "\x1b]0;OWNED\x07", "\x1b[2J\x1b[H", "\u202e", "\x9b2J", "\a\b\b\b"
EVIL = (f"good{TITLE}", f"bad{CLEAR}{REVERSED}{C1}")
"""Labels."""
MARKUP = "[/b][red]"
STEERING = re.compile(r"\x1b\][^\x1b]*|\x1b\[(2J|H)|[\x07\x08\x9b\x9d\u202e]")
"""What only the texts of strangers hold: colors are ours."""


@contextmanager
def terminal() -> Iterator[tuple[str, list[bytes]]]:
    """A terminal: the path of its device, and what was written there once the block is over."""
    master, slave = pty.openpty()
    written: list[bytes] = []

    def read() -> None:
        while True:
            try:
                data = os.read(master, 1 << 16)
            except OSError:  # nobody holds it open
                return
            if not data:
                return
            written.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    yield os.ttyname(slave), written
    os.close(slave)
    reader.join()
    os.close(master)


def on_terminal(place, *command: object) -> tuple[Ended, str]:
    with terminal() as (device, written):
        ended = place.call(*command, streams=Streams(stdout=device))
    return ended, b"".join(written).decode()


@pytest.fixture(scope="module")
def evil(place) -> str:
    """A run whose labels steer terminals; its folder's name does, too, and holds Rich's markup."""
    path = place.folder / "evil.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", f"label{TITLE}"))
        writer.writerows((f"{('kind and warm', 'dull and cold')[n % 2]} {TITLE}{n}", EVIL[n % 2]) for n in range(60))
    flags = (
        "--columns",
        f"text=text,label=label{TITLE}",
        "--task",
        "text-classification",
        "--out",
        f"evil{MARKUP}{C1}",
    )
    ended, shown = on_terminal(
        place, "tune", path, "--model", "encoder", "--method", "head", "--epochs", "2", *flags, *QUICK
    )
    assert (ended.status, STEERING.findall(shown)) == (DONE, []), ended.said + shown
    return f"evil{MARKUP}{C1}"


def log_of(place, names: Sequence[str]) -> Path:
    path = place.folder / "log.jsonl"
    rows = [{"scores": {names[0]: n % 2, names[1]: 1}} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_no_command_lets_a_text_steer_the_terminal(place, evil):
    shutil.copytree(place.folder / evil, place.folder / f"{evil}2")
    data = ("evil.csv", "--columns", f"text=text,label=label{TITLE}", "--task", "text-classification")
    by_name = (("compare", evil, f"{evil}2"), ("report", evil))
    others = (
        ("predict", evil, "kind and warm"), ("predict", evil, "evil.csv"), ("predict", evil, "evil.csv", "--json"),
        ("evaluate", evil, "evil.csv"), ("show", *data, "--model", "encoder"), ("audit", *data),
        ("audit", *data, "--json"), ("plan", *data, "--model", "encoder"), ("ab", log_of(place, EVIL)),
    )  # fmt: skip
    for command in (*by_name, *others):
        ended, shown = on_terminal(place, *command)
        assert STEERING.findall(shown) == [], (command, shown)
        assert (ended.status, "Traceback" in ended.err) == (DONE, False), (command, ended.said)
        assert MARKUP in shown or command in others, (command, shown)


def test_errors_on_a_terminal_do_not_steer_it_either(place, evil):
    for command in (
        ("judge", evil, f"{evil}2"),
        ("predict", f"nowhere{TITLE}", "text"), ("tune", f"nowhere{C1}.csv"), ("frob" + TITLE,),
        ("audit", "reviews.csv", "--columns", f"text=re{CLEAR}view"), ("audit", "reviews.csv", f"--{REVERSED}"),
    ):  # fmt: skip
        with terminal() as (device, written):
            ended = place.nursery.run("test_escapes:both", device, [str(word) for word in command], cwd=place.folder)
        shown = b"".join(written).decode()
        assert STEERING.findall(shown) == [] and "kamerton" in shown, (command, shown)
        assert ended.status in (MISTAKE, USAGE), ended.said


def both(device: str, arguments: Sequence[str]) -> None:
    """Be the command line, with standard error on a terminal."""
    sys.stderr = open(device, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    kamerton(arguments)


def test_in_a_pipe_and_in_json_labels_are_whole(place, evil):
    piped = place.call("predict", evil, "evil.csv")
    answers = piped.out.split("\n")[:-1]
    assert piped.status == DONE and len(answers) == 60 and set(answers) <= set(EVIL)
    _, shown = on_terminal(place, "predict", evil, "evil.csv", "--json")
    told = [json.loads(line)["prediction"] for line in shown.splitlines()]
    assert told == [
        json.loads(line)["prediction"] for line in place.call("predict", evil, "evil.csv", "--json").out.splitlines()
    ]
    assert told == answers


@pytest.mark.parametrize(
    "text", [TITLE, CLEAR, C1, REVERSED, BELL, "\x7f", "\ufdd0", "\U0001fffe", "תודה\u200f", "a\tb\nc"]
)
def test_controls_are_escaped_in_the_json_of_a_terminal_only(monkeypatch, text):
    raw = io.BytesIO()
    for stream in (io.TextIOWrapper(raw, "utf-8"), Terminal(raw, "utf-8")):
        monkeypatch.setattr("sys.stdout", stream)
        written = json_for_output({"label": text})
        assert json.loads(written) == {"label": text}
    assert Terminal(io.BytesIO(), "utf-8").write(written) == len(written)


def test_a_librarys_bar_may_draw_its_line_anew():
    raw = io.BytesIO()
    stream = Terminal(raw, "utf-8", write_through=True)
    for text in ("\r 10%", "\r 20%", "a\rb\x1b[A\n"):
        stream.write(text)
    assert raw.getvalue() == b"\r 10%\r 20%a\nb\n"
