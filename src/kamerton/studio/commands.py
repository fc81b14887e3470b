"""The other commands of a run, each a form: export, serve, dial, curve, evaluate, verify, report; and downloads.

`TABLE` says all of each: its form, and the words that the form becomes. A command runs in a process of its own, whose
log its page shows as it grows; pages may be closed, and the studio may end meanwhile.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from anyio.to_thread import run_sync
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from kamerton.core.errors import DataError, Fault
from kamerton.core.exporting import FormatChoice
from kamerton.core.message_json import from_json
from kamerton.core.messages import Wording, msg
from kamerton.i18n.language import Language
from kamerton.runs.run import MODEL, PREDICTIONS, Run
from kamerton.studio.context import Studio, studio_of
from kamerton.studio.processes import LOG, OUT, Commands, StartedCommand
from kamerton.studio.render import changing, form_of, language_of, page, render, stream

KEY = "KAMERTON_KEY"
"""The environment variable of a server's key."""
CURVE = "curve.html"
SHOWN = 20
"""Most commands that the list of a run shows."""
FORMATS = TypeAdapter(list[FormatChoice])
SANDBOX = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""The policy of a page that a command made: it has its look inside, and no script."""
DOWNLOADS: Mapping[str, Wording] = {
    "report.html": msg("the report"),
    "report.ru.html": msg("the report in Russian"),
    f"{MODEL}/README.md": msg("the model card"),
    f"{MODEL}/README.ru.md": msg("the model card in Russian"),
    PREDICTIONS: msg("every contender's answers to the test rows"),
    "result.json": msg("the result, for programs"),
}


@dataclass(frozen=True)
class FormField:
    """A field of a command's form."""

    name: str
    title: Wording
    choices: Sequence[tuple[str, Wording]] = ()
    """Values and what they are called; a number is asked for where there are none."""
    usual: str = ""
    least: float = 0
    most: float = 1
    step: float | str = 1
    required: bool = False
    takes_files: bool = False
    """Whether files can be sent to be chosen from."""

    def read(self, form: Mapping[str, Sequence[str]]) -> str:
        """Return what was given, an empty string for nothing.

        Raises:
            DataError: it is none of the choices, or no number in its range.
        """
        given = form.get(self.name, [""])[0].strip()
        if not given and not self.required:
            return ""
        if self.choices:
            fits = bool(given) and given in {value for value, _ in self.choices}
        else:
            fits = given.replace(".", "", 1).isdecimal() and self.least <= float(given) <= self.most
        if not fits:
            rule = msg("'{value}' is not what this field takes", value=given[:100])
            raise DataError(Fault(rule, self.title, msg("choose one of the list, or a number in its range")))
        return given


@dataclass(frozen=True)
class AskedCommand:
    """A command that somebody asks for."""

    studio: Studio
    name: str
    """Of the run."""
    folder: Path
    language: Language
    given: Mapping[str, str]
    """What the form says."""
    key: str = ""
    """For a server."""

    def flags(self, *names: str) -> list[str]:
        """Return the flags of fields that have values."""
        return [f"--{name}={self.given[name]}" for name in names if self.given.get(name)]


@dataclass(frozen=True)
class CommandKind:
    """One command of the table."""

    word: str
    title: Wording
    what: Wording
    words: Callable[[AskedCommand, Path], Sequence[str]]
    """Returns the arguments behind `python -m`; the path is the command's own folder."""
    fields: Callable[[Studio, str], Sequence[FormField]] = lambda _studio, _run: ()
    """Returns the fields of its form for a run."""
    about: Callable[[AskedCommand], Mapping[str, str]] = lambda _: {}
    """Returns what is remembered of it."""
    has_key: bool = False
    """Whether it gets a new key, which is shown once."""
    needs: Callable[[Run], bool] = lambda run: run.finished and run.model.exists()
    """Returns whether it can be offered for a run."""


