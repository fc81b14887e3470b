"""Tell programs from texts by their lines."""

from __future__ import annotations

from collections.abc import Sequence

import regex

LINE = regex.compile(
    r"^\s*(def|class|return|import|from|for|while|if|elif|else|try|except|with|raise|yield|assert|async|await|public|"
    r"private|static|void|func|fn|let|const|var|struct|namespace|using|package|#include|select|insert|create|@\w+)\b"
    r"|[;{}:)\]]\s*$|^\s*(#|//|/\*|\*|\"\"\")|\w\s*[-+*/|&]?=\s*\S|\w\(.*\)",
    regex.IGNORECASE,
)
SHARE = 0.5
"""Of the lines, from which on a text is taken for a program."""


def looks_like_code(texts: Sequence[str]) -> bool:
    r"""Return whether most lines of these texts are lines of programs.

    >>> looks_like_code(["def f(x):\n    return x + 1"]), looks_like_code(["Какая столица у Франции?"])
    (True, False)
    """
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return bool(lines) and sum(bool(LINE.search(line)) for line in lines) > SHARE * len(lines)
