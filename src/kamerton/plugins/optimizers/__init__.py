"""Ways to turn gradients into updates, one file each; the file's name is the word for `train.optimizer`."""
