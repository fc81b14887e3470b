"""The page for blind judging: one self-contained file that asks the network for nothing and saves its own result."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kamerton.core.files import write_text
from kamerton.core.outcomes import Judging
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.text.figures import safe_text

WORDS = {
    "title": "Which answer is better?",
    "how": "The sides are drawn by lot. Keys: 1 or ← left, 2 or → right, 0 or ↓ equal, Backspace goes back.",
    "request": "Request",
    "reference": "Right answer",
    "left": "Left",
    "right": "Right",
    "tie": "Equal",
    "back": "Back",
    "save": "Save the choices",
    "of": "of",
    "done": "All pairs are judged. Save the choices, and give the file to kamerton judge --evaluate.",
    "unsaved": "Choices are kept in this browser; save them as a file when you are done, or before.",
}
"""What the page says."""


def write_judging(judging: Judging, path: Path, *, language: Language, reference: bool) -> Path:
    """Write the page.

    Args:
        judging: what to ask.
        path: the page.
        language: of the page's own words.
        reference: whether judges see the right answer.

    """
    shown = [
        {
            "id": pair.id,
            "text": safe_text(pair.text),
            "reference": safe_text(pair.reference) if reference else "",
            "left": safe_text(pair.left),
            "right": safe_text(pair.right),
        }
        for pair in judging.pairs
    ]
    about = {name: value for name, value in asdict(judging).items() if name != "pairs"}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    words = {name: voice(language).text(text) for name, text in WORDS.items()}
    data = {"about": {"schema": 1, **about}, "pairs": shown, "words": words}
    html = environment.get_template("judging.html.j2").render(language=language, words=words, data=data)
    write_text(path, html.strip() + "\n")
    return path
