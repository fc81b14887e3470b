"""Checks of the data, one file each."""
