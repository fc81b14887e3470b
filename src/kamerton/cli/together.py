"""A command on several processes, as torchrun starts them: rank 0 carries it out, the others do what it sends."""

from kamerton.cli import app
from kamerton.cli.border import OK
from kamerton.core.ranks import launched_rank
from kamerton.kernels.processes import follow, joined


def run() -> object:
    """Run the command on rank 0 while the others help; return the exit status."""
    is_first = launched_rank() == 0
    with joined():
        if is_first:
            return app.run()
        follow()
    return OK
