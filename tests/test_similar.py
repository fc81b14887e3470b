import random
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from kamerton.text.near_duplicates import EDIT, LEAST, MOST, SHORT, jaccard, near_duplicate_groups

ENGLISH = ["warm", "funny", "film", "about", "two", "old", "friends", "who", "lose", "their", "way", "home"]
RUSSIAN = ["тёплый", "смешной", "фильм", "про", "двух", "старых", "друзей", "которые", "зимой", "и", "молчат"]


def sentences(count: int, seed: int, words: int = 14) -> list[str]:
    """Make texts that share their words, half of them Russian."""
    random_ = random.Random(seed)
    syllables = ["ba", "ло", "mi", "ра", "tek", "сно", "vu", "ши", "dor", "ка", "pel", "не"]
    own = ["".join(random_.choices(syllables, k=3)) for _ in range(600)]
    return [
        " ".join(random_.choices(own + (ENGLISH if number % 2 else RUSSIAN), k=words)).capitalize() + "."
        for number in range(count)
    ]


def shingles(text: str) -> set[str]:
    """Take the 5-grams as the definition says, one text at a time."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    plain = " ".join("".join(" " if unicodedata.category(sign)[0] in "PZC" else sign for sign in folded).split())
    return {plain[at : at + 5] for at in range(max(1, len(plain) - 4))} if plain else set()


def brute_force_jaccard(first: str, second: str) -> float:
    one, other = shingles(first), shingles(second)
    return len(one & other) / max(1, len(one | other))


def typo(text: str, random_: random.Random) -> str:
    at = random_.randrange(len(text))
    return text[:at] + random_.choice(["", "x", text[at] + "ш"]) + text[at + 1 :]


def other_word(text: str, random_: random.Random) -> str:
    words = text.split()
    words[random_.randrange(len(words))] = "other"
    return " ".join(words)


EDITS: dict[str, Callable[[str, random.Random], str]] = {
    "a typo": typo,
    "two typos": lambda text, random_: typo(typo(text, random_), random_),
    "a word exchanged": other_word,
    "capitals": lambda text, _: text.upper(),
    "punctuation": lambda text, _: "«" + text.replace(" ", ", ", 1) + "»!",
    "spaces": lambda text, _: text.replace(" ", " \t\n"),
    "another Unicode form": lambda text, _: unicodedata.normalize("NFD", text),
}


def test_the_jaccard_index_agrees_with_python_sets() -> None:
    texts = [*sentences(60, 1), "", "?!", "ab", "Ab", "abcde", "a b", "ﬁne № 1", "\ud83d half", "猫が好き", "🎉🎉"]
    pairs = list(combinations(texts, 2))
    expected = [brute_force_jaccard(*pair) for pair in pairs]
    assert jaccard([a for a, _ in pairs], [b for _, b in pairs]) == pytest.approx(expected, abs=1e-12)


def test_groups_are_the_connected_pairs_that_brute_force_finds() -> None:
    random_ = random.Random(5)
    texts = sentences(90, 2)
    texts += [EDITS[random_.choice(list(EDITS))](text, random_) for text in texts[:60] + texts[:30]]
    groups = list(range(len(texts)))
    for first, second in combinations(range(len(texts)), 2):
        size = max(len(shingles(texts[first])), len(shingles(texts[second])))
        needed = min(MOST, max(LEAST, (size - EDIT) / (size + EDIT))) if size >= SHORT else 1
        if brute_force_jaccard(texts[first], texts[second]) >= needed:
            old, new = sorted((groups[first], groups[second]), reverse=True)
            groups = [new if group == old else group for group in groups]
    assert near_duplicate_groups(texts).tolist() == groups


@pytest.mark.parametrize("edit", EDITS)
def test_light_edits_are_found_and_nothing_else_is(edit: str) -> None:
    random_ = random.Random(7)
    texts = sentences(2000, 3)
    copies = [EDITS[edit](text, random_) for text in texts[:300]]
    groups = near_duplicate_groups(texts + copies)
    found = (groups[2000:] == np.arange(300)).sum()
    wrong = (groups[:2000] != np.arange(2000)).sum()
    assert found >= 0.95 * 300
    assert found / (found + wrong) >= 0.9


def test_a_group_is_named_by_its_first_text_whatever_the_order() -> None:
    texts = sentences(50, 4)
    shuffled = [*texts, *texts]
    random.Random(1).shuffle(shuffled)
    groups = near_duplicate_groups(shuffled)
    assert groups.tolist() == [shuffled.index(text) for text in shuffled]


def test_texts_without_letters_stand_alone() -> None:
    assert near_duplicate_groups(["", "...", "", "a", "A!"]).tolist() == [0, 1, 2, 3, 3]
    assert near_duplicate_groups([]).tolist() == []


def test_short_texts_must_be_equal_but_for_case_and_punctuation() -> None:
    assert near_duplicate_groups(["Room 1234.", "room 1235", "room: 1234"]).tolist() == [0, 1, 0]


def test_one_text_many_times_costs_no_more_than_it_must() -> None:
    texts = ["Thank you for your order number one."] * 20_000 + sentences(10, 5)
    assert near_duplicate_groups(texts).tolist() == [0] * 20_000 + list(range(20_000, 20_010))


def test_groups_do_not_depend_on_the_process() -> None:
    code = "from test_similar import *; print(near_duplicate_groups(sentences(40, 6) * 2).tolist())"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] != ""
