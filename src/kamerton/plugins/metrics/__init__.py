"""Metrics as sufficient statistics, one file each."""
