"""The command line until the standard input is closed: `python -P -m kamerton.studio.until_closed serve RUN`.

The process that started it holds the other end, so however that one ends, this one gets SIGTERM and ends as well.
"""

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Be `kamerton` with the arguments that are given."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    sys.argv[0] = "kamerton"
    runpy.run_module("kamerton", run_name="__main__", alter_sys=True)


def _end_with_input() -> None:
    while os.read(0, 1024):
        continue
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
