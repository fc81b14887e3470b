"""Packages that hold a Hugging Face folder already."""

from __future__ import annotations

import shutil
from pathlib import Path

from kamerton.core.files import read_json, write_json


def convert(unpacked: Path, folder: Path) -> None:
    """Copy the files, and free the tokenizer of truncation and padding to a fixed length.

    Sentence-embedding models ship a `tokenizer.json` that cuts and pads to 128 tokens for everyone
    who reads it with the tokenizers library alone.
    """
    for path in unpacked.iterdir():
        shutil.copyfile(path, folder / path.name)
    tokenizer = read_json(folder / "tokenizer.json")
    write_json(folder / "tokenizer.json", tokenizer | {"truncation": None, "padding": None})
