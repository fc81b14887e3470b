"""A/B tests on production logs, and blind judging."""
