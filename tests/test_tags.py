"""Tagged words: metrics against seqeval, every way of writing tags down, and the form that reads words."""

from __future__ import annotations

import itertools
import json
import random
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score
from transformers import AutoTokenizer

from kamerton.contenders.baselines import baselines
from kamerton.core.contracts import Metric
from kamerton.core.records import Example, Place, Prediction
from kamerton.forms.tagging import best_path
from kamerton.models.load import load_model
from kamerton.plugins.metrics.macro_span_f1 import MacroSpanF1
from kamerton.plugins.metrics.span_f1 import SpanF1
from kamerton.plugins.metrics.token_accuracy import TokenAccuracy
from kamerton.plugins.tasks.token_classification import TokenClassification
from kamerton.text.tags import in_iob2, read_list, spans, tagged, write_tags
from tiny_engines import facts_of, tiny_engine

TAGS = ("O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-организация", "I-организация")
TASK = TokenClassification()
Rows = list[list[str]]


def score(metric: Metric, golds: Rows, given: Rows) -> float:
    predictions = [Prediction(i, write_tags(tags)) for i, tags in enumerate(given)]
    return float(metric.value(metric.statistics([write_tags(tags) for tags in golds], predictions).sum(axis=0)))


def rows(seed: int) -> tuple[Rows, Rows]:
    """Draw tags without regard to order, so that many sequences are broken; half of the answers are nearly right."""
    chance = random.Random(seed)
    golds = [chance.choices(TAGS, k=chance.randint(1, 12)) for _ in range(chance.randint(1, 6))]
    share = chance.choice([0.3, 0.9])
    return golds, [[tag if chance.random() < share else chance.choice(TAGS) for tag in row] for row in golds]


def example(tokens: object, tags: object) -> Example:
    return TASK.example(0, Place("f", 1), {"tokens": tokens, "tags": tags})


# ── metrics ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("metric", "average"), [(SpanF1(), "micro"), (MacroSpanF1(), "macro")], ids=["micro", "macro"])
def test_span_f1_agrees_with_seqeval_in_strict_iob2_on_a_thousand_random_cases(metric: Metric, average: str) -> None:
    compared = 0
    for seed in range(1000):
        golds, given = rows(seed)
        if not any(spans(row) for row in golds + given):  # nothing to count: seqeval says 0, we say 1
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # seqeval warns of kinds that are never gold or never predicted
            expected = f1_score(golds, given, average=average, mode="strict", scheme=IOB2, zero_division=0)
        assert score(metric, golds, given) == pytest.approx(expected, abs=1e-12)
        compared += 1
    assert compared > 950


def test_token_accuracy_agrees_with_sklearn_on_all_words() -> None:
    for seed in range(300):
        golds, given = rows(seed)
        expected = accuracy_score([*itertools.chain(*golds)], [*itertools.chain(*given)])
        assert score(TokenAccuracy(), golds, given) == pytest.approx(expected, abs=1e-12)


