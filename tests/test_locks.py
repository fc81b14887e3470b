"""Locks: held by one process, told to others, and waited for where their holder died."""

import os
import subprocess
import sys
import time

from kamerton.core.locks import LINGER, holder_of, holding

HOLDER = """
import os, pathlib, sys, time
from kamerton.core.locks import holding
with holding(pathlib.Path(sys.argv[1])):
    if not os.fork():  # as a child that was about to become another program
        os.setpgid(0, 0)
        time.sleep(float(sys.argv[2]))
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def start_holder(lock, *, child_lasts):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, lock, str(child_lasts)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    return holder


def end(holder):
    holder.kill()
    holder.wait()
    holder.stdout.close()


def test_a_lock_is_waited_for_while_a_child_of_its_dead_holder_ends(tmp_path):
    lock = tmp_path / "lock"
    end(start_holder(lock, child_lasts=1.0))
    assert holder_of(lock) is None
    with holding(lock) as held:
        assert held
        assert holder_of(lock).pid == os.getpid()


def test_a_lock_of_a_running_process_is_refused_at_once(tmp_path):
    lock = tmp_path / "lock"
    holder = start_holder(lock, child_lasts=0)
    began = time.monotonic()
    with holding(lock) as held:
        assert not held
    assert time.monotonic() - began < LINGER
    assert holder_of(lock).pid == holder.pid
    end(holder)


def test_a_lock_that_nobody_gives_back_is_refused_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("kamerton.core.locks.LINGER", 0.2)
    lock = tmp_path / "lock"
    end(start_holder(lock, child_lasts=3))
    with holding(lock) as held:
        assert not held
