"""What the user says of how files are to be read, where a file does not tell by itself."""

from __future__ import annotations

from dataclasses import dataclass

from kamerton.runs.settings import DataSettings


@dataclass(frozen=True)
class Options:
    """How a file is to be read."""

    header: bool | None = None
    """Whether the first line of a table names its columns; found from the lines if None."""
    sheet: str | None = None
    """Which sheet of a workbook is meant; the only one that holds a table if None."""
    blank_rows: bool = False
    """Whether a blank line is a row of a table of one column, an empty one; else it is passed over."""


FOUND = Options()
"""All is found from the files."""


def options_of(settings: DataSettings, *, blank_rows: bool = False) -> Options:
    """Return the options that a recipe says."""
    return Options(settings.header, settings.sheet, blank_rows)
