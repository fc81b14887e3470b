"""The probe that is shipped: enough of it, even, without repetition, and each check accepts and refuses."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from kamerton.forgetting.probe import FOLDER, LANGUAGES, known_languages, load_probe, tokens_per_word
from kamerton.forgetting.speech import CHECKS, keeps_format

ALL = list(LANGUAGES)
LETTERS = {"en": re.compile("[a-z]", re.I), "ru": re.compile("[а-яё]", re.I)}


@pytest.fixture(params=ALL)
def language(request):
    return request.param


@pytest.fixture
def whole(language):
    return load_probe([language], "whole")


def test_there_are_sixty_texts_of_eighty_to_a_hundred_and_fifty_words_in_each_language(whole):
    assert len(whole.documents) >= 60
    assert all(80 <= len(document.text.split()) <= 150 for document in whole.documents)
    assert set(Counter(document.kind for document in whole.documents).values()) == {5}


def test_there_are_two_hundred_questions_whose_right_answers_stand_in_each_place_as_often(whole):
    assert len(whole.questions) >= 200
    assert all(len(set(question.choices)) == 4 for question in whole.questions)
    places = Counter(question.answer for question in whole.questions)
    assert set(places) == {0, 1, 2, 3} and max(places.values()) - min(places.values()) <= 1
    assert len(set(Counter(question.topic for question in whole.questions).values())) == 1


def test_there_are_twenty_requests_that_use_every_check(whole):
    assert len(whole.requests) >= 20
    assert {request.check for request in whole.requests} == CHECKS.keys()


def test_nothing_is_asked_twice(whole):
    for texts in (
        [document.text for document in whole.documents],
        [question.question for question in whole.questions],
        [request.prompt for request in whole.requests],
    ):
        assert [text for text, count in Counter(map(str.casefold, texts)).items() if count > 1] == []


def test_texts_are_in_the_letters_of_their_language(whole, language):
    other = LETTERS["ru" if language == "en" else "en"]
    for document in whole.documents:
        foreign = len(other.findall(document.text))
        assert foreign <= 0.35 * len(LETTERS[language].findall(document.text)), document.text[:60]


def test_a_quick_probe_is_a_fixed_part_of_the_full_one_with_all_its_kinds(whole, language):
    quick = load_probe([language], "quick")
    assert quick == load_probe([language], "quick")
    for part in ("documents", "questions", "requests"):
        assert set(getattr(quick, part)) < set(getattr(whole, part))
    assert {d.kind for d in quick.documents} == {d.kind for d in whole.documents}
    assert {q.topic for q in quick.questions} == {q.topic for q in whole.questions}
    assert {r.check for r in quick.requests} == CHECKS.keys()


def test_every_file_of_the_probe_is_packaged():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["kamerton"]
    package = FOLDER.parent.parent
    packaged = {path for pattern in patterns for path in package.glob(pattern)}
    assert set(FOLDER.iterdir()) <= packaged
    assert len(set(FOLDER.iterdir())) == 3 * len(LANGUAGES)


GOOD_AND_BAD = {
    "words": ("1", "Paris.", "It is Paris."),
    "lines": ("3", "red\n\nblue\ngreen", "red, blue, green"),
    "bullets": ("2", "- a\n- b", "- a\nb"),
    "commas": ("3", "Марс, Земля, Венера", "Марс,, Венера"),
    "keys": ("имя,возраст", '{"имя": "Ада", "возраст": 36}', '{"имя": "Ада"} - вот'),
    "starts": ("Yes", "Yes, it is.", "It is. Yes."),
    "ends": ("Спасибо.", "Воды, пожалуйста. Спасибо.", "Спасибо. Воды!"),
    "contains": ("banana", "A Banana is yellow.", "A fruit\nbanana"),
    "digits": ("", "12.", "twelve"),
    "upper": ("", "ПРИВЕТ!", "Привет"),
    "lower": ("", "carrot", "Carrot"),
    "choice": ("yes,no", "Yes.", "Yes, it is"),
}


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_accepts_the_form_and_refuses_another(check):
    value, good, bad = GOOD_AND_BAD[check]
    assert keeps_format(check, value, good)
    assert not keeps_format(check, value, bad)
    assert not keeps_format(check, value or "x", "")


def test_a_language_is_known_if_its_words_are_not_broken_into_letters(decoder_folder):
    tokenizer = AutoTokenizer.from_pretrained(decoder_folder)
    spent = {language: tokens_per_word(tokenizer, language) for language in LANGUAGES}
    assert known_languages(tokenizer) == [name for name in LANGUAGES if spent[name] <= 3 * min(spent.values())]
    assert all(value > 1 for value in spent.values())
