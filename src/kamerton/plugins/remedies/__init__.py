"""Remedies for what training showed, one file each; the file's name is the word for `--remedy`."""
