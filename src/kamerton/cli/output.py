"""What several commands print alike."""

from __future__ import annotations

import json
from typing import Any


def print_json(value: Any) -> None:
    """Print a value for machines; a path as its text."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))
