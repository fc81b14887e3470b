"""`python -m kamerton`."""

from kamerton.cli.app import main

main()
