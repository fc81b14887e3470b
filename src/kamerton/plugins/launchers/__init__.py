"""Where jobs can run: `--to NAME` is the file's name."""
