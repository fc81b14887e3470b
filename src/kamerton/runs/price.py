"""The price of an endpoint's answers, and the volume from which the tuned model is cheaper."""

import math
from dataclasses import dataclass

from kamerton.runs.changes import REPLIES
from kamerton.runs.run import Run
from kamerton.runs.servers import read_replies

HOURLY = (0.1, 0.5, 2.0, 10.0)
"""Hourly prices of machines, in the endpoint's currency: from an old desktop to several large GPUs."""


@dataclass(frozen=True)
class Volume:
    """The number of rows from which tuning pays at an hourly price; None: it never does."""

    hourly: float
    rows: int | None


@dataclass(frozen=True)
class Price:
    """The price of an endpoint's answers."""

    replies: int
    tokens: float
    """Prompt and answer, mean per row."""
    thousand: float
    """The price of 1,000 answers."""
    volumes: tuple[Volume, ...]


def price(run: Run, own: float, whole: float) -> Price | None:
    """Compute the price of an endpoint's answers, and the volume from which tuning is cheaper; None without prices.

    Args:
        run: with prices in its recipe.
        own: seconds per row of the tuned model.
        whole: seconds of the run.

    Raises:
        RunError: the log of the answers is damaged.
    """
    replies, settings = read_replies(run.files.log(REPLIES)), run.recipe.prompt
    if not replies or not settings.price_in + settings.price_out:
        return None
    spent = sum(r.tokens_in * settings.price_in + r.tokens_out * settings.price_out for r in replies) / 1e6
    tokens = sum(r.tokens_in + r.tokens_out for r in replies) / len(replies)
    each = spent / len(replies)
    hours = HOURLY if settings.price_hour is None else (settings.price_hour,)
    volumes = []
    for hourly in hours:
        saved = each - own * hourly / 3600
        volumes.append(Volume(hourly, math.ceil(whole * hourly / 3600 / saved) if saved > 0 else None))
    return Price(len(replies), tokens, 1000 * each, tuple(volumes))
