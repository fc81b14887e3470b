"""What `kamerton models --task TASK` does: choose base models by task, language, licence and memory."""

from dataclasses import replace

from kamerton.cli.actions.models import UNKNOWN, facts_of
from kamerton.cli.output import print_json
from kamerton.core import registry
from kamerton.core.errors import Fault, ModelError, nearest
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, msg
from kamerton.i18n.language import Language
from kamerton.i18n.voice import Voice, voice
from kamerton.models.published import COMMERCIAL, PURPOSES, catalogue
from kamerton.runs.recipe import ModelSettings
from kamerton.session.base_model import Suited, Wanted, suited
from kamerton.session.machine import described_machine, this_machine
from kamerton.text.language_id import CODES
from kamerton.text.safe import safe_text


def run(
    task: str | None,
    texts: str | None,
    licence: str | None,
    word: str | None,
    memory: int | None,
    json: bool,
    language: Language,
) -> None:
    """List the models that can be tuned for what is wanted, the best first, on a machine that a word may describe."""
    machine = described_machine(word) if word else this_machine(ModelSettings())
    room = memory or machine.free_bytes
    others = _language(texts or ""), _licence(licence or "")
    kinds = registry.choose("tasks", task).kinds if task else Wanted.kinds
    found = suited(Wanted(replace(machine, free_bytes=room), task or "", kinds, *others))
    if json:
        print_json([_for_machines(one) for one in found])
        return
    speaker = voice(language)
    if not found:
        print(speaker.render(msg("None fits into {memory}.", memory=Figure(room, "memory"))))
        return
    for one in found:
        _print(one, speaker)
    how = msg(
        "The best first of those that fit into {memory}, as estimated: those made for the task, then the usual kind, "
        "then by a published benchmark; a model that it did not measure stands among those of its size. "
        "`kamerton models get NAME` gets one. docs/models-to-choose.md has every model with its sources.",
        memory=Figure(room, "memory"),
    )
    print("\n" + speaker.render(how))


def _language(word: str) -> str:
    """Return the code of a language that is given as its code or its English name."""
    code = {name.lower(): code for name, code in CODES.items()}.get(word.lower(), word.lower())
    spoken_here = {one for model in catalogue().models for one in catalogue().codes(model)}
    if code and code not in spoken_here:
        remedy = nearest(code, spoken_here)
        raise ModelError(
            Fault(msg("no known model is said to know the language '{code}'", code=word), "--texts", remedy)
        )
    return code


def _licence(word: str) -> str:
    """Return the name of a licence, or `commercial`."""
    known = (COMMERCIAL, UNKNOWN, *catalogue().licences)
    if word and word.casefold() not in map(str.casefold, known):
        rule = msg("no known model has the licence '{licence}'", licence=word)
        raise ModelError(Fault(rule, "--licence", nearest(word, known)))
    return word


def _print(one: Suited, speaker: Voice) -> None:
    """Print a model in two lines: how it would be tuned, and what it is."""
    here = msg("here") if one.here else ""
    parts = Joined([part for part in (one.measured, here) if part])
    rule = "{name}: {method}, about {memory}; {more}" if parts.parts else "{name}: {method}, about {memory}"
    name, memory = safe_text(one.model.name), Figure(one.peak_bytes, "memory")
    print(speaker.render(msg(rule, name=name, method=one.method, memory=memory, more=parts)))
    print(f"    {speaker.render(facts_of(one.model))}")


def _for_machines(one: Suited) -> dict[str, object]:
    model, facts = one.model, one.model.facts
    measured = {"benchmark": one.benchmark.name, "value": one.score} if one.benchmark else None
    sizes = {"parameters": model.parameters, "layers": facts.layers, "hidden": facts.hidden, "context": facts.context}
    return {
        "name": model.name, "kind": model.kind, **sizes, "method": one.method, "peak_bytes": one.peak_bytes,
        "score": measured, "here": one.here, "licence": model.licence, "commercial": catalogue().commercial(model),
        "gated": model.gated,
        "languages": list(model.languages), "purpose": str(PURPOSES[model.purpose]), "sources": list(model.sources),
    }  # fmt: skip