def brute_force_runs(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Find runs of equal bare tags, by trying every stretch."""
    return {
        (start, end, tags[start])
        for start, end in itertools.combinations(range(len(tags) + 1), 2)
        if len(set(tags[start:end])) == 1
        and tags[start] != "O"
        and (start == 0 or tags[start - 1] != tags[start])
        and (end == len(tags) or tags[end] != tags[start])
    }


def test_bare_tags_in_a_row_are_one_span_by_brute_force() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        tags = chance.choices(["O", "улица", "ZipCode", "B", "город"], k=chance.randint(0, 10))
        assert {(s.start, s.end, s.kind) for s in spans(tags)} == brute_force_runs(tags)


@pytest.mark.parametrize(
    ("gold", "given", "wanted"),
    [
        (["B-место", "I-место", "O"], ["B-место", "I-место", "O"], 1.0),
        (["B-место", "I-место", "O"], ["B-место", "O", "O"], 0.0),
        (["B-место", "I-место"], ["I-место", "I-место"], 0.0),
        (["B-地名", "O", "B-人名"], ["B-地名", "O", "O"], 2 / 3),
        (["B-مدينة", "I-مدينة"], ["B-مدينة", "I-مدينة"], 1.0),
        (["B-🙂", "B-🙂"], ["B-🙂", "I-🙂"], 0.0),
        (["улица", "улица", "дом"], ["улица", "улица", "город"], 0.5),
        (["O", "O"], ["O", "O"], 1.0),
        (["O", "O"], ["B-x", "O"], 0.0),
        (["B-x", "O"], ["O"], 0.0),
        (["B-x"], ["B-x", "B-x"], 1.0),
    ],
)  # fmt: skip
def test_golden_spans(gold: list[str], given: list[str], wanted: float) -> None:
    assert score(SpanF1(), [gold], [given]) == pytest.approx(wanted)


def test_what_is_no_list_of_tags_is_one_tag() -> None:
    assert read_list("город") == ["город"] and read_list("[1, 2]") == ["[1, 2]"] and read_list("[") == ["["]
    assert read_list("[" * 100_000) == ["[" * 100_000]


# ── how tags are written down ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["I-A", "I-A", "O", "I-B"], ["B-A", "I-A", "O", "B-B"]),  # IOB1
        (["I-A", "B-A", "I-A"], ["B-A", "B-A", "I-A"]),
        (["S-A", "B-B", "I-B", "E-B"], ["B-A", "B-B", "I-B", "I-B"]),  # IOBES
        (["U-A", "O", "B-B", "L-B"], ["B-A", "O", "B-B", "I-B"]),  # BILOU
        (["E-mail", "Street"], ["E-mail", "Street"]),
    ],
)
def test_gold_tags_of_any_scheme_become_iob2(given: list[str], wanted: list[str]) -> None:
    assert in_iob2(given) == wanted
    assert in_iob2(wanted) == wanted


def test_spans_and_tags_say_the_same() -> None:
    for seed in range(200):
        tags = in_iob2(random.Random(seed).choices(TAGS, k=10))
        assert tagged(10, spans(tags)) == tags


@pytest.mark.parametrize(
    ("tokens", "tags"),
    [
        (["Call", "Bob", "Ray", "!"], ["O", "B-P", "I-P", "O"]),
        ('["Call", "Bob", "Ray", "!"]', '["O", "B-P", "I-P", "O"]'),
        ("Call Bob Ray !", "O B-P I-P O"),
        ("Call Bob Ray!", [{"start": 5, "end": 12, "label": "P"}]),
        ("Call Bob Ray!", [{"start": 5, "end": 12, "type": "P", "text": "Bob Ray"}]),
        ("Call Bob Ray!", [[5, 12, "P"]]),
        ("Call Bob Ray!", {"entities": [[5, 12, "P"]]}),
        ("Call Bob Ray!", '[{"start": 6, "end": 10, "entity_group": "P"}]'),  # touches both words
    ],
)
def test_every_way_of_writing_tags_gives_the_same_example(tokens: object, tags: object) -> None:
    made = example(tokens, tags)
    assert read_list(made.gold) == ["O", "B-P", "I-P", "O"]
    assert made.fields["tokens"] == ["Call", "Bob", "Ray", "!"] and made.fields["tags"] == ["O", "B-P", "I-P", "O"]
    assert example(made.fields["tokens"], made.fields["tags"]).gold == made.gold


def test_spans_in_russian_chinese_and_emoji_find_their_words() -> None:
    assert example("Едем в Нижний Новгород 🙂", [[7, 22, "город"]]).fields["tags"] == [
        "O", "O", "B-город", "I-город", "O"
    ]  # fmt: skip
    assert example("我在北京", [[2, 4, "地名"]]).fields["tags"] == ["O", "O", "B-地名", "I-地名"]


@pytest.mark.parametrize(
    ("tokens", "tags", "reason"),
    [
        (["a", "b"], ["O"], "2 words but 1 tag"),
        ([], [], "no words"),
        ("  ", [[0, 1, "x"]], "no words"),
        ("abc", [[2, 9, "x"]], "is outside the text"),
        ("abc", [[2, 2, "x"]], "is outside the text"),
        ("abc", [{"from": 1}], "needs start, end and label"),
        ("abc", [[0, 3]], "needs start, end and label"),
    ],
)
def test_tags_that_do_not_fit_are_refused_with_the_reason(tokens: object, tags: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        example(tokens, tags)


# ── the form ──────────────────────────────────────────────────────────────────────────────────


def test_the_most_probable_path_is_that_of_brute_force() -> None:
    for seed in range(100):
        chance = np.random.default_rng(seed)
        words, classes = int(chance.integers(1, 5)), int(chance.integers(1, 5))
        chances, follow = chance.normal(size=(words, classes)), chance.normal(size=(classes + 1, classes))

        def worth(path: Sequence[int], chances=chances, follow=follow) -> float:
            steps = zip([0, *(before + 1 for before in path)], path, strict=False)
            return sum(chances[at, tag] for at, tag in enumerate(path)) + sum(follow[a, b] for a, b in steps)

        assert worth(best_path(chances, follow)) == pytest.approx(
            max(map(worth, itertools.product(range(classes), repeat=words)))
        )


def test_answers_never_break_the_scheme_and_cover_every_word(encoder_folder) -> None:
    made = [example([f"word{i}" for i in range(n)], (["B-a", "I-a", "O", "B-b"] * 20)[:n]) for n in (3, 9, 60)]
    form = TASK.form("encoder", made)
    items = form.encode(made, AutoTokenizer.from_pretrained(encoder_folder), 40)
    engine = tiny_engine(encoder_folder, form.model_class, items[:1], classes=len(form.tags))
    for one, prediction in zip(made, form.predict(engine, made), strict=True):
        tags = read_list(prediction.text)
        assert len(tags) == len(one.fields["tokens"]) and in_iob2(tags) == tags
        assert prediction.tokens == len(tags) and prediction.loss > 0


def test_every_word_is_read_once_at_its_first_token_in_windows(encoder_folder) -> None:
    made = [example(["неслово"] * 30, ["B-a", "O"] * 15)]
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    form = TASK.form("encoder", made)
    [item] = form.encode(made, tokenizer, 24)
    read = [sequence.tokens[at] for sequence in item.sequences for at in sequence.output_positions]
    first = tokenizer("неслово", add_special_tokens=False)["input_ids"][0]
    assert item.extra and read == [first] * 30
    assert [form.tags[t] for s in item.sequences for t in s.targets] == ["B-a", "O"] * 15


def test_the_loss_is_transformers_own(encoder_folder) -> None:
    made = [example(["Anna", "lives"], ["B-p", "O"]), example(["кот"], ["O"])]
    form = TASK.form("encoder", made)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    items = form.encode(made, tokenizer, 128)
    model = load_model(encoder_folder, form.model_class, form.config, seed=0).model.eval()
    for item in items:
        labels = torch.full((1, len(item.tokens)), -100)
        labels[0, list(item.output_positions)] = torch.tensor(item.targets)
        with torch.no_grad():
            output = model(input_ids=torch.tensor([item.tokens]), labels=labels)
        loss = form.losses(output.logits[0, list(item.output_positions)], [item]) / form.supervised(item)
        assert float(loss) == pytest.approx(float(output.loss), rel=1e-6)


@pytest.mark.parametrize(
    ("words", "text", "wanted"),
    [
        (["Oslo,", "Norway"], "Omsk, Russia", ["Omsk,", "Russia"]),
        (["Oslo", ",", "Norway"], "Omsk, Russia", ["Omsk", ",", "Russia"]),
    ],
)
def test_a_text_is_parted_into_words_as_the_training_rows_were(words: list[str], text: str, wanted: list[str]) -> None:
    form = TASK.form("encoder", [example(words, ["B-x", *["O"] * (len(words) - 1)])])
    assert form.words_of(TASK.example(0, Place("f", 1), {"tokens": text})) == wanted


def test_an_untuned_model_takes_the_nearest_kind(encoder_folder) -> None:
    made = [example(["Anna", "lives"], ["B-name", "O"]), example(["film"], ["O"])]
    form = TASK.form("encoder", made)
    engine = tiny_engine(
        encoder_folder, form.untuned_class, form.encode(made, AutoTokenizer.from_pretrained(encoder_folder), 128)
    )
    shown = form.predict_untuned(engine, made, made)
    assert [read_list(one.text) for one in shown] == [["B-name", "O"], ["O"]]
    assert [len(read_list(one.text)) for one in form.predict_untuned(engine, made, ())] == [2, 1]


def test_simple_contenders_learn_words_and_their_neighbours() -> None:
    cities = ["Oslo", "Омск", "Bonn", "Рига", "Rome", "Lima"]
    train = [example(["едем", "в", city, "."], ["O", "O", "B-c", "O"]) for city in cities]
    test = [example(["едем", "в", "Тверь", "."], ["O", "O", "B-c", "O"])]
    answers = {one.name: read_list(one.predictions[0].text) for one in baselines(train, test, answers="tags", seed=0)}
    assert answers["commonest tag"] == ["O"] * 4 == answers["commonest tag of each word"]
    assert answers["linear model of words in context"] == ["O", "O", "B-c", "O"]
    again = baselines(train, test, answers="tags", seed=0)
    assert [one.predictions for one in again] == [
        one.predictions for one in baselines(train, test, answers="tags", seed=0)
    ]


def test_the_facts_of_the_tiny_model_fit_its_windows(encoder_folder) -> None:
    assert facts_of(encoder_folder).context == 128 and json.loads(write_tags(["я"])) == ["я"]
