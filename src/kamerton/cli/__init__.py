"""The command line: `kamerton`."""

from kamerton.cli.start import main

__all__ = ["main"]
