"""The first use of a stranger's chat templates and tokenizer: in a child process that can be killed.

Templates compute constants while Jinja compiles them, and tokenizers work in Rust: nothing inside a process interrupts
either, so the kernel ends the child after its computing time, and refuses it memory. What behaved is trusted by the
hash of its files, so a machine pays for it once.

python -P -m kamerton.models.first_use FOLDER SECONDS    prints the number of each file before its use
"""

import hashlib
import json
import os
import re
import resource
import signal
import sys
import traceback
from datetime import datetime
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from kamerton.core.children import run_python
from kamerton.core.errors import Fault
from kamerton.core.files import cache_folder, optional, sha256_of, write_text
from kamerton.core.messages import Message, msg, verbatim

FILES = (
    "tokenizer.json", "tokenizer_config.json", "chat_template.json", "*.jinja", "additional_chat_templates/*.jinja",
)  # fmt: skip
SECONDS, SECONDS_PER_BYTE = 2.0, 2.5e-7
"""Computing time, in all and for each byte of the files. Templates of publishers take 0.1 s, vocabularies 5e-8."""
MEMORY, MEMORY_PER_BYTE = 512 << 20, 48
"""Bytes of address space, in all and for each byte of the files. Vocabularies take 19."""
MOST_CHARACTERS = 1_000_000
"""Of a rendered conversation, and of a decoded text."""
MOST_TOKENS, FREE_TOKENS = 20, 1000
"""For each character of a text, and besides."""
REMEDY = msg("use the publisher's own file, or choose another model")
FORBIDDEN = frozenset({"**", "attr", "cycler", "joiner", "lipsum", "mro"})
"""What attacks need and chat templates do not, beside words with `__`."""
GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
"""Tags that transformers adds to the language; they write nothing."""

USER: dict[str, object] = {"role": "user", "content": "Hi"}
ASSISTANT: dict[str, object] = {"role": "assistant", "content": "Привет"}
CALL = {"id": "call00001", "type": "function", "function": {"name": "f", "arguments": {"a": "b"}}}
CONVERSATIONS: tuple[list[dict[str, object]], ...] = (
    [USER],
    [{"role": "system", "content": "Be kind."}, USER, ASSISTANT, USER],
    [USER, {**ASSISTANT, "tool_calls": [CALL]}, {"role": "tool", "content": "c", "tool_call_id": CALL["id"]}],
    [{**USER, "content": "Hello, мир! 😀\n" * 150}, ASSISTANT] * 15,
)
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
SPECIAL = {name: f"<{name}>" for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
EVERY = "".join(map(chr, (*range(1, 0xD800), *range(0xE000, 0x10000))))
"""Characters of two bytes, since a rule may wait for one of them."""
TEXTS = ("Hello, world: 12.5 %\n" * 100, "Привет, мир! 👩🏽😀 " * 100, "a" * 10_000, " " * 10_000, EVERY)


def misbehavior(folder: Path, seconds: float = SECONDS) -> list[Fault]:
    """Return what a model's chat templates or tokenizer did wrong when they were first used."""
    if os.path.exists(_record(folder)):  # noqa: PTH110 (false where it may not be looked for)
        return []
    child = run_python("-m", __name__, str(folder.absolute()), str(seconds))
    if child.returncode == 0:
        trust(folder)
        return []
    used = [_files(folder)[int(number)] for number in child.stdout.split()] or [folder]
    rule = msg("the first use of this file failed: {how}", how=_how(child.returncode, child.stderr.strip()[-300:]))
    return [Fault(rule, str(used[-1]), REMEDY)]


def trust(folder: Path) -> None:
    """Remember the templates and the tokenizer in a folder as those that may be used."""
    with optional():
        write_text(_record(folder), f"{folder}\n")


def _record(folder: Path) -> Path:
    lines = (f"{path.name} {sha256_of(path)}\n" for path in (Path(__file__), *_files(folder)))
    return cache_folder() / "trusted" / hashlib.sha256("".join(lines).encode()).hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for pattern in FILES for path in folder.glob(pattern))


