"""Contenders, scores, comparison, verdict, diagnosis."""
