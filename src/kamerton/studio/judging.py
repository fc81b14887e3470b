"""Blind judging: which of two answers is better, with the sides hidden. Each choice is kept when it is made.

    RUN/judging/PAIRING/JUDGE.json    the choices of one judge, as `kamerton judge --evaluate` reads them

Pages work without scripts: each pair is a form, and a script only adds keys.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from kamerton.core.errors import DataError, Fault, RunError
from kamerton.core.files import write_json
from kamerton.core.messages import msg
from kamerton.core.outcomes import Judging
from kamerton.feedback.judging import Choice, Choices, judge_choices, judging_of, read_choices
from kamerton.report.judging import judged_lines
from kamerton.report.outcome import read_outcome
from kamerton.runs.run import Run
from kamerton.studio.context import studio_of
from kamerton.studio.render import form_of, page

FOLDER, ENDING = "judging", ".json"
ROWS = 100
"""Most pairs: an hour's work."""
LONGEST_NAME = 60
Side = Literal["left", "right", "tie"]
SIDES: tuple[str, ...] = get_args(Side)


@dataclass(frozen=True)
class JudgeRequest:
    """What one judge judges.

    Args:
        runs: one or two, by name.
        judge: what they call themselves; empty before they have.
        reference: whether they see the right answer.
    """

    runs: Mapping[str, Run]
    judge: str
    reference: bool

    @staticmethod
    def of(request: Request) -> JudgeRequest:
        """Take it from the address.

        Raises:
            MissingError: there is no run of one of the names.
            RunError: there is not one run, or two.
        """
        workspace, names = studio_of(request).workspace, request.query_params.getlist("run")
        if not 0 < len(names) < 3 or len({*names}) < len(names):
            raise RunError(Fault(msg("one run is judged, or two"), remedy=msg("choose one or two of the list")))
        judge = " ".join(request.query_params.get("judge", "").split())[:LONGEST_NAME]
        runs = {name: workspace.run(name) for name in names}
        return JudgeRequest(runs, judge, request.query_params.get("reference", "") == "yes")

    @cached_property
    def judging(self) -> Judging:
        """The pairs, in an order and on sides that are always the same. Raises `RunError` if there are none."""
        [first, *others] = self.runs.values()
        against = "" if others else read_outcome(first).verdict.against
        return judging_of([first, *others], list(self.runs), against, rows=ROWS, seed=0)

    @cached_property
    def folder(self) -> Path:
        """Where the choices between these two are kept: in the first run."""
        pairing = _digest(f"{self.judging.first}\n{self.judging.second}\n{self.judging.seed}")
        return next(iter(self.runs.values())).path / FOLDER / pairing

    @property
    def file(self) -> Path:
        """The judge's own file."""
        return self.folder / f"{_digest(self.judge)}{ENDING}"

    def path(self, page: str = "", at: int | None = None) -> str:
        """Return an address that keeps what this is about."""
        about = [("run", name) for name in self.runs]
        about += [("judge", self.judge)] if self.judge else []
        about += [("reference", "yes")] if self.reference else []
        return f"/judge{page}?{urlencode([*about, *([] if at is None else [('at', str(at))])])}"

    def chosen(self) -> dict[int, Choice]:
        """Return the judge's choices by row; none if there are none yet. Raises `DataError` for a damaged file."""
        if not self.file.exists():
            return {}
        return {choice.id: choice for choice in read_choices(self.file).choices}

    def choose(self, choice: Choice) -> None:
        """Keep a choice; it replaces an earlier one about the same row."""
        asked = self.judging
        choices = tuple({**self.chosen(), choice.id: choice}.values())
        kept = Choices(1, asked.first, asked.second, asked.seed, asked.identical, choices)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(self.file, {**asdict(kept), "judge": self.judge})

    def judges(self) -> list[Choices]:
        """Return what all judges chose between these two."""
        return [read_choices(path) for path in sorted(self.folder.glob(f"*{ENDING}"))]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


async def show(request: Request) -> Response:
    """`GET /judge`: the next pair of a judge, or pair `at`; before that, the question who judges."""
    bench, wanted = JudgeRequest.of(request), request.query_params.get("at", "")
    values = await run_sync(_shown, bench, int(wanted) if wanted.isdecimal() else None)
    return await page(request, "judge.html.j2", {"bench": bench, **values})


def _shown(bench: JudgeRequest, wanted: int | None) -> dict[str, Any]:
    pairs, chosen = bench.judging.pairs, bench.chosen() if bench.judge else {}
    left = (at for at, pair in enumerate(pairs) if pair.id not in chosen)
    at = min(wanted, len(pairs)) if wanted is not None else next(left, len(pairs))
    pair = pairs[at] if at < len(pairs) else None
    made = chosen.get(pair.id) if pair else None
    return {"at": at, "count": len(pairs), "pair": pair, "made": made.choice if made else "", "now": time.time(),
            "done": len(chosen)}  # fmt: skip


async def choose(request: Request) -> Response:
    """`POST /judge`: keep a choice, and go on to the next pair."""
    bench, form = JudgeRequest.of(request), await form_of(request)
    id, choice, shown, at = (form.get(name, [""])[0] for name in ("id", "choice", "shown", "at"))
    if not (bench.judge and id.isdecimal() and at.isdecimal() and choice in SIDES):
        raise HTTPException(400)
    if not any(pair.id == int(id) for pair in bench.judging.pairs):
        raise HTTPException(400)
    await run_sync(bench.choose, Choice(int(id), choice, _seconds_since(shown)))  # type: ignore[arg-type]
    return RedirectResponse(bench.path(at=int(at) + 1), 303)


def _seconds_since(shown: str) -> float:
    try:
        return round(max(0.0, time.time() - float(shown)), 1)
    except ValueError:
        return 0.0


async def result(request: Request) -> Response:
    """`GET /judge/result`: what all choices show so far."""
    bench = JudgeRequest.of(request)
    judges = await run_sync(bench.judges)
    if not judges:
        raise DataError(Fault(msg("no choice was made"), remedy=msg("judge some pairs first")))
    judged = await run_sync(judge_choices, judges)
    values = {"first": judged.first, "second": judged.second, "lines": [*judged_lines(judged)], "bench": bench}
    return await page(request, "judged.html.j2", values)


async def choices(request: Request) -> Response:
    """`GET /judge/choices`: download the choices of a judge."""
    bench = JudgeRequest.of(request)
    if not bench.file.exists():
        raise HTTPException(404)
    return FileResponse(bench.file, filename="choices.json")


ROUTES: Sequence[Route] = (
    Route("/judge", show),
    Route("/judge", choose, methods=["POST"]),
    Route("/judge/result", result),
    Route("/judge/choices", choices),
)
