"""Choose a base model: by task, language, licence and memory, among those that are known, or those that are here."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from kamerton.core import registry
from kamerton.core.contracts import ModelKind, Task
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.records import Example
from kamerton.kernels.device import CPU
from kamerton.models.catalog import KnownModel, find, is_fetched, known, names
from kamerton.models.locate import cached_hub_ids, hub_folder, pinned
from kamerton.models.published import COMMERCIAL, Benchmark, PublishedModel, catalogue
from kamerton.runs.recipe import Decision
from kamerton.session.machine import Machine
from kamerton.session.planner import candidates
from kamerton.text.language_id import CODES, language_of

FOREIGN = 0.2
"""Share of letters outside the Latin script from which a multilingual model is chosen."""
LOOKED_AT = 200
"""Rows whose language is looked at."""
ALIKE = 1.5
"""Ratio of the sizes, without embeddings, of models that are taken for alike where no benchmark measured one."""
USUAL_ROWS = 1000
TENS = 10
MOST_ON_A_CPU = 4e8
"""Weights that a model may have to be proposed unasked where there is no accelerator: three epochs over 1,000 rows of
100 tokens are 6 x 4e8 x 3e5 FLOP, an hour at 2e11 FLOP/s of two cores."""


@dataclass(frozen=True)
class Wanted:
    """What a base model is needed for, and what it may take."""

    machine: Machine
    task: str = ""
    """Every one if empty."""
    kinds: tuple[ModelKind, ...] = ("encoder", "decoder", "seq2seq")
    """The usual one first."""
    language: str = ""
    """Of the texts, as an ISO code; any if empty."""
    licence: str = ""
    """Its name, or `commercial`; any if empty."""
    rows: int = USUAL_ROWS


@dataclass(frozen=True)
class Suited:
    """A base model that fits, how it would be tuned, and what that takes."""

    model: PublishedModel
    method: str
    peak_bytes: int
    benchmark: Benchmark | None
    """What orders the models of its kind for the language."""
    score: float | None
    """Its figure there; None if it was not measured."""
    standing: float
    """By which it is ordered, higher first."""
    here: bool
    """Whether it is on this machine."""

    @property
    def measured(self) -> Wording:
        """The benchmark with the figure; empty if it was not measured."""
        if self.benchmark is None or self.score is None:
            return ""
        score = Figure(self.score, "tenths" if self.score >= TENS else "number")
        return msg("{benchmark} {score}", benchmark=self.benchmark.name, score=score)


def suited(wanted: Wanted) -> list[Suited]:
    """Return the models that can be tuned for what is wanted, the best first.

    Those made for the task come first, then the usual kind, then the best by a published benchmark; a model that it
    did not measure stands where those of about its size do, and the larger one first where nothing is known.
    """
    book, cached = catalogue(), frozenset(cached_hub_ids())
    found = [
        one
        for model in book.models
        if model.loadable and model.kind in wanted.kinds
        if not (wanted.task and model.tasks) or wanted.task in model.tasks
        if not wanted.language or wanted.language in book.codes(model)
        if not wanted.licence or book.allows(model, wanted.licence)
        if (one := _tried(model, wanted, cached))
    ]
    return sorted(found, key=lambda one: _order(one, wanted))


def _order(one: Suited, wanted: Wanted) -> tuple[bool, int, float, bool, int]:
    made_for_it = bool(wanted.task) and wanted.task in one.model.tasks
    kind, unmeasured = wanted.kinds.index(one.model.kind), one.score is None
    return not made_for_it, kind, -one.standing, unmeasured, -one.model.parameters


def _tried(model: PublishedModel, wanted: Wanted, cached: frozenset[str]) -> Suited | None:
    """Return how a model would be tuned, with the largest pass that fits; None if nothing fits."""
    method = candidates(model.facts, wanted.rows, wanted.machine)[0]
    if not method.fits:
        return None
    peak = method.footprint.peak_bytes(method.footprint.choose_pass())
    key = catalogue().benchmark(model.kind, wanted.language)
    benchmark = catalogue().benchmarks[key] if key else None
    here = is_fetched(find(model.name)) if model.name in names() else _is_cached(model, cached)
    score, standing = (model.scores.get(key), _standing(model, key, wanted.language)) if key else (None, -math.inf)
    return Suited(model, method.word, peak, benchmark, score, standing, here)


def _standing(model: PublishedModel, key: str, language: str) -> float:
    """Return the figure of a model, or the median of those of its kind, size and language; higher is better."""
    sign = 1 if catalogue().benchmarks[key].better == "higher" else -1
    if key in model.scores:
        return sign * model.scores[key]
    kin = [one for one in catalogue().models if one.kind == model.kind and key in one.scores]
    measured = [one for one in kin if not language or language in catalogue().codes(one)]
    alike = [sign * one.scores[key] for one in measured if 1 / ALIKE <= one.body / model.body <= ALIKE]
    return median(alike) if alike else -math.inf


def _is_cached(model: PublishedModel, cached: frozenset[str]) -> bool:
    folders = (hub_folder(model.name, revision) for revision in dict.fromkeys([pinned(model.name), None]))
    return model.name in cached and any(folders)


# ── for a run ─────────────────────────────────────────────────────────────────────────────────


def choose_model(word: str, examples: Sequence[Example], machine: Machine) -> Decision:
    """Choose a model that is here for a task and the language of its texts; the usual one of a package if none is.

    The reason names a better one that would fit the machine if it were fetched.
    """
    task = registry.choose("tasks", word)
    usual, reason = _usual(task, examples)
    languages = Counter(filter(None, (language_of(example.text) for example in examples[:LOOKED_AT])))
    if not languages:
        return Decision(usual.name, reason)
    code = CODES[languages.most_common(1)[0][0]]
    wanted = Wanted(machine, word, task.kinds[:1], code, COMMERCIAL, len(examples))
    most = MOST_ON_A_CPU if machine.kind == CPU.type else math.inf
    every = [one for one in suited(wanted) if one.model.parameters <= most]
    chosen = next((one for one in every if one.here and one.model.name not in names()), None)
    name, standing = usual.name, next((one.standing for one in every if one.model.name == usual.name), -math.inf)
    if chosen and chosen.standing > standing:
        name, standing = chosen.model.name, chosen.standing
        reason = msg("the best on this machine for this task: {model}", model=_described(chosen))
    better = next((one for one in every if not one.here and one.standing > standing), None)
    if better is None or better.model.name in names():
        return Decision(name, reason)
    rule = "{model} would suit more and fit this machine; `kamerton models get {name}` fetches it"
    return Decision(name, Joined((reason, msg(rule, model=_described(better), name=better.model.name))))


def _described(one: Suited) -> Wording:
    size = Figure(one.model.parameters, "parameters")
    rule = "{model} ({size}; {measured})" if one.measured else "{model} ({size})"
    return msg(rule, model=one.model.name, size=size, measured=one.measured)


def _usual(task: Task, examples: Sequence[Example]) -> tuple[KnownModel, Wording]:
    """Return the known model of the task's usual kind, for the script of the texts."""
    letters = [letter for example in examples[:2000] for letter in example.text if letter.isalpha()]
    foreign = sum(letter > "\u024f" for letter in letters) / max(1, len(letters))
    fitting = [model for model in known() if model.kind == task.kinds[0]]
    many = [model for model in fitting if len(model.languages) > 1]
    if foreign > FOREIGN and many:
        share = Figure(round(foreign, 2), "percent")
        return many[0], msg("{share} of the letters are not Latin: {model}", share=share, model=many[0].description)
    return fitting[0], msg("the usual kind for this task: {model}", model=fitting[0].description)