def _kamerton(*words: str) -> Callable[[AskedCommand, Path], list[str]]:
    """Return what makes the words of a command that takes the run and its form's flags."""
    command, *flags = words
    return lambda asked, _: [
        "kamerton", command, str(asked.folder), *asked.flags(*flags), "--language", asked.language
    ]  # fmt: skip


def _uploads(studio: Studio, _: str) -> list[FormField]:
    files = sorted(path for path in studio.workspace.files.glob("*/*") if path.is_file())
    choices = [(f"{path.parent.name}/{path.name}", path.name) for path in files]
    return [
        FormField(
            "file", msg("A file that was sent to the studio"), choices or [("", "–")], required=True, takes_files=True
        )
    ]


def _evaluate(asked: AskedCommand, _: Path) -> list[str]:
    file = asked.studio.workspace.files / asked.given["file"]
    return ["kamerton", "evaluate", str(asked.folder), str(file), "--language", asked.language]


def _dial(asked: AskedCommand, _: Path) -> list[str]:
    out = ["--out", str(asked.studio.workspace.runs / _dialled(asked))] if asked.given["out"] == "yes" else []
    flags = asked.flags("strength")
    return ["kamerton", "dial", str(asked.folder), *out, *flags, "--language", asked.language]


def _dialled(asked: AskedCommand) -> str:
    return asked.studio.workspace.free_name(f"{asked.name}-dialled")


def _curve(asked: AskedCommand, place: Path) -> list[str]:
    recipe = Run(asked.folder).recipe
    columns = ",".join(f"{role}={column}" for role, column in (recipe.data.columns or {}).items())
    known = {"task": recipe.data.task, "model": recipe.model.name, "columns": columns}
    flags = [f"--{name}={value}" for name, value in known.items() if value]
    out = ["--out", str(place / CURVE), "--language", asked.language]
    return ["kamerton", "curve", recipe.data.path, *flags, *asked.flags("target"), *out]


def _serve(asked: AskedCommand, _: Path) -> list[str]:
    flags = asked.flags("port", "host")
    return ["kamerton", "serve", str(asked.folder), *flags, "--key-env", KEY, "--language", asked.language]


def _export(asked: AskedCommand, _: Path) -> list[str]:
    given = {name.removeprefix("set-"): value for name, value in asked.given.items() if name.startswith("set-")}
    settings = [f"--set={name}={value}" for name, value in given.items() if value]
    to = f"--to={asked.given['to']}"
    return ["kamerton", "export", str(asked.folder), to, *settings, "--language", asked.language]


def _formats(asked: AskedCommand, _: Path) -> list[str]:
    return ["kamerton.deliver.formats", str(asked.folder)]


TABLE: Mapping[str, CommandKind] = {
    kind.word: kind
    for kind in (
        CommandKind(
            "formats",
            msg("Export"),
            msg(
                "The model for another program. Which formats can take it depends on the model, which is loaded to see."
            ),
            _formats,
        ),
        CommandKind(
            "serve",
            msg("Serve"),
            msg("Answer programs by OpenAI's API, until it is stopped. The key is shown once, when the server starts."),
            _serve,
            lambda _studio, _run: [
                FormField("port", msg("Port"), usual="8000", least=1024, most=65535, required=True),
                FormField(
                    "host",
                    msg("For whom"),
                    [("127.0.0.1", msg("programs of this machine")), ("0.0.0.0", msg("everybody in the network"))],
                    required=True,
                ),
            ],
            lambda asked: {"port": asked.given["port"], "host": asked.given["host"]},
            has_key=True,
        ),
        CommandKind(
            "dial",
            msg("Dial"),
            msg("Measure the tuned model at several strengths: what each gains on the task, and what it forgets."),
            _dial,
            lambda _studio, _run: [
                FormField("strength", msg("Strength, if not chosen by the rule"), least=0.01, most=1, step=0.01),
                FormField(
                    "out",
                    msg("What becomes of it"),
                    [("", msg("only measure")), ("yes", msg("a new run of the chosen strength"))],
                ),
            ],
            lambda asked: {"run": _dialled(asked)} if asked.given["out"] == "yes" else {},
        ),
        CommandKind(
            "curve",
            msg("Curve"),
            msg("Estimate how much more data would help, from scores at five sizes of the run's own data."),
            _curve,
            lambda _studio, _run: [
                FormField("target", msg("Rows to estimate for; twice those given if not"), least=1, most=10**9)
            ],
            lambda _: {"page": CURVE},
            needs=lambda run: bool(run.recipe.data.path),
        ),
        CommandKind(
            "evaluate",
            msg("Evaluate"),
            msg("Score the tuned model on another file that has answers."),
            _evaluate,
            _uploads,
        ),
        CommandKind(
            "verify",
            msg("Verify"),
            msg("Check every file of the run against its checksum, and that its base model is the same."),
            _kamerton("verify"),
            needs=lambda _: True,
        ),
        CommandKind(
            "report",
            msg("Report"),
            msg("Write the report and the model card anew, in the language of this page."),
            _kamerton("report"),
            needs=lambda run: run.finished,
        ),
    )
}
"""The commands in the order of the page."""
EXPORTING = CommandKind("export", msg("Export"), "", _export, about=lambda asked: {"to": asked.given["to"]})
"""One format; its form is made of what `formats` found."""


