"""The page for blind judging: one self-contained file without network requests that saves its own result."""

from dataclasses import asdict
from pathlib import Path

from kamerton.core.messages import msg
from kamerton.core.outcomes import Judging
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.report.html import write_page
from kamerton.text.safe import safe_text

WORDS = {
    "title": msg("Which answer is better?"),
    "how": msg("The sides are random. Keys: 1 or ← left, 2 or → right, 0 or ↓ equal, Backspace goes back."),
    "request": msg("Request"),
    "reference": msg("Right answer"),
    "left": msg("Left"),
    "right": msg("Right"),
    "tie": msg("Equal"),
    "back": msg("Back"),
    "save": msg("Save the choices"),
    "of": msg("of"),
    "done": msg("All pairs are judged. Save the choices, and evaluate the file with kamerton judge --evaluate."),
    "unsaved": msg("Choices are kept in this browser; save them as a file when you are done, or before."),
}
"""The page's own texts."""


def write_judging(judging: Judging, path: Path, *, language: Language, reference: bool) -> Path:
    """Write the page, which shows the right answers if `reference` is true, and return its path."""
    about = asdict(judging)
    pairs = [
        {name: safe_text(text) if isinstance(text, str) else text for name, text in pair.items()}
        | ({} if reference else {"reference": ""})
        for pair in about.pop("pairs")
    ]
    words = {name: voice(language).render(text) for name, text in WORDS.items()}
    data = {"about": {"schema": 1, **about}, "pairs": pairs, "words": words}
    return write_page(path, "judging.html.j2", {"words": words, "data": data}, language)
