"""Read a text file whose name does not say its format, by what its first lines show; prose is not taken for data."""

from __future__ import annotations

import re

from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import msg
from kamerton.data.encoding import Source
from kamerton.data.named import ENDINGS
from kamerton.data.read_conll import looks_like_conll, read_conll
from kamerton.data.read_json import read_json
from kamerton.data.read_text import looks_like_table, read_text
from kamerton.data.read_webanno import is_webanno, read_webanno
from kamerton.data.table import Table
from kamerton.data.unpack import PACKERS

LETTERS = 1000
"""How much of a file is looked at."""
OBJECT = re.compile(r'\[?\s*\{\s*(?:"[^"\n]*"\s*:|\})')
"""How JSON begins: an object with a key in quotes, alone or the first of an array."""


def looks_like_json(source: Source) -> bool:
    """Return whether a text begins with a JSON object."""
    with source.open() as file:
        return bool(OBJECT.match(file.read(LETTERS).lstrip("\ufeff \t\r\n")))


def read_unnamed(source: Source) -> Table:
    """Read JSON, JSON lines, CoNLL, rows of cells, or labels before texts."""
    with source.open() as lines:
        first = next((line for line in lines if line.strip()), "").lstrip("\ufeff \t")
    if is_webanno(source):
        return read_webanno(source)
    if looks_like_conll(source):
        return read_conll(source)
    if first.startswith(("{", "[")):
        return read_json(source)
    if looks_like_table(source):
        return read_text(source)
    rule = msg("the name does not say the format, nor do the first lines")
    remedy = msg("use a name that ends in one of {endings}; text may also be packed: {packed}",
                 endings=", ".join(ENDINGS), packed=", ".join(PACKERS))  # fmt: skip
    raise DataError(Fault(rule, source.file, remedy))
