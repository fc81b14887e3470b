"""Nodes of autograd that keep less and compute faster than the operations they stand for."""
