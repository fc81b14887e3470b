"""Text as words, the same way for every script.

The tokenizers of the common metrics keep `[a-z0-9]` only and score two identical Russian sentences
as 0. Here letters, digits and marks of any script make words; scripts that put no spaces between
words (Chinese, Japanese, Thai, ...) are read letter by letter; a text without any word, such as a
single emoji, is read sign by sign.
"""

import unicodedata
from dataclasses import dataclass

import regex

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
WORD = regex.compile(rf"(?V1)[{UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}_]--[{UNSPACED}]]+")
PIECE = regex.compile(rf"(?V1)[{UNSPACED}]\p{{M}}*|[\S--[{UNSPACED}]]+")
WORD_OR_SIGN = regex.compile(rf"{WORD.pattern}|\S\p{{M}}*")
SIGN = regex.compile(r"\X")
DASH = regex.compile(r"[\p{Pd}\u2212]")
NUMBER_SIGN = r"(?<=\p{N})\p{P}(?=\p{N})|(?<![\p{L}\p{N}])-(?=\p{N})"
DECORATION = regex.compile(rf"(?V1)(?!{NUMBER_SIGN})[[\p{{P}}\p{{S}}]--\p{{Sm}}]")
ARTICLE = regex.compile(r"(?<!\S)(?:an?|the)\s+(?=\S)")
NOT_LATIN = regex.compile(r"(?V1)[\p{L}--\p{Latin}]")


def fold(text: str) -> str:
    """Normalize spelling: Unicode's compatibility forms, case, and ё for е.

    >>> fold("Ёлка ﬁne №1")
    'елка fine no1'
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).replace("ё", "е")


def words(text: str) -> list[str]:
    """Split a text into folded words.

    >>> words("Модель GPT-2 весит 548 МБ!"), words("猫坐"), words("🎉!")
    (['модель', 'gpt', '2', 'весит', '548', 'мб'], ['猫', '坐'], ['🎉', '!'])
    """
    folded = fold(text)
    return WORD.findall(folded) or [sign for sign in SIGN.findall(folded) if not sign.isspace()]


def bare_answer(text: str, gold: str) -> str:
    """Reduce an answer to what counts in a comparison with `gold`.

    As SQuAD's normalizer (Rajpurkar et al. 2016), with its faults outside English fixed: after
    folding, punctuation and symbols of any script go, unless nothing else is there; English
    articles go before another word, unless the gold answer has letters of another script. What changes the
    meaning stays: signs between digits (3.5, 10:30), the minus before a number, and the signs of
    mathematics (C++, x < 5).

    >>> bare_answer("«Война и мир».", "Война и мир"), bare_answer("план A", "план A"), bare_answer("The cat!", "cat")
    ('война и мир', 'план a', 'cat')
    """
    folded = DASH.sub("-", fold(text))
    bare = " ".join(DECORATION.sub("", folded).split()) or " ".join(folded.split())
    return bare if NOT_LATIN.search(gold) else ARTICLE.sub("", bare)


def answer_words(text: str, gold: str) -> list[str]:
    """Split a bare answer into words.

    >>> answer_words("The price is -3.5 %", "price")
    ['price', 'is', '-3.5']
    """
    return PIECE.findall(bare_answer(text, gold))


@dataclass(frozen=True)
class Bounds:
    """Where a word or a sign stands in a text: from `start` to before `end`."""

    start: int
    end: int


def bounds(text: str) -> list[Bounds]:
    """Return the words and signs of a text, unfolded.

    >>> [("Anna's dog, 猫坐"[one.start : one.end]) for one in bounds("Anna's dog, 猫坐")]
    ['Anna', "'", 's', 'dog', ',', '猫', '坐']
    """
    return [Bounds(*found.span()) for found in WORD_OR_SIGN.finditer(text)]
