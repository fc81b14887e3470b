"""What `kamerton models` does."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kamerton.cli.output import print_json
from kamerton.core.figures import Figure
from kamerton.core.message_json import to_json
from kamerton.core.messages import msg
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.models.catalog import get
from kamerton.models.locate import Installed, installed, to_fetch


def run(name: str | None, json: bool, language: Language) -> None:
    """List the known base models, or get one."""
    speaker = voice(language)
    if name is not None:
        if notice := to_fetch(name):
            print(speaker.render(notice), file=sys.stderr)
        print(get(name))
        return
    here = installed()
    if json:
        print_json([to_json(item) for item in here])
        return
    _print_models(here, speaker)


def _print_models(here: Sequence[Installed], voice: Voice) -> None:
    for item in here:
        model = item.model
        where = msg("here: {folder}", folder=str(item.folder))
        if not item.folder:
            where = msg("not here: {megabytes} MB to get", megabytes=round(model.download_bytes / 1e6))
        about = msg(
            "{kind}, {parameters} parameters, {licence}; {where}",
            kind=voice.translate(model.kind),
            parameters=Figure(model.parameters, "parameters"),
            licence=model.licence,
            where=where,
        )
        print(f"{model.name:<10} {voice.render(about)}")
        print(f"{'':<10} {voice.render(model.description)}; {', '.join(map(voice.translate, model.languages))}")
    print(
        f"\n{voice.translate('`kamerton models get NAME` gets one; a folder or a Hugging Face id works in its place.')}"
    )
