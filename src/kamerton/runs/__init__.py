"""The recipe, its settings, and the run folder."""
