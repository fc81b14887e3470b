"""Standard streams, disks and Ctrl-C as the system gives them: one sentence and a status, never a traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from children import Streams
from kamerton.cli.actions.predict import one_line
from kamerton.cli.border import RESUMABLE, Border, work_on
from kamerton.cli.speech import speak
from kamerton.cli.streams import PLAIN
from kamerton.core.errors import RunError
from kamerton.core.files import replacing, write_text
from kamerton.core.ranks import ERROR_FILE, LAUNCHED_AS, RANK, noted_run, read_failure, resume_command
from kamerton.runs.run import Run, require_free
from stories import DONE, INTERRUPTED, MISTAKE, wait_for

FULL = "/dev/full"
needs_full = pytest.mark.skipif(not Path(FULL).exists(), reason="no device that is always full")
ENCODED = ("--model", "encoder", "--method", "head", "--epochs", "1")


def check_one_sentence(ended, *told: str) -> None:
    """A sentence of rule and remedy, and the status of a mistake."""
    assert ended.status == MISTAKE, ended.said
    assert "Traceback" not in ended.err
    assert re.search(r"^kamerton: .+\n(    → .+\n)?\Z", ended.err, re.MULTILINE), ended.said
    assert all(word in ended.err for word in told), ended.said


# ── standard input ────────────────────────────────────────────────────────────────────────────

INPUTS = {
    "cp1251": ("Отличное кино\nСкучно и длинно\n".encode("cp1251"), "cp1251", 2),
    "koi8-r": ("Отличное кино, смотреть всем\n".encode("koi8-r"), "koi8-r", 1),
    "latin letters": (b"Caf\xe9 lamp\nfine\n", "cp1252", 2),
    "utf-16 with a mark": ("fine\nтонко\n".encode("utf-16"), "utf-16", 2),
    "utf-16 without a mark": ("fine\ngood enough\n".encode("utf-16-le"), "utf-16-le", 2),
    "a mark and Windows line ends": ("\ufefffine\r\ngood\r\n".encode(), "", 2),
    "no end of the last line": (b"fine\ngood", "", 2),
    "a NUL": (b"a\0b\nfine\n", "", 2),
    "nothing": (b"", "", 0),
}


@pytest.mark.parametrize("name", INPUTS)
def test_texts_of_any_encoding_are_read_from_standard_input(place, name):
    raw, told, count = INPUTS[name]
    place.run("head")
    ended = place.call("predict", "head", "-", streams=Streams(raw))
    assert ended.status == DONE, ended.said
    assert re.fullmatch(r"((good|bad)\n)*", ended.out), ended.said
    assert ended.out.count("\n") == count
    assert (told in ended.err) and bool(told) == bool(ended.err)


def test_a_damaged_line_gets_an_empty_answer_and_is_named(place):
    place.run("head")
    whole = "тёплый фильм, чудесно и смешно\n".encode() * 20
    ended = place.call("predict", "head", "-", streams=Streams(whole + b"half \xd1\n" + whole))
    lines = ended.out.split("\n")
    assert (ended.status, len(lines), lines[20], lines.count("")) == (DONE, 42, "", 2), ended.said
    assert "input:21: holds the byte 0xd1" in ended.err


@pytest.mark.parametrize(("raw", "told"), [(None, "standard input is closed"), (bytes(range(256)) * 9, "binary")])
def test_standard_input_that_gives_no_texts_is_told(place, raw, told):
    place.run("head")
    check_one_sentence(place.call("predict", "head", "-", streams=Streams(raw)), told)


def test_an_argument_that_is_not_utf_8_is_decoded_as_a_file_is(place):
    place.run("head")
    text = "отлично, чудесно и смешно"
    argument = os.fsdecode(text.encode("cp1251"))
    ended = place.call("predict", "head", argument, "--json")
    assert json.loads(ended.out) == json.loads(place.call("predict", "head", text, "--json").out)


# ── standard output ───────────────────────────────────────────────────────────────────────────


def test_standard_output_that_is_closed_is_told(place):
    check_one_sentence(place.call("models", streams=Streams(stdout=None)), "standard output is closed")


@needs_full
@pytest.mark.parametrize(
    "command",
    [
        ("models",),
        ("models", "--json"),
        ("predict", "head", "a warm film"),
        ("predict", "head", "reviews.csv", "--json"),
        ("evaluate", "head", "reviews.csv"),
        ("audit", "reviews.csv"),
        ("audit", "reviews.csv", "--json"),
        ("show", "reviews.csv", "--model", "encoder"),
        ("report", "head"),
        ("tune", "reviews.csv", *ENCODED, "--out", "untold"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_standard_output_on_a_full_disk_is_told(place, command):
    place.run("head")
    check_one_sentence(place.call(*command, streams=Streams(stdout=FULL)), "standard output: the disk is full")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1251", "cp866"])
def test_signs_that_a_terminal_lacks_are_written_plainly(place, encoding):
    ended = place.call("audit", "reviews.csv", streams=Streams(encoding=encoding))
    assert ended.status == DONE, ended.said
    assert ("->" in ended.out, "Traceback" in ended.err) == (True, False)
    asked = place.call("audit", "reviews.csv", "--language", "ru", "--json", streams=Streams(encoding=encoding))
    assert json.loads(asked.out) == json.loads(place.call("audit", "reviews.csv", "--json").out)


def test_every_plain_sign_is_ascii():
    assert "".join(PLAIN.values()).isascii()


ANSWERS = ("plain", "", "two\nlines", "end\n", "a\rb", "a\u2028b", "\x85", '"quoted"', '"half', r"\frac{\nu}{2}", "a\\")


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_takes_one_line_and_can_be_had_back(answer):
    line = one_line(answer)
    assert len(line.splitlines()) == bool(line)
    try:
        back = json.loads(line)
    except ValueError:
        back = line
    assert (back if isinstance(back, str) else line) == answer
    assert (line == answer) == (answer not in ("two\nlines", "end\n", "a\rb", "a\u2028b", "\x85", '"quoted"'))


# ── disks ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device", "runs/.model.tmp"), "runs/model: the disk is full"),
        (OSError(30, "Read-only file system", "/mnt/.p.html.77.tmp"), "/mnt/p.html: this place is read-only"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "the disk is full"),
        (OSError(122, "Disk quota exceeded"), "quota"),
        (OSError(5, "Input/output error", "x"), "the device reports an error"),
        (OSError(105, "No buffer space available"), "no buffer space available"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(capsys, error, told):
    with pytest.raises(SystemExit) as ended, Border():
        raise error
    assert (ended.value.code, told in capsys.readouterr().err) == (MISTAKE, True)


def test_a_fault_of_the_program_is_none_of_the_system():
    with pytest.raises(ZeroDivisionError), Border():
        1 / 0  # noqa: B018


def test_a_refusal_says_how_the_run_goes_on(capsys, monkeypatch):
    token = RESUMABLE.set(Path("runs/my run"))
    with pytest.raises(SystemExit), Border():
        raise OSError(28, "No space left on device", "x")
    RESUMABLE.reset(token)
    assert '`kamerton resume "runs/my run"` goes on' in capsys.readouterr().err


def test_a_stop_that_a_library_turned_into_an_error_of_its_own_is_a_stop(capsys):
    before = signal.getsignal(signal.SIGINT)
    speak("ru")
    with pytest.raises(SystemExit) as ended, Border():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ImportError("the module failed to import")  # noqa: B904
    signal.signal(signal.SIGINT, before)
    speak("en")
    assert (ended.value.code, capsys.readouterr().err) == (INTERRUPTED, "kamerton: остановлено\n")


@needs_full
def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    target = tmp_path / "page.html"
    with pytest.raises(OSError, match=r"page\.html") as failed, replacing(target) as temporary:
        temporary.symlink_to(FULL)
        temporary.write_text("page")
    assert (failed.value.filename, list(tmp_path.iterdir())) == (str(target), [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_told(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(PermissionError, match=r"page\.html"):
        write_text(tmp_path / "page.html", "page")


def test_a_page_is_never_written_over_a_file_that_is_none(place):
    before = (place.folder / "reviews.csv").read_bytes()
    check_one_sentence(place.call("audit", "reviews.csv", "--out", "reviews.csv"), "is no page")
    check_one_sentence(place.call("audit", "reviews.csv", "--out", "."), "this is a folder")
    assert (place.folder / "reviews.csv").read_bytes() == before


FOREIGN = {
    "a file": {"mine.txt": "mine"},
    "a model": {"model/mine.txt": "precious"},
    "data": {"data/mine.csv": "a,b"},
    "a recipe of the user": {"recipe.yaml": "data: {path: reviews.csv}"},
    "a file beside a run that came to nothing": {".lock": "", "recipe.yaml": "{}", "mine.txt": "mine"},
    "a file among a run's data": {".lock": "", "recipe.yaml": "{}", "data/mine.csv": "a,b"},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_folder_with_files_of_the_user_is_refused_and_stays_as_it_is(place, tmp_path, what):
    out = tmp_path / "own"
    for name, text in FOREIGN[what].items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    check_one_sentence(place.call("tune", "reviews.csv", *ENCODED, "--out", out), "must be new or empty", str(out))
    found = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}
    if ".lock" in found:
        found[".lock"] = found[".lock"].strip()  # blank where nobody holds it
    assert found == FOREIGN[what]


def test_a_folder_is_free_that_is_empty_to_the_user_or_holds_a_run_that_came_to_nothing(place, tmp_path):
    for name in (".DS_Store", "lost+found", ".lock", "recipe.yaml", ".environment.json.7.tmp"):
        (tmp_path / name).touch()
        if name != "recipe.yaml":
            require_free(tmp_path)
    (tmp_path / "recipe.yaml").write_text((place.run("head").path / "recipe.yaml").read_text("utf-8"), encoding="utf-8")
    require_free(tmp_path)
    with pytest.raises(RunError, match="already holds a run"):
        require_free(Run(place.folder / "head").path)


# ── Ctrl-C ────────────────────────────────────────────────────────────────────────────────────


def test_ctrl_c_thrice_while_a_run_is_told_is_one_line(place):
    child = place.start("tune", "reviews.csv", "--model", "encoder", "--epochs", "900", "--out", "thrice")
    events = place.folder / "thrice" / "events.jsonl"
    wait_for(child, lambda: events.exists() and "stepped" in events.read_text("utf-8"))
    for _ in range(3):
        child.kill(signal.SIGINT)
    ended = child.wait()
    assert ended.status == INTERRUPTED, ended.said
    assert ended.err == "kamerton: stopped; what was done is kept, `kamerton resume thrice` goes on\n"


ENDING = """
import signal
from kamerton.cli.interrupts import ignore_interrupts, leave_at_once, stop_properly
{begin}
for _ in range(3):
    signal.raise_signal(signal.SIGINT)
