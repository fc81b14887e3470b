"""Ways to change a pretrained model, one file each; the file's name is the word for `--method`."""
