"""Modules that can compute themselves in one node, or as their own library does."""

from __future__ import annotations

from torch import nn


class Fused(nn.Module):
    """A module with a faster way of its own, which it takes until somebody puts `plain` on."""

    plain = False
