"""Where independent pieces of work are done: `--on NAME:PLACE`."""
