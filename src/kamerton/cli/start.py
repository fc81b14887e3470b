"""Where the command line begins: streams, Ctrl-C and the border are ready before anything else is imported."""

from __future__ import annotations

import sys

from kamerton.cli.border import Border
from kamerton.cli.interrupts import ignore_interrupts, leave_at_once
from kamerton.cli.streams import decoded_arguments, prepare_streams
from kamerton.core import registry


def main() -> None:
    """Run the command line and exit: 0 done, 1 a mistake of the user, 2 wrong usage, 3 demand unmet, 130 stopped."""
    leave_at_once("kamerton: stopped; nothing was started")
    try:
        with Border():
            prepare_streams()
            sys.argv[1:] = decoded_arguments(sys.argv[1:])
            registry.load("kamerton.cli.app:app")()
    finally:
        ignore_interrupts()
