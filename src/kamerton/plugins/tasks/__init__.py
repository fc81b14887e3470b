"""Kinds of job, one file each; the file's name is the word for `--task`."""
