"""From a file to a frozen split: read, recognize, audit, split."""
