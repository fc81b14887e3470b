"""Dry run and learning curve."""
