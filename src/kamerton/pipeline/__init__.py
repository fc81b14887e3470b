"""The steps of the story."""
