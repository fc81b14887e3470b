"""Where the command line begins: streams, Ctrl-C and the border are ready before anything else is imported."""

import os
import sys

from kamerton.cli.border import Border
from kamerton.cli.interrupts import ignore_interrupts, leave_at_once
from kamerton.cli.speech import speak, worded
from kamerton.cli.streams import decoded_arguments, prepare_streams
from kamerton.core import registry
from kamerton.core.messages import msg
from kamerton.core.ranks import launched_processes
from kamerton.i18n.language import language_asked

NOTHING_STARTED = msg("kamerton: stopped; nothing was started")


def main() -> None:
    """Run the command line and exit: 0 done, 1 a mistake of the user, 2 wrong usage, 3 demand unmet, 130 stopped."""
    leave_at_once(str(NOTHING_STARTED))
    try:
        with Border():
            speak(language_asked(sys.argv[1:], os.environ))
            leave_at_once(worded(NOTHING_STARTED))
            prepare_streams()
            sys.argv[1:] = decoded_arguments(sys.argv[1:])
            several = launched_processes() > 1
            sys.exit(registry.load("kamerton.cli.together:run" if several else "kamerton.cli.app:run")())
    finally:
        ignore_interrupts()
