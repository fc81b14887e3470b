"""Who the tuned model must beat: baselines, prompting, an endpoint."""
