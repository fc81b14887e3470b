"""What is done with a tuned model: predict."""
