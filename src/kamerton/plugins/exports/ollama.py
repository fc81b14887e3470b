"""What Ollama takes: one GGUF file and a Modelfile with template, parameters and licence."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from jinja2 import TemplateError

from kamerton.core.contracts import Tokenizer
from kamerton.core.errors import Unusable
from kamerton.core.exporting import ExportProof, Original, Tuned
from kamerton.core.messages import Wording, msg
from kamerton.forms.templates import abilities_of
from kamerton.models.published import catalogue
from kamerton.plugins.exports._gguf import FILE, GgufExport
from kamerton.plugins.exports._llama_cpp import conversations
from kamerton.plugins.exports._shared import differing

MODELFILE, NAME = "Modelfile", "tuned"
SYSTEM, ASKED, SAID, AGAIN = "qzsystem", "qzasked", "qzsaid", "qzagain"
QUOTES = '"""'
WITHOUT = msg("its chat template cannot be written in Ollama's language; use --to gguf, with llama.cpp's server")
MARKS = {
    "opening": "{{ if not .System }}",
    "system_start": '{{ end }}{{ range .Messages }}{{ if eq .Role "system" }}',
    "system_end": "{{ .Content }}",
    "user_start": '{{ else if eq .Role "user" }}',
    "user_end": "{{ .Content }}",
    "assistant_end": "{{ else }}{{ .Content }}",
    "": "{{ end }}{{ end }}",
}
"""What stands before each text of a template in Go's text/template, as Ollama reads it; the last ends it."""


class Ollama(GgufExport):
    """Write a GGUF file and a Modelfile, with the chat template in Ollama's language, parameters and licence.

    The file is proven in llama.cpp, on which Ollama stands; the template is read back and must render as the run's.
    """

    def refuses(self, tuned: Tuned) -> Wording:
        """Refuse what llama.cpp refuses, and chat templates that are more than texts around turns."""
        return super().refuses(tuned) or ("" if _written(tuned.tokenizer) is not None else WITHOUT)

    def write(self, tuned: Tuned, folder: Path) -> Sequence[str]:
        """Write the GGUF file and the Modelfile."""
        super().write(tuned, folder)
        lines = [f"FROM ./{FILE}", f"TEMPLATE {QUOTES}{_written(tuned.tokenizer) or ''}{QUOTES}",
                 "PARAMETER temperature 0", f"PARAMETER num_ctx {tuned.facts.context}"]  # fmt: skip
        if tuned.tokenizer.eos_token:
            lines.append(f'PARAMETER stop "{tuned.tokenizer.eos_token}"')
        lines.append(_licence(tuned))
        (folder / MODELFILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return [f"ollama create {NAME} -f {MODELFILE}", f"ollama run {NAME}"]

    def prove(self, original: Original, folder: Path) -> ExportProof:
        """Require of the Modelfile the run's own prompts, and prove the GGUF file in llama.cpp."""
        template = read_template((folder / MODELFILE).read_text(encoding="utf-8"))
        for messages, _ in conversations(original) if template else ():
            if template and template.render(messages) != _rendered(original.tokenizer, messages):
                raise differing(msg("the Modelfile's template writes another prompt"))
        return super().prove(original, folder)


@dataclass(frozen=True)
class Template:
    """Texts around the turns of a conversation; what ends a user's turn begins the assistant's."""

    opening: str
    """Before a conversation without a system prompt: some templates have one of their own."""
    system_start: str
    system_end: str
    user_start: str
    user_end: str
    assistant_end: str

    def go(self) -> str:
        """Write it in Go's text/template."""
        return "".join(mark + vars(self).get(name, "") for name, mark in MARKS.items())

    @classmethod
    def of_go(cls, text: str) -> Self | None:
        """Read what `go` wrote; None if it is another template."""
        parts, name = dict[str, str](), ""
        for following, mark in MARKS.items():
            parts[name], found, text = text.partition(mark)
            if not found:
                return None
            name = following
        return None if text or parts.pop("") else cls(**parts)

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Render a conversation as Ollama does."""
        around = {"system": (self.system_start, self.system_end), "user": (self.user_start, self.user_end)}
        opening = "" if any(one["role"] == "system" for one in messages) else self.opening
        ends = "", self.assistant_end
        parts = ((around.get(one["role"], ends), one["content"]) for one in messages)
        return opening + "".join(f"{start}{text}{end}" for (start, end), text in parts)


def read_template(modelfile: str) -> Template | None:
    """Read the template of a Modelfile; None if it passes prompts on as they are.

    Raises:
        Unusable: it is another one than is written here.
    """
    found = re.search(rf"^TEMPLATE {QUOTES}(.*?){QUOTES}$", modelfile, re.DOTALL | re.MULTILINE)
    text = found[1] if found else ""
    if text == "{{ .Prompt }}":
        return None
    template = Template.of_go(text)
    if template is None:
        raise Unusable(msg("the Modelfile's template cannot be read"))
    return template


def _written(tokenizer: Tokenizer) -> str | None:
    """Return a chat template in Ollama's language; None if it is more than texts around turns."""
    if not tokenizer.chat_template:
        return "{{ .Prompt }}"
    template = template_of(tokenizer)
    text = template.go() if template else ""
    return text if template and Template.of_go(text) == template and QUOTES not in text else None


def template_of(tokenizer: Tokenizer) -> Template | None:
    """Find the texts around turns in what a chat template renders; None if they do not render what it does."""
    asked, said = {"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}
    told, again = {"role": "system", "content": SYSTEM}, {"role": "user", "content": AGAIN}
    try:
        plain = _rendered(tokenizer, [asked, said, again])
        begin, between, ending, _ = re.split(f"{ASKED}|{SAID}|{AGAIN}", plain)
        user_start = _common_end(begin, ending)
        assistant_end, opening = ending.removesuffix(user_start), begin.removesuffix(user_start)
        system = "", ""
        if abilities_of(tokenizer).system:
            system_start, system_end, _ = re.split(f"{SYSTEM}|{ASKED}", _rendered(tokenizer, [told, asked]))
            system = system_start, system_end.removesuffix(user_start)
        template = Template(opening, *system, user_start, between, assistant_end)
        tries = [[asked], [asked, said, again], *([[told, asked, said, again], [told, again]] if any(system) else [])]
        same = all(template.render(messages) == _rendered(tokenizer, messages) for messages in tries)
    except (TemplateError, ValueError):
        return None
    return template if same else None


def _rendered(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]]) -> str:
    """Render a conversation without the beginning token, which the server puts before it."""
    text = str(tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False))
    return text.removeprefix(tokenizer.bos_token or "")


def _common_end(one: str, other: str) -> str:
    most = min(len(one), len(other))
    return next(one[at:] for at in range(len(one) - most, len(one) + 1) if other.endswith(one[at:]))


def _licence(tuned: Tuned) -> str:
    """Return the base model's licence as a line of the Modelfile, or that it is not known."""
    for path in sorted(Path(tuned.facts.folder).glob("LICEN[CS]E*")):
        return f"LICENSE {QUOTES}{path.read_text(encoding='utf-8', errors='replace').replace(QUOTES, '')}{QUOTES}"
    named = [one.licence for one in catalogue().models if one.name == tuned.facts.name]
    return f'LICENSE "{named[0]}"' if named else "# The base model's licence is not known."
