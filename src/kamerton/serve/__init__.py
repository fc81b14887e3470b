"""Serve tuned models by OpenAI's API: batched, with keys, limits, metrics, and A/B tests."""
