"""Convert packages that hold a Hugging Face folder."""

import shutil
from pathlib import Path

from kamerton.core.files import write_json
from kamerton.models.naming import read_settings


def convert(unpacked: Path, folder: Path) -> None:
    """Copy the files, without the truncation and padding to 128 tokens of sentence-embedding models' tokenizers."""
    for path in unpacked.iterdir():
        shutil.copyfile(path, folder / path.name)
    tokenizer = read_settings(folder / "tokenizer.json")
    write_json(folder / "tokenizer.json", tokenizer | {"truncation": None, "padding": None})
