"""What `kamerton plan` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kamerton.cli.output import print_json
from kamerton.foresee import Foreseen, foresee
from kamerton.language.voice import Language, Voice, voice
from kamerton.recipe import parse_assignment
from kamerton.report.terminal import Screen
from kamerton.report.text import memory, safe_text


def run(data: Path, flags: Mapping[str, object], assignments: Sequence[str], json: bool, language: Language) -> None:
    """Say what a run would be."""
    settings = {**flags, **dict(parse_assignment(text) for text in assignments)}
    console = Console()
    speaker = voice(language)
    with Screen(Console(stderr=True), speaker) as screen:
        for told in foresee(data, settings):
            if isinstance(told, Foreseen):
                plan = told
            else:
                screen.show(told)
    if json:
        recipe = plan.recipe.model_dump(mode="json")
        costs = {**asdict(plan.forecast), "free_bytes": plan.free_bytes, "fits": plan.fits}
        print_json({"recipe": recipe, "alternatives": [asdict(item) for item in plan.alternatives], "cost": costs})
        return
    _print_settings(plan, console, speaker)
    _print_alternatives(plan, console, speaker)
    cost = speaker.repeat(str(plan.forecast))
    values = {"cost": f"{cost[0].upper()}{cost[1:]}", "memory": speaker.figure(memory(plan.free_bytes))}
    print("\n" + speaker.say("{cost}; {memory} are free.", values))
    if not plan.fits:
        print(
            speaker.text(
                "That does not fit. Less memory takes: --set train.tokens_per_pass=2048, "
                "--set train.gradient_checkpointing=true, or a method that trains less."
            )
        )


def _print_settings(plan: Foreseen, console: Console, speaker: Voice) -> None:
    """Print what was decided and what the user said, with the reasons."""
    titles = map(speaker.text, ("setting", "value", "because"))
    table = Table(*titles, box=None, pad_edge=False, title_justify="left")
    for setting in plan.recipe.settings():
        if setting.reason.origin != "default":
            because = setting.reason.reason or setting.reason.origin
            table.add_row(setting.path, safe_text(str(setting.value)), speaker.repeat(safe_text(because)))
    console.print()
    console.print(table)


def _print_alternatives(plan: Foreseen, console: Console, speaker: Voice) -> None:
    for setting, group in groupby(plan.alternatives, key=lambda item: item.setting):
        instead = speaker.say("instead of {setting}", {"setting": setting})
        table = Table(instead, speaker.text("because"), box=None, pad_edge=False)
        for item in group:
            table.add_row(item.value, speaker.repeat(safe_text(item.reason)))
        console.print()
        console.print(table)
