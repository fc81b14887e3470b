"""What `kamerton plan` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kamerton.cli.output import print_json
from kamerton.core.errors import DataError, Fault
from kamerton.core.figures import memory, parameters
from kamerton.core.files import write_text
from kamerton.core.message_json import to_json
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.pipeline.cost import estimate_sentence
from kamerton.planning.dry_run import DryRun, dry_run
from kamerton.report.terminal import Screen
from kamerton.runs.recipe import parse_assignment
from kamerton.text.safe import safe_text


def run(
    data: Path,
    flags: Mapping[str, object],
    assignments: Sequence[str],
    new_tokens: Path | None,
    json: bool,
    language: Language,
) -> None:
    """Say what a run would be."""
    settings = {**flags, **dict(parse_assignment(text) for text in assignments)}
    console = Console()
    speaker = voice(language)
    with Screen(Console(stderr=True), speaker) as screen:
        for told in dry_run(data, settings):
            if isinstance(told, DryRun):
                plan = told
            else:
                screen.show(told)
    if new_tokens is not None:
        _write_tokens(plan, new_tokens)
    if json:
        recipe = plan.recipe.model_dump(mode="json")
        more = to_json(plan.new_tokens) if plan.new_tokens else None
        costs = {**to_json(plan.forecast), "free_bytes": plan.free_bytes, "fits": plan.fits}
        print_json(
            {
                "recipe": recipe,
                "alternatives": [to_json(item) for item in plan.alternatives],
                "cost": costs,
                "new_tokens": more,
            }
        )
        return
    _print_settings(plan, console, speaker)
    _print_alternatives(plan, console, speaker)
    _print_tokens(plan, console, new_tokens, speaker)
    cost = speaker.repeat(estimate_sentence(plan.forecast))
    values = {"cost": f"{cost[0].upper()}{cost[1:]}", "memory": speaker.figure(memory(plan.free_bytes))}
    print("\n" + speaker.say("{cost}; {memory} are free.", values))
    if not plan.fits:
        print(
            speaker.text(
                "That does not fit. Less memory takes: --set train.tokens_per_pass=2048, "
                "--set train.gradient_checkpointing=true, or a method that trains less."
            )
        )


def _print_settings(plan: DryRun, console: Console, speaker: Voice) -> None:
    """Print what was decided and what the user said, with the reasons."""
    titles = map(speaker.text, ("setting", "value", "because"))
    table = Table(*titles, box=None, pad_edge=False, title_justify="left")
    for setting in plan.recipe.settings():
        if setting.reason.origin != "default":
            because = setting.reason.reason or setting.reason.origin
            table.add_row(setting.path, safe_text(_plain(setting.value)), safe_text(speaker.render(because)))
    console.print()
    console.print(table)


def _plain(value: object) -> str:
    """Write a setting's value as it is typed."""
    if isinstance(value, dict):
        return ",".join(f"{name}={_plain(item)}" for name, item in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def _write_tokens(plan: DryRun, path: Path) -> None:
    """Write the new tokens that would pay, one a line.

    Raises:
        DataError: there are none.
    """
    if plan.new_tokens is None:
        rule = "no new tokens would pay: the vocabulary is made for these texts, or they are too few"
        raise DataError(Fault(rule, plan.recipe.data.path, "leave --new-tokens out"))
    write_text(path, "".join(f"{token}\n" for token in plan.new_tokens.tokens))


def _print_tokens(plan: DryRun, console: Console, path: Path | None, speaker: Voice) -> None:
    """Print what new tokens would save, if they would pay."""
    if plan.new_tokens is None:
        return
    figure = speaker.figure
    titles = ("new tokens", "tokens a word", "fewer tokens", "more parameters", "less work a pass")
    table = Table(*map(speaker.text, titles), box=None)
    table.add_row(speaker.text("none"), figure(f"{plan.new_tokens.per_word:.1f}"), "", "", "")
    for size in plan.new_tokens.sizes:
        cells = (f"{size.per_word:.1f}", f"{size.saved:.0%}", parameters(size.parameters), f"{size.work:.0%}")
        table.add_row(str(size.tokens), *map(figure, cells))
    console.print()
    console.print(table)
    name = path or Path("tokens.txt")
    there = speaker.text("They are there") if path else speaker.say("`--new-tokens {file}` writes them", {"file": name})
    values = {"there": there, "command": f"--set model.new_tokens={name}", "count": plan.new_tokens.best.tokens}
    print(speaker.say("{count} would pay most. {there}; tune with {command}", values))


def _print_alternatives(plan: DryRun, console: Console, speaker: Voice) -> None:
    for setting, group in groupby(plan.alternatives, key=lambda item: item.setting):
        instead = speaker.say("instead of {setting}", {"setting": setting})
        table = Table(instead, speaker.text("because"), box=None, pad_edge=False)
        for item in group:
            table.add_row(item.value, safe_text(speaker.render(item.reason)))
        console.print()
        console.print(table)
