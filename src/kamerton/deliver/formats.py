"""The formats that can take a run's tuned model, each with its settings: `kamerton export RUN`, and the studio.

python -P -m kamerton.deliver.formats RUN    prints them as JSON, messages with their templates
"""

import json
import sys
from collections.abc import Iterator
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from kamerton.core import registry
from kamerton.core.errors import KamertonError
from kamerton.core.exporting import FormatChoice, FormatSetting, Tuned
from kamerton.core.message_json import to_json
from kamerton.core.messages import Joined, Message, Wording
from kamerton.deliver.export import open_tuned
from kamerton.runs.run import Run
from kamerton.session.setup import open_setup


def formats_of(run: Run) -> list[FormatChoice]:
    """Return all formats, those that refuse the model with the reason.

    Raises:
        RunError: the run is not finished, or its model is not here or damaged.
    """
    run.require_model()
    tuned = open_tuned(run, open_setup(run))
    return [_format(word, registry.choose("exports", word), tuned) for word in registry.names("exports")]


def _format(word: str, kind: Any, tuned: Tuned) -> FormatChoice:
    settings = [
        FormatSetting(name, Message(field.description), _written(field.default), tuple(_choices(field.annotation)))
        for name, field in kind.model_fields.items()
    ]
    return FormatChoice(word, Message(description_of(kind)), tuple(settings), _refusal(kind(), tuned))


def description_of(kind: type) -> str:
    """Return the first sentence of a format's docstring."""
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].split())


def _refusal(export: Any, tuned: Tuned) -> Wording:
    try:
        refusal: Wording = export.refuses(tuned)
    except KamertonError as error:  # a library that it needs is not installed
        return Joined([part for fault in error.faults for part in (fault.rule, fault.remedy) if part])
    return refusal


def _written(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _choices(annotation: Any) -> Iterator[str]:
    """Yield what a setting can be, if that can be listed."""
    if annotation is bool:
        yield from ("false", "true")
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    else:
        for one in get_args(annotation):
            if one is not NoneType:
                yield from _choices(one)


def main() -> None:
    """Print the formats of a run."""
    print(json.dumps([to_json(one) for one in formats_of(Run(sys.argv[1]))]))


if __name__ == "__main__":
    main()
