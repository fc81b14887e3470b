"""What Prometheus reads at `/metrics`, and the structured log: one JSON object a line, without texts of requests."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bounds of the histograms: from a classified text to a long answer."""


@dataclass
class Metrics:
    """Counters of one server; the process's memory is `process_resident_memory_bytes`."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        ProcessCollector(registry=self.registry)
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry, buckets=SECONDS)
        self.requests = counter("kamerton_requests", "Requests, by route and status.", ["route", "status"])
        self.seconds = histogram("kamerton_request_seconds", "Of whole answers.", ["route"])
        self.first = histogram("kamerton_first_token_seconds", "From the request to its first token.")
        self.tokens = counter("kamerton_tokens", "Tokens of prompts and of answers.", ["kind"])
        self.rows = counter("kamerton_rows", "Rows that were classified.")
        self.waiting = gauge("kamerton_queue", "Requests that wait for the model.")
        self.active = gauge("kamerton_active", "Answers that are being written.")
        self.left = counter("kamerton_cancelled", "Answers whose client left before their end.")
        self.errors = counter("kamerton_errors", "Batches that failed.", ["kind"])


def log(event: str, values: Mapping[str, object] | None = None) -> None:
    """Write a line of the log on standard error."""
    record = {"time": round(time.time(), 3), "event": event, **(values or {})}
    print(json.dumps(record, ensure_ascii=False, default=str), file=sys.stderr, flush=True)


def log_failure(error: BaseException) -> None:
    """Log an error that is ours, with its traceback as one value; clients never get it."""
    text = "".join(traceback.format_exception(error))
    log("error", {"kind": type(error).__name__, "traceback": text[-8000:]})
