"""Base models: found, inspected, loaded, and read from."""
