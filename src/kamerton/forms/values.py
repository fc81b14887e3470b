"""Cells of a data file as text."""

from __future__ import annotations

import json
import math


def filled(value: object) -> bool:
    """Say whether a cell holds anything: not null, not NaN, not blank."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    return not (isinstance(value, str) and not value.strip())


def plain(value: object) -> str:
    """Write a cell as text: an empty cell as an empty string, 3.0 as `3`, nested values as JSON.

    >>> plain(3.0), plain(True), plain(None)
    ('3', 'true', '')
    """
    if isinstance(value, str):
        return value
    if not filled(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
