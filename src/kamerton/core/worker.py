"""A process that does pieces of work for the one that started it: `python -m kamerton.core.worker`.

Its standard input is a socket: tasks come, events and values go. It ends when the socket is closed.
"""

import os
import select
import signal
import sys
import threading
from multiprocessing.connection import Connection
from types import FrameType

from kamerton.core.pieces import PieceRunner


def main() -> None:
    """Do what the driver sends until it has gone; SIGTERM stops a training behind its next update."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a terminal's Ctrl-C is the driver's to hear
    signal.signal(signal.SIGTERM, _stop)
    socket = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    threading.Thread(target=_end_with, args=(socket,), daemon=True).start()
    runner = PieceRunner()
    with Connection(socket) as driver:
        try:
            while True:
                key, work, given = driver.recv()
                for item in runner.doing(key, work, given):
                    driver.send(item)
        except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
            sys.exit()


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with(socket: int) -> None:
    """End this process at once when the driver has gone, however: a run is whole after any stop."""
    poll = select.poll()
    poll.register(socket, 0)  # only that the other end was closed
    poll.poll()
    os._exit(1)


if __name__ == "__main__":
    main()
