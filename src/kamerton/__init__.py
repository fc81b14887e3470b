"""Kamerton: fine-tune a pretrained language model on a narrow task, and prove whether it helped."""

__version__ = "0.1.0"
