"""What must not be trained on is caught before training, and what is shown is what is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from kamerton.core.contracts import Form
from kamerton.core.errors import DataError
from kamerton.core.records import Encoded, Example, Place
from kamerton.data.gate import Passed, faults_of, look, pass_gate
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.labels import Labels
from kamerton.models.load import load_tokenizer
from tiny_engines import facts_of

ROOM = 128
PAIRS = (
    ("Name the capital of France.", "Paris"),
    ("Назови столицу России.", "Москва"),
    ("Make it polite: give me that.", "Could you give me that, please?"),
    ("Переведи на русский: good morning", "доброе утро"),
    ("Say nothing at all, then say it again, and explain why it is right: " * 3, "good"),
)
DIALOGUE = Dialogue(ask=lambda example: example.text, answers=tuple(gold for _, gold in PAIRS))
LABELS = Labels(("bad", "good"))


def examples_of(pairs: Sequence[tuple[str, str]]) -> list[Example]:
    return [Example(i, Place("rows.csv", i + 2), text, gold) for i, (text, gold) in enumerate(pairs)]


EXAMPLES = examples_of(PAIRS)
REVIEWS = examples_of([("A warm film.", "good"), ("Верните мне эти два часа.", "bad"), ("Hm.", "unknown")])


@pytest.fixture
def writer(decoder_folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that writes."""
    return load_tokenizer(facts_of(decoder_folder))


