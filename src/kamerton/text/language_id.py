"""Which language a text is in: by its script, and for Latin letters by the little words that every sentence has."""

from __future__ import annotations

import re

import regex

LOOKED_AT = 600
"""Characters of a text that are enough to tell."""
LITTLE_WORDS = {
    "English": "the of and to is that for with are this you was not have from which be it on as but they were what",
    "German": "der die das und ist nicht ein eine zu den mit von auf für sich dem auch es im wird sind wie einer",
    "French": "le la les des et est une dans pour qui pas que sur avec au ce sont du cette vous nous il elle être",
    "Spanish": "el los las que por una con para es del se como más pero sus este son está al lo su muy también",
    "Italian": "il gli che di è per una con non sono della nel alla come anche più questo dei delle si ma da",
    "Portuguese": "os as que não uma com para é do da em por mais como foi dos das são também ao pelo você",
    "Dutch": "het een van en is dat niet op te zijn voor met aan ook er maar bij door naar wordt deze",
    "Polish": "nie się jest że na do to jak przez dla po ale czy być tak tym jego są już oraz",
}
LISTS = {language: frozenset(words.split()) for language, words in LITTLE_WORDS.items()}
VOTES = {
    word: tuple(language for language, words in LISTS.items() if word in words)
    for word in frozenset().union(*LISTS.values())
}
"""Little words, each with the languages that have it."""
LEAST = 3
"""Little words that make a language certain, if they are twice those of any other."""
SCRIPTS = {
    "Chinese": r"\p{Han}", "Japanese": r"[\p{Hiragana}\p{Katakana}]", "Korean": r"\p{Hangul}",
    "Arabic": r"\p{Arabic}", "Hebrew": r"\p{Hebrew}", "Greek": r"\p{Greek}", "Hindi": r"\p{Devanagari}",
    "Thai": r"\p{Thai}", "Georgian": r"\p{Georgian}", "Armenian": r"\p{Armenian}",
}  # fmt: skip
OTHER = {language: regex.compile(pattern) for language, pattern in SCRIPTS.items()}
ANY_OTHER = regex.compile(r"(?V1)[\p{L}--[\p{Latin}\p{Cyrillic}]]")
LATIN, CYRILLIC = re.compile("[A-Za-zÀ-ÖØ-öø-\u024f]"), re.compile("[\u0400-\u04ff]")
UKRAINIAN, BELARUSIAN, RUSSIAN = re.compile("[їєґ]|\\bі\\b"), re.compile("ў"), re.compile("[ыэёъ]")
LATIN_WORD = re.compile("[a-zà-öø-ÿ\u0100-\u024f]+")


def language_of(text: str) -> str:
    """Return the English name of a text's language; an empty string if it is unclear.

    >>> language_of("This is the end of it."), language_of("Это конец."), language_of("4520 N. State Rd")
    ('English', 'Russian', '')
    """
    head = text[:LOOKED_AT].lower()
    if head.isascii():
        return _latin(head)
    latin, cyrillic = len(LATIN.findall(head)), len(CYRILLIC.findall(head))
    if len(ANY_OTHER.findall(head)) > latin + cyrillic:
        counts = {language: len(pattern.findall(head)) for language, pattern in OTHER.items()}
        best = max(counts, key=lambda language: counts[language])
        japanese = counts["Japanese"] and best == "Chinese"
        return "Japanese" if japanese else best if counts[best] else ""
    if cyrillic > latin:
        return _cyrillic(head)
    return _latin(head) if latin else ""


def _cyrillic(text: str) -> str:
    if RUSSIAN.search(text):
        return "Russian"
    if BELARUSIAN.search(text):
        return "Belarusian"
    return "Ukrainian" if UKRAINIAN.search(text) else "Russian"


def _latin(text: str) -> str:
    little = [VOTES[word] for word in LATIN_WORD.findall(text) if word in VOTES]
    if len(little) < LEAST:
        return ""
    votes = dict.fromkeys(LITTLE_WORDS, 0)
    for languages in little:
        for language in languages:
            votes[language] += 1
    first, second = sorted(votes, key=lambda language: -votes[language])[:2]
    return first if votes[first] >= LEAST and votes[first] >= 2 * votes[second] else ""
