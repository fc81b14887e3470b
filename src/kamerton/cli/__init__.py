"""The command line: `kamerton`."""

from kamerton.cli.app import main

__all__ = ["main"]
