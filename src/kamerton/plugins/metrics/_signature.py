"""Signatures: what a score was computed with; scores of different signatures are not compared."""

from __future__ import annotations

from importlib.metadata import version


def signature(*parts: str, package: str = "kamerton") -> str:
    """Join the parts as sacrebleu does, with the version of the package that counts at the end."""
    of = "" if package == "kamerton" else f"{package}:{version(package)}|"
    return "|".join(parts) + f"|{of}kamerton:{version('kamerton')}"