@dataclass(frozen=True)
class CommandRequest:
    """What a request is about: a run, and perhaps one command of it."""

    studio: Studio
    name: str
    folder: Path
    language: Language
    commands: Commands

    @staticmethod
    def of(request: Request) -> CommandRequest:
        """Take it from the address. Raises `MissingError` if there is no such run."""
        studio, name = studio_of(request), request.path_params["name"]
        folder = studio.workspace.place(name)
        return CommandRequest(studio, name, folder, language_of(request), Commands(studio.workspace.folder))

    def path(self, command: StartedCommand | None = None, page: str = "") -> str:
        """Return an address."""
        own = f"/{command.id}" if command else ""
        return f"/runs/{quote(self.name, safe='')}/commands{own}{page}"

    def started(self, request: Request) -> StartedCommand:
        """Return the command that the address names."""
        if found := self.commands.find(self.name, request.path_params["id"]):
            return found
        raise HTTPException(404)

    def formats(self) -> list[FormatChoice] | None:
        """Return the formats that were last found; None if nobody has looked yet."""
        for one in self.commands.all(self.name):
            if one.word == "formats" and self.commands.state(one) == "done":
                try:
                    return FORMATS.validate_python(from_json(json.loads(self.commands.told(one, OUT))))
                except (ValueError, ValidationError):
                    return None
        return None

    def shown(self, command: StartedCommand) -> Mapping[str, object]:
        """Return what the page of a command shows."""
        kind = TABLE.get(command.word, EXPORTING)
        about, commands = command.about, self.commands
        made = about.get("run", "")
        return {
            "command": command,
            "kind": kind,
            "what": self,
            "state": commands.state(command),
            "out": "" if command.word == "formats" else commands.told(command, OUT),
            "log": commands.told(command, LOG),
            "made_page": about["page"] if "page" in about and commands.file(command, about["page"]).exists() else "",
            "made": made if made in self.studio.workspace.names() else "",
        }


async def show(request: Request) -> Response:
    """`GET /runs/NAME/commands`: all commands, what was started before, and downloads."""
    asked = CommandRequest.of(request)
    return await page(request, "commands.html.j2", await run_sync(_shown, asked))


def _shown(asked: CommandRequest) -> Mapping[str, object]:
    started = asked.commands.all(asked.name)[:SHOWN]
    run = Run(asked.folder)
    return {
        "run": asked.studio.listing.one(asked.name),
        "what": asked,
        "kinds": [kind for kind in TABLE.values() if kind.needs(run)],
        "titles": {**{word: kind.title for word, kind in TABLE.items()}, EXPORTING.word: EXPORTING.title},
        "fields": {word: kind.fields(asked.studio, asked.name) for word, kind in TABLE.items()},
        "formats": asked.formats(),
        "started": [(one, asked.commands.state(one)) for one in started],
        "downloads": {name: title for name, title in DOWNLOADS.items() if run.files.exists(name)},
    }


