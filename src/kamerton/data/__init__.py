"""From a file to a frozen split: read, recognise, audit, split."""