@pytest.fixture
def reader(encoder_folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that reads."""
    return load_tokenizer(facts_of(encoder_folder))


def gate(
    tokenizer: PreTrainedTokenizerBase,
    encoded: Sequence[Encoded] | None = None,
    *,
    form: Form = DIALOGUE,
    examples: Sequence[Example] = EXAMPLES,
    max_tokens: int = ROOM,
    too_long: str = "cut",
) -> Passed:
    items = form.encode(examples, tokenizer, max_tokens) if encoded is None else encoded
    return pass_gate(examples, items, form, tokenizer, too_long)


# ── what passes ───────────────────────────────────────────────────────────────────────────────


def test_good_rows_pass_untouched(writer, reader):
    assert gate(writer) == Passed(tuple(EXAMPLES), (), ())
    assert gate(reader, form=LABELS, examples=REVIEWS[:2]) == Passed(tuple(REVIEWS[:2]), (), ())


@pytest.mark.parametrize("ending", ["", "<|im_end|>", "<|im_end|>\n", " And over.<|im_end|>\n"])
def test_the_end_token_is_trained_whatever_the_template_writes_at_the_end(writer, ending):
    """A template that drops it, writes it, or writes more after it: exactly one is taught, and last."""
    turn = "{% if m['role'] == 'user' %}<|im_start|>{{ m['content'] }}{% else %}{{ m['content'] }}" + ending
    writer.chat_template = "{% for m in messages %}" + turn + "{% endif %}{% endfor %}"
    for item in DIALOGUE.encode(EXAMPLES, writer, ROOM):
        assert item.targets[-1] == writer.eos_token_id
        assert item.targets.count(writer.eos_token_id) == 1
    assert len(gate(writer).examples) == len(EXAMPLES)


# ── what does not ─────────────────────────────────────────────────────────────────────────────


def reasons(tokenizer: PreTrainedTokenizerBase, item: Encoded, form: Form = DIALOGUE) -> str:
    """Say what the gate says of the first example when it is encoded like this."""
    [prompt] = form.prompts(EXAMPLES[:1], tokenizer, ROOM)
    return str(faults_of(item, prompt, form, tokenizer))


@pytest.fixture
def good(writer) -> Encoded:
    """The first example as it should be."""
    [item] = DIALOGUE.encode(EXAMPLES[:1], writer, ROOM)
    assert not reasons(writer, item)
    return item


def test_an_answer_that_was_cut_away_is_caught(writer):
    [item] = DIALOGUE.encode(EXAMPLES[:1], writer, 1)
    assert "cut away" in reasons(writer, item)


def test_an_unknown_class_is_caught(reader):
    passed = gate(reader, form=LABELS, examples=REVIEWS)
    assert [example.id for example in passed.examples] == [0, 1]
    [entry] = passed.dropped
    assert (entry.id, entry.fate, str(entry.place)) == (2, "dropped", "rows.csv:4")
    assert "not known" in str(entry.reason)


def test_an_end_token_that_is_masked_is_caught(writer, good):
    masked = replace(good, output_positions=good.output_positions[:-1], targets=good.targets[:-1])
    assert "would not learn to stop" in reasons(writer, masked)


def test_an_end_token_that_is_missing_is_caught(writer, good):
    missing = Encoded(good.tokens[:-1], good.output_positions[:-1], good.targets[:-1])
    assert "would not learn to stop" in reasons(writer, missing)


def test_an_answer_cut_for_its_length_may_lack_the_end(writer, good):
    [item] = DIALOGUE.encode(EXAMPLES[:1], writer, len(good.tokens) - 1)
    assert item.cut == 1
    assert not reasons(writer, item)


def test_two_beginning_tokens_are_caught(writer):
    """As they come about when a template writes one and the tokenizer another."""
    writer.chat_template = "{{ bos_token }}" + writer.chat_template
    with pytest.raises(DataError, match="two beginning tokens"):
        gate(writer)


def test_one_beginning_token_is_none_too_many(writer, good):
    assert good.tokens[0] == writer.bos_token_id
    assert good.tokens[1] != writer.bos_token_id


def test_a_prompt_that_differs_from_servings_is_caught(writer, good):
    other = replace(good, tokens=(good.tokens[0], good.tokens[1] + 1, *good.tokens[2:]))
    assert "training and in serving" in reasons(writer, other)
    lengthened = replace(
        good,
        tokens=(*good.tokens[: good.output_positions[0]], 77, *good.tokens[good.output_positions[0] :]),
        output_positions=tuple(read + 1 for read in good.output_positions),
    )
    assert "training and in serving" in reasons(writer, lengthened)


@pytest.mark.parametrize("shift", [-1, 1])
def test_targets_beside_their_tokens_are_caught(writer, good, shift):
    moved = replace(good, targets=(*good.targets[shift:], *good.targets[:shift]))
    assert "not the answer's" in reasons(writer, moved)


def test_no_row_at_all_stops_with_all_reasons_and_their_counts(writer):
    encoded = DIALOGUE.encode(EXAMPLES, writer, ROOM)
    spoilt = [replace(item, output_positions=(), targets=()) for item in encoded[:3]]
    spoilt += [
        replace(item, output_positions=item.output_positions[:-1], targets=item.targets[:-1]) for item in encoded[3:]
    ]
    with pytest.raises(DataError) as told:
        gate(writer, spoilt)
    most, other = told.value.faults
    assert "(3 rows)" in str(most.rule)
    assert "cut away" in str(most.rule)
    assert most.place == "rows.csv:2"
    assert "(2 rows)" in str(other.rule)
    assert "learn to stop" in str(other.rule)
    assert other.place == "rows.csv:5"
    assert "kamerton show" in str(other.remedy)


def test_bad_rows_are_dropped_and_the_rest_passes(writer):
    encoded = DIALOGUE.encode(EXAMPLES, writer, ROOM)
    encoded[1] = replace(encoded[1], output_positions=(), targets=())
    passed = gate(writer, encoded)
    assert [example.id for example in passed.examples] == [0, 2, 3, 4]
    assert [(entry.id, entry.fate) for entry in passed.dropped] == [(1, "dropped")]


# ── too long ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def tight(writer) -> int:
    """A room into which the third example does not fit whole, nor the last one's prompt by itself."""
    lengths = [len(item.tokens) for item in DIALOGUE.encode(EXAMPLES, writer, 10_000)]
    assert lengths[4] > lengths[2] + 10 > max(lengths[0], lengths[1], lengths[3]) + 10
    return lengths[2] - 2


def test_cut_rows_are_kept_and_told(writer, tight):
    passed = gate(writer, max_tokens=tight)
    assert [example.id for example in passed.examples] == [0, 1, 2, 3, 4]  # the last one's answer is not lost
    assert [(entry.id, entry.fate) for entry in passed.cut] == [(2, "cut"), (4, "cut")]
    assert str(passed.cut[0].reason) == "too long by 2 tokens"
    assert not passed.dropped


def test_long_rows_are_dropped_if_asked(writer, tight):
    passed = gate(writer, max_tokens=tight, too_long="drop")
    assert [example.id for example in passed.examples] == [0, 1, 3]
    assert not passed.cut
    assert [entry.id for entry in passed.dropped] == [2, 4]
    assert str(passed.dropped[0].reason) == "too long by 2 tokens"


def test_long_rows_are_refused_if_asked(writer, tight):
    with pytest.raises(DataError) as told:
        gate(writer, max_tokens=tight, too_long="refuse")
    assert {fault.place for fault in told.value.faults} == {"rows.csv:4", "rows.csv:6"}
    assert all("data.too_long" in str(fault.remedy) for fault in told.value.faults)


def test_nothing_is_refused_where_all_fits(writer):
    assert len(gate(writer, too_long="refuse").examples) == len(EXAMPLES)


# ── what is shown ─────────────────────────────────────────────────────────────────────────────


def test_exactly_the_answer_and_the_end_are_shown_as_trained(writer):
    encoded = DIALOGUE.encode(EXAMPLES, writer, ROOM)
    for view, example, item in zip(look(EXAMPLES, encoded, DIALOGUE, writer, ROOM), EXAMPLES, encoded, strict=True):
        trained = [token for token, seen in zip(item.tokens, view.tokens, strict=True) if seen.trained]
        assert writer.decode(trained) == f"{example.gold}{writer.eos_token}"
        flags = [seen.trained for seen in view.tokens]
        assert flags == sorted(flags)
        assert view.place == example.place
        assert not view.warnings


def test_the_one_token_that_a_class_is_read_at_is_shown_as_trained(reader):
    encoded = LABELS.encode(REVIEWS, reader, ROOM)
    views = look(REVIEWS, encoded, LABELS, reader, ROOM)
    assert [[i for i, token in enumerate(view.tokens) if token.trained] for view in views] == [[0], [0], []]
    assert [view.targets for view in views] == [("good",), ("bad",), ()]
    assert views[0].tokens[0].token == "[CLS]"
    assert "not known" in str(views[2].warnings[0])


def test_tokens_are_shown_as_they_are_written(writer):
    """Also letters that are parted into bytes, as all of a script that the tokenizer does not know."""
    examples = [*EXAMPLES, *examples_of([("Ѣ и ѫ, 日本 🙂?", "ⱁ 🙂")])]
    encoded = DIALOGUE.encode(examples, writer, ROOM)
    for view, item in zip(look(examples, encoded, DIALOGUE, writer, ROOM), encoded, strict=True):
        assert "".join(token.token for token in view.tokens) == writer.decode(item.tokens)
        assert "".join(view.targets) == writer.decode(item.targets)


def test_a_letter_that_was_cut_in_two_is_shown_as_broken(writer):
    examples = examples_of([("Hm?", "日")])
    [whole] = DIALOGUE.encode(examples, writer, ROOM)
    [cut] = encoded = DIALOGUE.encode(examples, writer, 3)
    assert 0 < len(cut.targets) < len(whole.targets) - 1
    [view] = look(examples, encoded, DIALOGUE, writer, ROOM)
    assert "".join(view.targets) == "\ufffd" * len(cut.targets)


def test_what_was_cut_and_what_is_wrong_is_shown(writer, tight):
    encoded = DIALOGUE.encode(EXAMPLES, writer, tight)
    views = look(EXAMPLES, encoded, DIALOGUE, writer, tight)
    assert [view.cut > 0 for view in views] == [False, False, True, False, True]
    assert not any(view.warnings for view in views)
    [gone] = DIALOGUE.encode(EXAMPLES[:1], writer, 1)
    [view] = look(EXAMPLES[:1], [gone], DIALOGUE, writer, 1)
    assert "cut away" in str(view.warnings[0])