async def start(request: Request) -> Response:
    """`POST /runs/NAME/commands`: start a command, and go to its page."""
    asked, form = CommandRequest.of(request), await form_of(request)
    word = form.get("command", [""])[0]
    kind = EXPORTING if word == EXPORTING.word else TABLE.get(word)
    if kind is None:
        raise HTTPException(400)
    given = await run_sync(_given, asked, kind, form)
    key = secrets.token_urlsafe(24) if kind.has_key else ""
    wanted = AskedCommand(asked.studio, asked.name, asked.folder, asked.language, given, key)
    work = partial(
        asked.commands.start, asked.name, kind.word, partial(kind.words, wanted), kind.about(wanted),
        {KEY: key} if key else {},
    )  # fmt: skip
    command = await run_sync(work)
    if not key:
        return RedirectResponse(asked.path(command), 303)
    values = await run_sync(asked.shown, command)
    return await page(request, "command.html.j2", {"run": asked.studio.listing.one(asked.name), **values, "key": key})


def _given(asked: CommandRequest, kind: CommandKind, form: Mapping[str, Sequence[str]]) -> dict[str, str]:
    fields = list(kind.fields(asked.studio, asked.name))
    if kind is EXPORTING:
        fields = list(export_fields(asked.formats() or (), form.get("to", [""])[0]))
    return {one.name: one.read(form) for one in fields}


def export_fields(formats: Sequence[FormatChoice], to: str) -> Iterator[FormField]:
    """Yield the fields of a format's form."""
    yield FormField("to", msg("Format"), [(one.name, one.name) for one in formats if not one.refusal], required=True)
    for setting in next((one.settings for one in formats if one.name == to), ()):
        yield FormField(f"set-{setting.name}", setting.meaning, [(choice, choice) for choice in setting.choices])


async def one(request: Request) -> Response:
    """`GET /runs/NAME/commands/ID`: what a command does, or did."""
    asked = CommandRequest.of(request)
    values = await run_sync(asked.shown, asked.started(request))
    return await page(request, "command.html.j2", {"run": asked.studio.listing.one(asked.name), **values, "key": ""})


async def live(request: Request) -> Response:
    """`GET /runs/NAME/commands/ID/stream`: the same as it changes."""
    asked = CommandRequest.of(request)
    command = asked.started(request)

    def make() -> dict[str, str]:
        return {"command": render(asked.language, "running.html.j2", asked.shown(command))}

    return stream(changing(make, request))


async def stop(request: Request) -> Response:
    """`POST /runs/NAME/commands/ID/stop`."""
    asked = CommandRequest.of(request)
    command = asked.started(request)
    await run_sync(asked.commands.stop, command)
    return RedirectResponse(asked.path(command), 303)


async def made(request: Request) -> Response:
    """`GET /runs/NAME/commands/ID/page`: the page that a command made, without rights."""
    asked = CommandRequest.of(request)
    command = asked.started(request)
    path = asked.commands.file(command, command.about.get("page", ""))
    if not path.is_file():
        raise HTTPException(404)
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": SANDBOX})


async def download(request: Request) -> Response:
    """`GET /runs/NAME/files/FILE`: download a file of the run."""
    asked, name = CommandRequest.of(request), request.path_params["file"]
    run = Run(asked.folder)
    if name not in DOWNLOADS or not run.files.exists(name):
        raise HTTPException(404)
    return FileResponse(run.files.place(name), filename=f"{asked.name}-{Path(name).name}")


ROUTES: Sequence[Route] = (
    Route("/runs/{name}/commands", show),
    Route("/runs/{name}/commands", start, methods=["POST"]),
    Route("/runs/{name}/commands/{id}", one),
    Route("/runs/{name}/commands/{id}/stream", live),
    Route("/runs/{name}/commands/{id}/stop", stop, methods=["POST"]),
    Route("/runs/{name}/commands/{id}/page", made),
    Route("/runs/{name}/files/{file:path}", download),
)
