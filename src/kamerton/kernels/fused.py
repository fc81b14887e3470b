"""Modules with a fused implementation beside their library's own."""

from __future__ import annotations

from torch import nn


class Fused(nn.Module):
    """A module that computes by its fused implementation unless `plain` is set."""

    plain = False
