"""Addresses of storage, `s3://bucket/name`, told from paths. Nothing heavy is imported: storage.py opens them."""

import re
from pathlib import Path

from kamerton.core.errors import Fault, RecipeError
from kamerton.core.messages import msg

ADDRESS = re.compile(r"([a-z][a-z0-9+]+):/(/.*)", re.DOTALL)
FOLDED = re.compile(r"([a-z][a-z0-9+]+):/(?!/)(.*)", re.DOTALL)
"""As pathlib writes one: two slashes are one to it."""
SECRET = re.compile(r"^[a-z0-9+]+://[^/]*@|[?&;](?:[\w-]*(?:key|secret|token|signature|password|credential))=", re.I)
"""What may hold a key: a name before the host, an argument of that name."""


def address_of(path: str | Path) -> str | None:
    """Return the address that a word or a path is; None if it is none.

    >>> address_of(Path("s3://bucket/run")), address_of("file:///tmp/run"), address_of("runs/x"), address_of("C:/x")
    ('s3://bucket/run', 'file:///tmp/run', None, None)

    Raises:
        RecipeError: it holds a key, which is not repeated.
    """
    word = str(path)
    if whole := ADDRESS.fullmatch(word):
        address = f"{whole[1]}:/{whole[2]}"
    elif folded := FOLDED.fullmatch(word):
        local = "/" if folded[1] in ("file", "local") else ""
        address = f"{folded[1]}://{local}{folded[2]}"
    else:
        return None
    if SECRET.search(address):
        rule = msg("an address holds no key: it would stand in the run and in logs")
        remedy = msg("leave it out; keys come from the environment or the files of the storage's own tools")
        raise RecipeError(Fault(rule, address.partition(":")[0] + "://…", remedy))
    return address.rstrip("/")


def written_out(path: str | Path) -> str:
    """Return an address with both slashes, and a path as it is.

    >>> written_out(Path("s3://bucket/x.csv")), written_out(Path("x.csv"))
    ('s3://bucket/x.csv', 'x.csv')
    """
    return address_of(path) or str(path)
