"""One light file per command: its flags and its help."""