def _how(status: int, error: str) -> Message:
    if status == -signal.SIGPROF:
        return msg("it took too much computing time")
    if status == -signal.SIGABRT or "MemoryError" in error:  # Rust aborts where it gets no memory
        return msg("it took too much memory")
    return verbatim(error or f"status {status}")


# ── in the child ──────────────────────────────────────────────────────────────────────────────


def _use(folder: Path, seconds: float) -> None:
    files = _files(folder)
    size = sum(path.stat().st_size for path in files)
    bounds = (MEMORY + MEMORY_PER_BYTE * size, *resource.getrlimit(resource.RLIMIT_AS))
    resource.setrlimit(resource.RLIMIT_AS, (min(bound for bound in bounds if bound != resource.RLIM_INFINITY),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, seconds + SECONDS_PER_BYTE * size)  # at its end, SIGPROF ends the process
    for number, path in enumerate(files):
        print(number, flush=True)
        if path.name == "tokenizer.json":
            _use_tokenizer(Tokenizer.from_file(str(path)))
        for text in _templates(path):
            _use_template(text)


def _templates(path: Path) -> list[str]:
    if path.suffix == ".jinja":
        return [path.read_text(encoding="utf-8")]
    given = None if path.name == "tokenizer.json" else json.loads(path.read_bytes()).get("chat_template")
    return [one["template"] for one in given] if isinstance(given, list) else [given] if given is not None else []


def _use_template(text: str) -> None:
    """Compile a template in an environment like transformers', except for white space, and render conversations."""
    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = lambda value, ensure_ascii=False, indent=None, separators=None, sort_keys=False: (
        json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    )
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    for line, kind, word in environment.lex(text):
        internal = "__" in (word if kind == "name" else word[1:3] if kind == "string" else "")
        if internal or (word in FORBIDDEN and kind in ("name", "operator")):
            raise TemplateSyntaxError(f"{word[:40]} has no place in a chat template", line)
    template, refused = environment.from_string(GENERATION.sub("", text)), list[Exception]()
    cases = list(product(CONVERSATIONS, (None, [TOOL]), (True, False)))
    for messages, tools, open_end in cases:
        try:
            written = template.render(messages=messages, tools=tools, add_generation_prompt=open_end, **SPECIAL)
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            refused.append(error)  # templates do not expect every conversation
        else:
            _require_at_most(MOST_CHARACTERS, written)
    if len(refused) == len(cases) and type(refused[0]) is not TemplateError:  # not in the template's own words
        raise refused[0]


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _require_at_most(limit: int, written: str | list[int]) -> None:
    if len(written) > limit:
        raise OverflowError(f"it wrote {len(written):,} {'characters' if isinstance(written, str) else 'tokens'}")


def _use_tokenizer(tokenizer: Tokenizer) -> None:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rules = [rule for rule in (tokenizer.normalizer, tokenizer.pre_tokenizer) if rule is not None]
    own = [rule.__getstate__()[:10_000].decode(errors="replace") for rule in rules]  # a rule may wait for its word
    for text, pair in product((*TEXTS, *own), (None, "b")):
        tokens = tokenizer.encode(text, pair).ids
        _require_at_most(MOST_TOKENS * len(text) + FREE_TOKENS, tokens)
        _require_at_most(MOST_CHARACTERS, tokenizer.decode(tokens))


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an exception in one line, with the line of the template."""
    lines = [0, *(frame.lineno for frame in traceback.extract_tb(trace) if frame.filename == "<template>")]
    line, text = (error.lineno, error.message) if isinstance(error, TemplateSyntaxError) else (lines[-1], error)
    print(f"line {line}: " if line else "", kind.__name__, ": ", str(text)[:300], sep="", file=sys.stderr)


if __name__ == "__main__":
    sys.excepthook = _tell
    _use(Path(sys.argv[1]), float(sys.argv[2]))
