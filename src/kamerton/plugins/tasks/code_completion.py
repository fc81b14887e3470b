"""Code completion: the beginning of a program, and its continuation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.errors import Unusable
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Example, Place
from kamerton.forms.continuation import Continuation, Trial
from kamerton.forms.messages import text_of
from kamerton.forms.sandbox import SandboxLimits
from kamerton.forms.writing import require_writer
from kamerton.plugins.tasks._shared import paragraphs
from kamerton.runs.settings import Group
from kamerton.text.cells import filled
from kamerton.text.language_id import looks_like_code

LOOKED_AT = 200


class CodeCompletion(Group):
    """Continue a program, or fill the gap in one."""

    run_tests: bool = Field(
        False, description="Run generated programs with the row's tests, isolated from the system, for pass@k."
    )
    unsafe: bool = Field(
        False, description="Run them even without isolation; needs KAMERTON_UNSAFE_PROGRAMS=1 in the environment too."
    )
    samples: Annotated[int, Field(ge=1, le=1000)] = Field(
        1, description="Programs generated for each row's tests; more than one needs evaluate.temperature."
    )
    k: Annotated[int, Field(ge=1)] = Field(1, description="The k of pass@k.")
    seconds: Annotated[int, Field(ge=1)] = Field(5, description="CPU time of one run, in seconds.")
    megabytes: Annotated[int, Field(ge=64)] = Field(512, description="Memory of one run, in megabytes.")

    roles: ClassVar = (
        Role(
            "prompt",
            ("prompt", "prefix", "before", "code", "начало"),
            msg("the beginning of the program"),
        ),
        Role("suffix", ("suffix", "after", "конец"), msg("the program behind the gap"), required=False),
        Role("tests", ("tests", "test", "unit_tests", "тесты"), msg("a program that fails if the code is wrong"),
             required=False),
        Role("entry_point", ("entry_point", "function_name"), msg("the argument of the tests' `check`"),
             required=False),
        Role(
            "completion",
            ("completion", "middle", "canonical_solution", "solution", "body", "continuation", "продолжение"),
            msg("its continuation"),
        ),
    )  # fmt: skip
    kinds: ClassVar = ("decoder",)
    answers: ClassVar = "text"

    @model_validator(mode="after")
    def _enough_samples(self) -> CodeCompletion:
        if self.samples < self.k:
            raise Unusable(
                msg("pass@{k} needs at least {k} {k:sample|samples}, got {samples}", k=self.k, samples=self.samples)
            )
        return self

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept beginnings and continuations that are lines of programs."""
        cells = [[v for v in columns[side] if filled(v)][:LOOKED_AT] for side in ("prompt", "completion")]
        sides = [[cell for cell in side if isinstance(cell, str)] for side in cells]
        return msg("a program and its continuation") if all(looks_like_code(side) for side in sides) else ""

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example whose text is the program up to the gap, and behind it; messages are no programs."""
        fields = {role.name: text_of(values.get(role.name)) for role in self.roles}
        return Example(id, place, paragraphs(fields["prompt"], fields["suffix"]), fields["completion"], fields)

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return the form that continues the bare program. Raises `ModelError` for an encoder."""
        require_writer(kind)
        limits = SandboxLimits(self.seconds, self.megabytes, self.unsafe)
        return Continuation(
            ask=lambda example: str(example.fields["prompt"]),
            answers=tuple(example.gold for example in examples),
            after=lambda example: str(example.fields["suffix"]),
            program=_program,
            trial=Trial(self.samples, self.k, limits) if self.run_tests else None,
        )

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return pass@k first where tests are run, else edit similarity."""
        first = ("pass-at-k",) if self.run_tests else ()
        return (*first, "edit-similarity", "exact-match", "perplexity")

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few programs, with and without a gap and tests."""
        return [
            {"prompt": "def double(x):\n", "completion": "    return 2 * x", "tests": "assert double(3) == 6"},
            {"prompt": "def greet():\n    # поздоровайся\n", "completion": '    print("Привет")'},
            {"prompt": "total = 0\nfor n in numbers:\n", "completion": "    total += n", "suffix": "\nprint(total)"},
            {"prompt": "def is_even(n):\n", "completion": "    return n % 2 == 0",
             "tests": "def check(f):\n    assert f(4)\n    assert not f(3)", "entry_point": "is_even"},
        ]  # fmt: skip


def _program(example: Example, text: str) -> str:
    tests, entry = str(example.fields["tests"]), str(example.fields["entry_point"])
    if not tests.strip():
        return ""
    call = f"\n\ncheck({entry})" if entry.strip() else ""
    return f"{example.fields['prompt']}{text}{example.fields['suffix']}\n\n{tests}{call}\n"
