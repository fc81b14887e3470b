"""What `kamerton plan` does."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kamerton.cli.output import open_console, print_json
from kamerton.core.errors import DataError, Fault
from kamerton.core.figures import Figure
from kamerton.core.files import write_text
from kamerton.core.message_json import to_json
from kamerton.core.messages import Message, msg
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.planning.dry_run import DryRun, dry_run
from kamerton.report.terminal import Screen
from kamerton.runs.recipe import parse_assignment
from kamerton.session.machine import described_machine
from kamerton.text.safe import safe_text


def run(
    data: Path,
    flags: Mapping[str, object],
    assignments: Sequence[str],
    new_tokens: Path | None,
    machine: str | None,
    json: bool,
    language: Language,
) -> None:
    """Print what a run would do, on a machine that is described if one is."""
    described = described_machine(machine) if machine else None
    settings = {**flags, **dict(map(parse_assignment, assignments))}
    speaker = voice(language)
    with Screen(open_console(stderr=True), speaker) as screen:
        for item in dry_run(data, settings, described):
            if isinstance(item, DryRun):
                plan = item
            else:
                screen.show(item)
    if new_tokens is not None:
        _write_tokens(plan, new_tokens)
    if json:
        print_json(_for_machines(plan))
        return
    console = open_console()
    _print_settings(plan, console, speaker)
    _print_alternatives(plan, console, speaker)
    _print_tokens(plan, console, new_tokens, speaker)
    print("\n" + speaker.render(_cost_of(plan)))
    if not plan.fits:
        less = msg(
            "That does not fit. To need less memory: --set train.tokens_per_pass=2048, "
            "--set train.gradient_checkpointing=true, or a method that trains fewer weights."
        )
        print(speaker.render(less))


def _cost_of(plan: DryRun) -> Message:
    memory, free = (Figure(size, "memory") for size in (plan.cost.peak_bytes, plan.machine.free_bytes))
    if plan.cost.seconds is None:
        rule = (
            "Training will take about {memory} of the {free} of memory on {machine}. How long it takes is not known: "
            "that machine was never timed."
        )
        return msg(rule, memory=memory, free=free, machine=plan.machine.name)
    rule = "Training will take about {seconds} and {memory} of memory; {free} are free."
    return msg(rule, seconds=Figure(plan.cost.seconds, "duration"), memory=memory, free=free)


def _for_machines(plan: DryRun) -> dict[str, object]:
    return {
        "recipe": plan.recipe.model_dump(mode="json"),
        "alternatives": [to_json(item) for item in plan.alternatives],
        "cost": {**to_json(plan.cost), "free_bytes": plan.machine.free_bytes, "fits": plan.fits},
        "machine": {"name": str(plan.machine.name), "kind": plan.machine.kind, "here": plan.machine.here},
        "new_tokens": to_json(plan.new_tokens) if plan.new_tokens else None,
    }


def _print_settings(plan: DryRun, console: Console, speaker: Voice) -> None:
    """Print what was decided and what the user gave, with the reasons."""
    titles = (speaker.translate("setting"), speaker.translate("value"), speaker.translate("because"))
    table = Table(*titles, box=None, pad_edge=False, title_justify="left")
    for setting in plan.recipe.settings():
        if setting.reason.origin != "default":
            because = speaker.render(setting.reason.reason) or speaker.translate(setting.reason.origin)
            table.add_row(setting.path, safe_text(_plain(setting.value)), safe_text(because))
    console.print()
    console.print(table)


def _plain(value: object) -> str:
    """Write a setting's value as it is typed."""
    if isinstance(value, dict):
        return ",".join(f"{name}={_plain(item)}" for name, item in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def _write_tokens(plan: DryRun, path: Path) -> None:
    """Write the new tokens that would pay, one a line; it is an error if there are none."""
    if plan.new_tokens is None:
        rule = msg("no new tokens would pay: the vocabulary is made for these texts, or they are too few")
        raise DataError(Fault(rule, plan.recipe.data.path, msg("leave --new-tokens out")))
    write_text(path, "".join(f"{token}\n" for token in plan.new_tokens.tokens))


def _print_tokens(plan: DryRun, console: Console, path: Path | None, speaker: Voice) -> None:
    """Print what new tokens would save, if they would pay."""
    if plan.new_tokens is None:
        return
    text, write = speaker.translate, speaker.write
    titles = (text("new tokens"), text("tokens a word"), text("fewer tokens"), text("more parameters"))
    table = Table(*titles, text("less work a pass"), box=None)
    table.add_row(text("none"), write(Figure(plan.new_tokens.per_word, "tenths")), "", "", "")
    for size in plan.new_tokens.sizes:
        per_word, parameters = Figure(size.per_word, "tenths"), Figure(size.parameters, "parameters")
        saved, work = (Figure(round(share, 2), "percent") for share in (size.saved, size.work))
        table.add_row(str(size.tokens), *map(write, (per_word, saved, parameters, work)))
    console.print()
    console.print(table)
    name = str(path or "tokens.txt")
    written = msg("they are in {file}", file=name) if path else msg("`--new-tokens {file}` writes them", file=name)
    line = "{count} would pay most; {written}; tune with --set model.new_tokens={file}"
    print(speaker.render(msg(line, count=plan.new_tokens.best.tokens, written=written, file=name)))


def _print_alternatives(plan: DryRun, console: Console, speaker: Voice) -> None:
    for setting, group in groupby(plan.alternatives, key=lambda item: item.setting):
        instead = speaker.render(msg("instead of {setting}", setting=setting))
        table = Table(instead, speaker.translate("because"), box=None, pad_edge=False)
        for item in group:
            table.add_row(item.value, safe_text(speaker.render(item.reason)))
        console.print()
        console.print(table)
