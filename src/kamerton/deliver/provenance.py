"""`kamerton.json`: what an exported model was made from, what a prediction needs beside it, and the verdict."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kamerton.core.contracts import Task
from kamerton.core.files import sha256_of
from kamerton.core.message_json import without_templates
from kamerton.core.records import Example, Place
from kamerton.forms.templates import RefusedError, adapt
from kamerton.runs.run import MODEL, Run
from kamerton.session.setup import Setup

SCHEMA = 1


def describe(run: Run, setup: Setup, folder: Path, word: str, exported: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of an export in `folder`, with the sha256 of all of its files and of their sources."""
    result, state = run.result, run.state
    sources = {name: one.sha256 for name, one in sorted(run.files.checksums.items()) if name.startswith(f"{MODEL}/")}
    return {
        "schema": SCHEMA,
        "kamerton": version("kamerton"),
        "format": word,
        "settings": exported["settings"],
        "made_from": {
            "run": run.path.resolve().name,
            "files": sources,
            "base": {"name": state.base.name, "fingerprint": state.base.fingerprint},
            "data": {"name": Path(state.data.path).name, "sha256": state.data.sha256} if state.data else None,
        },
        "task": {"name": exported["task"], "settings": dict(setup.recipe.task.knobs)},
        "labels": list(label_ids) if isinstance(label_ids := setup.form.config.get("label2id"), dict) else [],
        "temperature": run.temperature,
        "request": _request(setup),
        "verdict": without_templates(result["verdict"]),
        "metric": result["primary_metric"],
        "proof": exported["proof"],
        "rescoring": exported["rescoring"],
        "files": {name: sha256_of(path) for path in sorted(folder.rglob("*")) if (name := _name(path, folder))},
    }


def _name(path: Path, folder: Path) -> str:
    """Return a file's name within a folder; an empty one for a folder."""
    return path.relative_to(folder).as_posix() if path.is_file() else ""


def _request(setup: Setup) -> dict[str, Any]:
    """Return how a request is put to the model: the task's example as messages and as text, no row of the data."""
    example, tokenizer = example_of(setup.task), setup.tokenizer
    try:
        asked = setup.form.requests(example, ()) if tokenizer.chat_template else ()
        turns = adapt(asked[-1], tokenizer).turns if asked else ()
        [prompt] = setup.form.prompts([example], tokenizer, setup.max_tokens)
    except RefusedError:
        return {}
    text = tokenizer.decode(prompt.tokens, skip_special_tokens=False)
    return {"messages": [{"role": turn.role, "content": turn.content} for turn in turns], "text": text}


def example_of(task: Task) -> Example:
    """Return the first of a task's own example rows."""
    row = task.example_rows()[0]
    return task.example(0, Place("", 1), {role.name: row.get(role.name) for role in task.roles})