"""
PHASES = {
    "before anything is begun": (
        'leave_at_once("stopped; nothing was started")',
        130,
        "stopped; nothing was started\n",
    ),
    "while the process ends": ("ignore_interrupts()", 0, ""),
    "in the background": ("signal.signal(signal.SIGINT, signal.SIG_IGN); stop_properly()", 0, ""),
}


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_thrice_leaves_no_traceback(phase):
    begin, status, told = PHASES[phase]
    code = ENDING.format(begin=begin)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", told)


def test_a_stop_that_a_destructor_swallowed_comes_again():
    code = """
import signal, sys, time
from kamerton.cli.interrupts import stop_properly
class Last:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
stop_properly()
try:
    Last()
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(7)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (7, "")


def test_a_rank_leaves_why_it_failed_and_its_children_leave_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv(ERROR_FILE, str(tmp_path / "error.json"))
    monkeypatch.setenv(LAUNCHED_AS, "kamerton launch 2 --")
    with pytest.raises(ZeroDivisionError), Border():  # a child of a rank, which has no RANK
        1 / 0  # noqa: B018
    assert read_failure(tmp_path) is None
    monkeypatch.setenv(RANK, "1")
    with pytest.raises(SystemExit) as ended, Border():
        1 / 0  # noqa: B018
    record = read_failure(tmp_path)
    assert (ended.value.code, capsys.readouterr().err) == (MISTAKE, "")
    assert record.text == "ZeroDivisionError: division by zero"
    assert "1 / 0" in record.trace
    run = Path("runs/x")
    work_on(run)
    assert (noted_run(tmp_path), resume_command(run)) == (run, "kamerton launch 2 -- resume runs/x")
    RESUMABLE.set(None)
