"""The untuned model asked in its best ways."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kamerton.contenders.prompting import Nearest, Prompting, PromptStrategy, selection_message
from kamerton.core.records import Encoded, Example, Place, Split
from kamerton.forms.conversation import Conversation
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.labels import Labels
from kamerton.runs.run import Run
from kamerton.runs.settings import PromptSettings
from stories import DONE, QUICK
from tiny_engines import HEAD, TEXT, tiny_engine

FORM = Dialogue(ask=lambda example: f"{example.text}: good or bad?", choices=("bad", "good"))
WRITTEN = Dialogue(ask=lambda example: example.text, answers=("Paris", "Rome"))


def rows(count: int, start: int = 0) -> tuple[Example, ...]:
    words = ("warm film", "dull film", "funny plot", "slow plot")
    return tuple(
        Example(i, Place("f", i + 1), f"{words[i % 4]} {i}", ("good", "bad")[i % 2])
        for i in range(start, start + count)
    )


SPLIT = Split(rows(24), rows(20, 100), rows(8, 200))


def made(told: Generator[Any, None, list[PromptStrategy]]) -> list[PromptStrategy]:
    while True:
        try:
            next(told)
        except StopIteration as end:
            strategies: list[PromptStrategy] = end.value
            return strategies


@pytest.fixture(scope="module")
def decoder(decoder_folder: Path):
    return tiny_engine(decoder_folder, TEXT, [Encoded((5, 6, 7, 8), (2,), (8,)), Encoded((5, 9), (0,), (9,))])


def prompting(engine, form=FORM, split=SPLIT, shots: int = 2, score=None, **settings: object) -> Prompting:
    share = score or (lambda rows, given: sum(p.text == e.gold for e, p in zip(rows, given, strict=True)) / len(rows))
    return Prompting(form, engine, split, PromptSettings(**settings), shots, share, 0)


def test_a_decoder_is_asked_in_all_ways_and_each_answers_every_row(decoder):
    strategies = made(prompting(decoder, text="Judge the film.").strategies())
    assert [strategy.name for strategy in strategies] == [
        "base model",
        "base model with your prompt",
        "base model shown 2 examples, the best of 3 draws",
        "base model shown the nearest 2",
        "base model + best of 4 instructions",
    ]
    for strategy in strategies:
        predictions = strategy.predict(SPLIT.test)
        assert [p.id for p in predictions] == [example.id for example in SPLIT.test]
        assert {p.text for p in predictions} <= set(FORM.choices)


def test_the_draw_is_the_one_that_validation_rows_prefer(decoder):
    seen = []

    def score(examples, predictions):
        assert {example.id for example in examples} <= {example.id for example in SPLIT.validation}
        seen.append(len(seen))
        return float(len(seen) == 2)  # the second draw is best

    [_, strategy] = made(prompting(decoder, nearest=False, search=False, score=score).strategies())
    second = FORM.shots(SPLIT.train, 2, 1)
    wanted = FORM.predict_untuned(decoder, SPLIT.test, second)
    assert [p.loss for p in strategy.predict(SPLIT.test)] == [p.loss for p in wanted]


def test_where_answers_are_written_the_loss_of_the_true_ones_chooses_and_nothing_is_written(decoder, monkeypatch):
    """One draw and no instruction were taken there, since writing is slow: but reading the true answers is not."""
    monkeypatch.setattr(type(decoder), "generate", partial(pytest.fail, "nothing was to be written"))
    never = partial(pytest.fail, "no metric has a value where nothing is written")
    strategies = made(prompting(decoder, form=WRITTEN, score=never).strategies())
    assert [strategy.name for strategy in strategies] == [
        "base model",
        "base model shown 2 examples, the best of 3 draws",
        "base model shown the nearest 2",
        "base model + best of 4 instructions",
    ]
    monkeypatch.undo()
    draws = [WRITTEN.shots(SPLIT.train, 2, seed) for seed in range(3)]
    losses = [sum(p.loss for p in WRITTEN.predict_untuned(decoder, SPLIT.validation, draw)) for draw in draws]
    best = WRITTEN.predict_untuned(decoder, SPLIT.test, draws[losses.index(min(losses))])
    assert [p.loss for p in strategies[1].predict(SPLIT.test)] == pytest.approx([p.loss for p in best])


def test_what_choosing_took_is_counted_and_kept_within_the_budget(decoder):
    strategies = made(prompting(decoder, form=WRITTEN).strategies())
    shown, told = strategies[1].selection, strategies[3].selection
    assert (shown.ways, shown.rows, shown.calls) == (3, 20, 60)
    assert (told.ways, told.rows, told.calls) == (4, 20, 80)
    assert shown.tokens > 60 and told.tokens > 80 and shown.seconds > 0
    assert strategies[0].selection.ways == strategies[2].selection.ways == 0
    assert "3 on 20 validation rows by 60 calls" in str(selection_message(shown))
    tight = made(prompting(decoder, form=WRITTEN, budget=shown.tokens // 2).strategies())[1].selection
    assert tight.rows == 8 and tight.tokens <= shown.tokens // 2
    assert made(prompting(decoder, form=WRITTEN, budget=1).strategies())[1].selection.rows == 8  # the least there is


def test_the_instructions_are_in_the_language_of_the_rows(decoder):
    seen = []

    class Told(Dialogue):
        def with_instruction(self, text):
            seen.append(text)
            return super().with_instruction(text)

    russian = tuple(Example(i, Place("f", i), f"Тёплый и смешной фильм {i}", "Paris") for i in range(20))
    made(
        prompting(
            decoder, form=Told(ask=WRITTEN.ask, answers=WRITTEN.answers), split=Split(russian, russian, ())
        ).strategies()
    )
    assert "Будь точен: верен самый определённый из подходящих ответов." in seen


def test_nothing_is_chosen_where_validation_rows_are_few(decoder):
    never = partial(pytest.fail, "nothing was to be chosen")
    few = Split(SPLIT.train, SPLIT.validation[:4], SPLIT.test)
    for form in (FORM, WRITTEN):
        strategies = made(prompting(decoder, form=form, split=few, score=never).strategies())
        assert [strategy.name for strategy in strategies] == [
            "base model",
            "base model shown 2 examples",
            "base model shown the nearest 2",
        ]


def talk(i: int) -> Example:
    messages = [{"role": "user", "content": f"Name a city, {i}."}, {"role": "assistant", "content": "Paris"}]
    return Example(i, Place("f", i), f"Name a city, {i}.", "Paris", {"messages": messages})


def test_a_conversation_is_shown_and_told_as_well_and_its_answers_are_judged_after_what_it_was_shown(decoder):
    form = Conversation("assistant", ("Paris",))
    talks = [talk(i) for i in range(40)]
    split = Split(tuple(talks[:16]), tuple(talks[16:32]), tuple(talks[32:]))
    strategies = made(prompting(decoder, form=form, split=split, shots=1).strategies())
    assert [strategy.selection.ways for strategy in strategies] == [0, 3, 0, 4]
    plain, shown = (strategy.predict(split.test) for strategy in strategies[:2])
    assert [p.tokens for p in plain] == [p.tokens for p in shown]
    assert [p.loss for p in plain] != [p.loss for p in shown]
    told = form.with_instruction("Be brief.")
    [prompt] = told.prompts(split.test[:1], decoder.tokenizer, 256)
    assert "Be brief.\n\nName a city, 32." in decoder.tokenizer.decode(prompt.tokens)


def test_the_selection_of_each_contender_is_told_and_stands_in_the_result(place):
    few = ("--epochs", "2", "--set", "split.validation=0.3", "--set", "evaluate.forgetting=off")
    ended = place.call(
        "tune", "answers.jsonl", "--model", "decoder", "--method", "lora", *few, *QUICK, "--out", "chosen"
    )
    assert ended.status == DONE, ended.said
    assert "chosen from 3 on 1" in ended.said and "chosen from 4 on 1" in ended.said
    contenders = Run(place.folder / "chosen").result["contenders"]
    assert sum("best of" in one["name"] for one in contenders) == 2
    for one in contenders:
        chosen = one["selection"]
        if "best of" in one["name"]:
            assert chosen["calls"] == chosen["ways"] * chosen["rows"] and chosen["tokens"] > 0 < chosen["seconds"]
        elif one["kind"] == "tuned":
            assert chosen["ways"] > 1 and chosen["calls"] > chosen["ways"]
        else:
            assert (chosen["ways"], chosen["calls"], chosen["tokens"]) == (0, 0, 0)


def test_an_encoder_takes_examples_and_no_words(encoder_folder):
    engine = tiny_engine(encoder_folder, HEAD, [Encoded((2, 7, 3), (0,), (0,)), Encoded((2, 3), (0,), (1,))], classes=2)
    names = [
        strategy.name
        for strategy in made(prompting(engine, form=Labels(("bad", "good")), text="x", draws=1).strategies())
    ]
    assert names == ["base model", "base model shown 4 examples"]


def test_the_nearest_example_stands_next_to_the_request():
    nearest = Nearest(SPLIT.train, 3)
    shown = nearest.of(Example(9, Place("f", 1), "a funny plot", ""))
    assert [example.text.split()[0] for example in shown] == ["funny"] * 3
    assert nearest.of(SPLIT.train[0])[-1] == SPLIT.train[0]


@pytest.mark.parametrize("form", [FORM, WRITTEN], ids=["chosen", "written"])
def test_rows_with_examples_of_their_own_are_answered_side_by_side_as_one_by_one(decoder, form):
    nearest = Nearest(SPLIT.train, 2)
    together = nearest.predict(form, decoder, SPLIT.test)
    alone = [form.predict_untuned(decoder, [example], nearest.of(example))[0] for example in SPLIT.test]
    assert [(p.id, p.text) for p in together] == [(p.id, p.text) for p in alone]
    assert [p.loss for p in together] == pytest.approx([p.loss for p in alone], rel=1e-4)
