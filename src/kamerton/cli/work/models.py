"""What `kamerton models` does."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kamerton.cli.output import print_json
from kamerton.core.message_json import without_templates
from kamerton.models.fetch import get
from kamerton.models.locate import Installed, installed, to_fetch


def run(name: str | None, json: bool) -> None:
    """List the known base models, or get one."""
    if name is not None:
        if notice := to_fetch(name):
            print(notice, file=sys.stderr)
        print(get(name))
        return
    here = installed()
    if json:
        print_json([without_templates(item) for item in here])
        return
    _print_models(here)


def _print_models(here: Sequence[Installed]) -> None:
    for item in here:
        model = item.model
        get_it = f"not here: {model.download_bytes / 1e6:,.0f} MB to get"
        where = f"here: {item.folder}" if item.folder else get_it
        print(f"{model.name:<10} {model.kind}, {model.parameters / 1e6:.1f}M parameters, {model.licence}; {where}")
        print(f"{'':<10} {model.description}; {', '.join(model.languages)}")
    print("\n`kamerton models get NAME` gets one; a folder or a Hugging Face id works in the same place.")
