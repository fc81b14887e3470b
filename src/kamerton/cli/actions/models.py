"""What `kamerton models` does."""

import sys

from kamerton.cli.output import print_json
from kamerton.core.figures import Figure
from kamerton.core.message_json import to_json
from kamerton.core.messages import msg
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.models.catalog import get
from kamerton.models.locate import installed, to_fetch


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
    for item in here:
        model = item.model
        where = msg("here: {folder}", folder=str(item.folder))
        if not item.folder:
            where = msg("not here: {megabytes} MB to get", megabytes=round(model.download_bytes / 1e6))
        kind, parameters = speaker.translate(model.kind), Figure(model.parameters, "parameters")
        rule = "{kind}, {parameters} parameters, {licence}; {where}"
        about = msg(rule, kind=kind, parameters=parameters, licence=model.licence, where=where)
        print(f"{model.name:<10} {speaker.render(about)}")
        print(f"{'':<10} {speaker.render(model.description)}; {', '.join(map(speaker.translate, model.languages))}")
    how = speaker.translate("`kamerton models get NAME` gets one; a folder or a Hugging Face id works in its place.")
    print(f"\n{how}")
