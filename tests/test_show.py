"""What `show` says of rows that are left out, read in windows, or hold two answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from kamerton.cli.actions.show import run
from kamerton.core.records import Example, Place
from kamerton.data.gate import look
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.labels import Labels
from kamerton.models.load import load_tokenizer
from kamerton.plugins.tasks.preference import Preference
from tiny_engines import facts_of

DIALOGUE = Dialogue(ask=lambda example: example.text, answers=("Paris",))
LABELS = Labels(("bad", "good"))


def examples_of(pairs: Sequence[tuple[str, str]]) -> list[Example]:
    return [Example(i, Place("rows.csv", i + 2), text, gold) for i, (text, gold) in enumerate(pairs)]


ASKED = examples_of(
    [("Name it.", "Paris"), ("Make it polite, and explain why it is right.", "Could you give me that?")]
)


@pytest.mark.parametrize(("too_long", "fate"), [("cut", ""), ("drop", "dropped"), ("refuse", "refused")])
def test_a_row_that_is_left_out_for_its_length_is_shown_so(decoder_folder: Path, too_long, fate):
    writer = load_tokenizer(facts_of(decoder_folder))
    room = len(DIALOGUE.encode(ASKED, writer, 1000)[1].tokens) - 2
    encoded = DIALOGUE.encode(ASKED, writer, room)
    short, long = look(ASKED, encoded, DIALOGUE, writer, room, too_long)
    assert short.warnings == ()
    assert long.cut == 2
    assert tuple(map(str, long.warnings)) == ((f"{fate}: too long by 2 tokens",) if fate else ())


def test_what_is_taught_is_the_text_and_not_its_tokens(decoder_folder: Path):
    writer = load_tokenizer(facts_of(decoder_folder))
    views = look(ASKED, DIALOGUE.encode(ASKED, writer, 1000), DIALOGUE, writer, 1000)
    assert [view.targets for view in views] == [("Paris<|im_end|>",), ("Could you give me that?<|im_end|>",)]


def test_every_window_is_told_and_the_first_two_are_drawn(encoder_folder: Path):
    reader, form = load_tokenizer(facts_of(encoder_folder)), LABELS.with_too_long("window")
    examples = examples_of([("good " * 10 + "bad " * 10 + "good " * 10, "good"), ("good", "good")])
    encoded = form.encode(examples, reader, 12)
    long, short = look(examples, encoded, form, reader, 12, "window")
    windows = encoded[0].sequences
    assert len(windows) > 3 and not long.cut and not long.warnings
    assert [str(one.title) for one in long.sequences] == [
        f"window {n + 1} of {len(windows)}" for n in range(len(windows))
    ]
    assert [one.size for one in long.sequences] == [len(window.tokens) for window in windows]
    assert [bool(one.tokens) for one in long.sequences] == [False, True, *[False] * (len(windows) - 2)]
    assert long.sequences[0].ends == "good good good good … good good good good"
    assert long.sequences[1].targets == ("good",)
    assert short.sequences == ()


def test_both_answers_of_a_preference_are_drawn(decoder_folder: Path):
    writer, task = load_tokenizer(facts_of(decoder_folder)), Preference()
    row = {"prompt": "Name the capital of France.", "chosen": "Paris", "rejected": "London"}
    example = task.example(0, Place("rows.jsonl", 1), row)
    form = task.form("decoder", [example])
    [view] = look([example], form.encode([example], writer, 200), form, writer, 200)
    chosen, rejected = view.sequences
    assert (str(chosen.title), str(rejected.title)) == ("chosen answer", "rejected answer")
    assert view.targets == ("Paris<|im_end|>",)
    assert rejected.targets == ("London<|im_end|>",)
    assert "".join(token.token for token in rejected.tokens if token.trained) == "London<|im_end|>"


def test_what_the_chat_template_drops_is_printed_below_the_rows(
    decoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4", "reasoning_content": "two and two"},
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": turns}) + "\n" for _ in range(3)), encoding="utf-8")
    run(path, 1, {"model.name": str(decoder_folder)}, (), json=False, language="en")
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 row is changed to fit the model's chat template: reasoning removed" in printed
