"""What `plan`, `tune` and `show` really print with --language ru: whole lines without an English word."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from children import Nursery
from kamerton.core import registry
from stories import ASKED, DONE, MISTAKE, QUICK, USAGE, Place, reviews

FOLDERS = ("bert-tiny", "llama-tiny")
"""The models' names: such as are no words of the program."""
PLUGINS = ("tasks", "methods", "metrics", "optimizers")
NAMES = {"kamerton", "auto", "csv", "json", "jsonl", "utf", "cp", "ascii", "bert", "llama", "tiny", "tab"} | {
    "tf", "idf", "html", "css", "adamw", "lora", "dropout", "weight", "decay", "minilm", "smollm", "macro", "micro",
    "bleu", "rouge", "chrf", "float", "fp", "bf", "gpu", "cpu", "setfit", "glue", "peft",
}  # fmt: skip
"""Formats, models, libraries, values."""
NOT_OURS = re.compile(
    r"`[^`]*`|kamerton \w+"  # what to type
    r"|^[a-z_]+\.[\w.]+ +\S+"  # a setting and its value
    r"|⟦.*|учится: .*"  # what the model gets
    r"|«[^»]*»|'[^']*'"  # what the data says
    r"|--[\w.-]+(?:=\S+)?|\S*[/_=.]\S*[A-Za-z]\S*"  # flags, paths, settings, names of files
    r"|\S*\w-\S*\d\S*|\S*\d\w*-\S*"  # names of models
)
PUBLISHED = re.compile(r"\([^()]*\b(?:19|20)\d\d\b[^()]*\)")
"""Who published it, on however many lines."""
WORD = re.compile(r"[A-Za-z]{3,}")


def english(text: str) -> list[str]:
    """List the lines with an English word that is no name, each with the words."""
    names = sorted((word for folder in PLUGINS for word in registry.names(folder)), key=len, reverse=True)
    plugged = re.compile(rf"(?<![\w-])(?:{'|'.join(names).replace('-', '[- ]')})(?![\w-])")
    found = []
    for line in PUBLISHED.sub(" ", text).splitlines():
        ours = plugged.sub(" ", NOT_OURS.sub(" ", line))
        words = [word for word in WORD.findall(ours) if word.lower() not in NAMES]
        if words:
            found.append(f"{' '.join(words)}: {line.strip()}")
    return found


@pytest.fixture(scope="module")
def here(
    tmp_path_factory: pytest.TempPathFactory, nursery: Nursery, encoder_folder: Path, decoder_folder: Path
) -> Place:
    folder = tmp_path_factory.mktemp("russian")
    for name, model in zip(FOLDERS, (encoder_folder, decoder_folder), strict=True):
        (folder / name).symlink_to(model)
    rows = [f"{text};{label}" for text, label in reviews(70)]
    damaged = [*rows, rows[3], rows[5], ";good", "три;ячейки;тут"]
    (folder / "o.csv").write_bytes("\n".join(["text;label", *damaged]).encode("cp1251", "replace"))
    asked = [{"instruction": ASKED[n % 4].format(n), "output": str(n + n % 4 // 2)} for n in range(48)]
    (folder / "z.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in asked), "utf-8")
    return Place(folder, nursery)


COMMANDS = {
    "plan of classes": ("plan", "o.csv", "--model", "bert-tiny"),
    "plan of answers": ("plan", "z.jsonl", "--model", "llama-tiny"),
    "tune of classes": ("tune", "o.csv", "--model", "bert-tiny", "--epochs", "2", "--out", "a", *QUICK),
    "tune of answers": ("tune", "z.jsonl", "--model", "llama-tiny", "--epochs", "1", "--out", "b", *QUICK),
    "tune with a probed rate": ("tune", "o.csv", "--model", "bert-tiny", "--method", "full", "--epochs", "2",
                                "--out", "c", "--learning-rate", "auto", "--set", "evaluate.resamples=200"),
    "show of classes": ("show", "o.csv", "--model", "bert-tiny", "--rows", "1"),
    "audit": ("audit", "o.csv", "--model", "bert-tiny", "--fix"),
    "a simulated A/B test": ("ab", "--simulate", "20", "--trials", "20"),
}  # fmt: skip
MISTAKES = (
    ("tune", "nowhere.csv"),
    ("tune", "o.csv", "--task", "text-clasification"),
    ("tune", "o.csv", "--method", "lorra"),
    ("tune", "o.csv", "--set", "train.epochs=many", "--set", "train.batch_size=0", "--set", "split.test=2"),
    ("tune", "o.csv", "--epoch", "3"),
    ("tune", "o.csv", "--epochs", "three"),
    ("tunes", "o.csv"),
    ("resume", "nowhere"),
    ("judge", "--evaluate", "z.jsonl"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_of_a_russian_story_holds_an_english_word(here, command):
    ended = here.call(*COMMANDS[command], "--language", "ru")
    assert ended.status == DONE, ended.said
    assert english(ended.out + ended.err) == []


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_a_mistake_is_told_in_russian(here, words):
    ended = here.call(*words, "--language", "ru")
    assert ended.status in (MISTAKE, USAGE), ended.said
    said = re.sub(r"(?:Известны|Использование|Справка): .*", "", ended.err)
    assert said.strip() and english(said) == []


def test_a_plan_writes_values_as_they_are_typed_and_says_nothing_of_writing_where_nothing_is_written(here):
    out = here.call(*COMMANDS["plan of classes"], "--language", "ru").out
    assert re.search(r"^data.columns +text=text,label=label ", out, re.MULTILINE)
    assert "max_new_tokens" not in out and "{" not in out and not re.search(r"(?<!\d)0,0(?!\d)", out)
    assert re.search(r"^evaluate.max_new_tokens +[1-9]", here.call(*COMMANDS["plan of answers"]).out, re.MULTILINE)


def test_an_english_word_among_russian_ones_is_found():
    assert english("✓ аудит severe: 8 строк в o.csv (и ещё 3)\n`kamerton audit` --set a.b=c accuracy 0,5") == [
        "severe: ✓ аудит severe: 8 строк в o.csv (и ещё 3)"
    ]
