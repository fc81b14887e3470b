"""`python -m kamerton`."""

from kamerton.cli.start import main

main()
