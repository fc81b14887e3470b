"""What job files have in common: settings, templates of bash, and checks."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Annotated

from jinja2 import Environment, StrictUndefined
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from kamerton.core.errors import Unusable
from kamerton.core.launching import ClusterJob
from kamerton.core.messages import Message, Wording, msg

VARIABLE = re.compile(r"[A-Za-z_]\w*")
BEGIN = """\
{% if job.begins %}
if [ -e {{ job.run | quote }}/recipe.yaml ]; then  # it has begun: go on from its last checkpoint
  set -- {{ job.resume | words }}
else
  set -- {{ job.command | words }}
fi
{% else %}
set -- {{ job.command | words }}
{% endif %}
"""
"""Sets the positional parameters to what is to be done."""
END_OF = """\
# Wait for a process, and return its exit status. bash forgets the status where a signal interrupts its `wait`.
end_of() {
  while kill -0 "$1" 2>/dev/null; do sleep 0.2; done
  wait "$1"
}

"""
AGAIN = """\
# 0 is done. 1, 2 and 3 would come again: a mistake, wrong usage, a demanded verdict that was not reached.
# 130 was stopped, and has saved a checkpoint. Above it, a process was killed: out of memory, a broken machine.
"""
"""What the exit statuses of `kamerton launch` mean, as comments."""


def formed(pattern: str, wanted: Message) -> AfterValidator:
    """Return a validator of texts that match a pattern as a whole; `wanted` names them to the user."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise Unusable(msg("{wanted} is wanted", wanted=wanted))
        return text

    return AfterValidator(check)


Gpus = Annotated[str, formed(r"([A-Za-z0-9][\w.-]*:)?[1-9]\d*", msg("a kind and a number such as h100:8"))]


def lines_of(value: object) -> object:
    """Return the lines of a text; anything else as it is."""
    return value.splitlines() if isinstance(value, str) else value


class Shared(BaseModel):
    """Settings of every launcher."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: Gpus | None = Field(None, description="GPUs of each machine: h100:8, or 8 of any kind.")
    setup: tuple[str, ...] = Field((), description="Lines of bash that prepare a machine: activate an environment.")
    environment: Mapping[str, str] = Field({}, description="Environment variables of the processes.")
    retries: int = Field(3, ge=0, description="How often the job goes on after a process was killed.")

    @field_validator("setup", mode="before")
    @classmethod
    def _lines(cls, setup: object) -> object:
        return lines_of(setup)

    @field_validator("environment")
    @classmethod
    def _named(cls, environment: Mapping[str, str]) -> Mapping[str, str]:
        if wrong := [name for name in environment if not VARIABLE.fullmatch(name)]:
            raise Unusable(msg("'{name}' is no name of an environment variable", name=wrong[0]))
        return environment

    def render(self, template: str, job: ClusterJob, others: Mapping[str, object]) -> str:
        """Fill a template with the job, these settings and other values.

        Raises:
            Unusable: a machine's GPUs are not as many as its processes.
        """
        if self.gpus and int(self.gpus.rpartition(":")[2]) != job.processes:
            rule = "each process trains on a GPU of its own: {processes} processes do not fit gpus={gpus}"
            raise Unusable(msg(rule, processes=job.processes, gpus=self.gpus))
        prepare = [*self.setup, *(f"export {name}={shlex.quote(one)}" for name, one in self.environment.items())]
        values = {"job": job, "settings": self, "prepare": prepare, "again": AGAIN, "end_of": END_OF, **others}
        return _filled(template, {**values, "begin": _filled(BEGIN, {"job": job})})


def _filled(template: str, values: Mapping[str, object]) -> str:
    jinja = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    jinja.filters |= {"quote": shlex.quote, "words": shlex.join, "literal": _literal}
    return jinja.from_string(template).render(values)


def _literal(value: object) -> str:
    """Return texts, and lists and mappings of them, as Python has them in a source file."""
    return json.dumps(value, ensure_ascii=False)


def check_bash(script: str) -> Wording:
    """Check the syntax of a script, where there is a bash; return how it was checked.

    Raises:
        Unusable: with what bash says.
    """
    if ran(["bash", "-n"], script):
        return msg("its syntax was checked by bash")
    return msg("not checked: there is no bash here")


def ran(words: Sequence[str], script: str = "") -> bool:
    """Run a program that checks something; return whether it is here. Raises `Unusable` with what it says."""
    if shutil.which(words[0]) is None:
        return False
    done = subprocess.run(words, input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise Unusable(msg("{program} refuses it: {said}", program=words[0], said=said))
    return True
