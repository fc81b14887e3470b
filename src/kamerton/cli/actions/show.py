"""What `kamerton show` does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kamerton.cli.output import listed, open_console, print_json
from kamerton.core.addresses import written_out
from kamerton.core.contracts import AuditContext
from kamerton.core.message_json import to_json
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Example, ExampleView
from kamerton.data.fix import dropped_examples
from kamerton.data.gate import look
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.pipeline.prepare import BoundData, ParsedData, bind, choose_base, parse_data
from kamerton.plugins.audits.adapted_turns import AdaptedTurns
from kamerton.report.terminal import Screen
from kamerton.runs.recipe import parse_assignment, resolve


def run(
    data: Path, rows: int, flags: Mapping[str, object], assignments: Sequence[str], json: bool, language: Language
) -> None:
    """Show what the model gets for some rows."""
    settings = {"data.path": written_out(data), **flags, **dict(map(parse_assignment, assignments))}
    parsed = choose_base(parse_data(resolve(None, settings)))
    bound = bind(parsed)
    shown = parsed.examples[:rows]
    views = _views(parsed, bound, shown)
    if json:
        print_json([to_json(view) for view in views])
        return
    speaker, model, task = voice(language), bound.facts.name, bound.recipe.data.task or ""
    kind = speaker.translate(bound.facts.kind)
    rule = "{task} for {model} ({kind}), {tokens} {tokens:token|tokens} at most"
    print(speaker.render(msg(rule, task=task, model=model, kind=kind, tokens=bound.max_tokens)))
    print(speaker.render(parsed.reason))
    for line in _left_out(parsed, shown, speaker):
        print(line)
    screen = Screen(open_console(), speaker)
    screen.show_tokens(views)
    context = AuditContext(stratified=False, lengths=None, max_tokens=None, tokenizer=bound.tokenizer)
    if finding := AdaptedTurns().check(shown, context):
        screen.show_findings([finding])


def _views(parsed: ParsedData, bound: BoundData, shown: Sequence[Example]) -> list[ExampleView]:
    """Return the rows as the model gets them; of those that the audit leaves out, nothing is marked as taught."""
    too_long = bound.recipe.data.too_long or "cut"
    views = look(shown, list(bound.encode(shown)), bound.form, bound.tokenizer, bound.max_tokens, too_long)
    dropped = dropped_examples(parsed.examples, parsed.task)
    return [
        _untaught(view, dropped[example.id]) if example.id in dropped else view
        for example, view in zip(shown, views, strict=True)
    ]


def _untaught(view: ExampleView, reason: Wording) -> ExampleView:
    tokens = tuple(replace(token, trained=False) for token in view.tokens)
    warnings = (msg("dropped: {reason}", reason=reason), *view.warnings)
    return replace(view, tokens=tokens, targets=(), sequences=(), warnings=warnings)


def _left_out(parsed: ParsedData, shown: Sequence[Example], voice: Voice) -> Iterator[str]:
    """Yield the rows that are left out among those that are shown, a line for each reason."""
    last = shown[-1].id if len(shown) < len(parsed.examples) else parsed.table.rows_read
    places: dict[str, list[str]] = {}
    for entry in sorted((*parsed.table.rejected, *parsed.left_out), key=lambda entry: entry.id):
        if entry.id < last:
            places.setdefault(voice.render(entry.reason), []).append(str(entry.place))
    for reason, rows in places.items():
        yield voice.render(msg("{places}: left out: {reason}", places=listed(rows), reason=reason))
