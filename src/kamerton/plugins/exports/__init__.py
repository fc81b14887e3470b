"""Forms in which a tuned model leaves its run, one file each; the file's name is the word for `--to`."""
