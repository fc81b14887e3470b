"""Which language a text is in: by its script, and for Latin letters by the little words that every sentence has.

Programs are told from texts by their lines.
"""

import re
from collections import Counter
from collections.abc import Sequence

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
LETTERS = {"Russian": "[ыэёъ]", "Belarusian": "ў", "Ukrainian": "[їєґ]|\\bі\\b"}
CYRILLIC_LETTERS = {language: re.compile(letters) for language, letters in LETTERS.items()}
"""Letters that tell languages apart, in the order in which they are looked for."""
LATIN_WORD = re.compile("[a-zà-öø-ÿ\u0100-\u024f]+")
CODE_LINE = regex.compile(
    r"^\s*(def|class|return|import|from|for|while|if|elif|else|try|except|with|raise|yield|assert|async|await|public|"
    r"private|static|void|func|fn|let|const|var|struct|namespace|using|package|#include|select|insert|create|@\w+)\b"
    r"|[;{}:)\]]\s*$|^\s*(#|//|/\*|\*|\"\"\")|\w\s*[-+*/|&]?=\s*\S|^(?>.*?\w\().*\)",
    regex.IGNORECASE,
)
CODE_SHARE = 0.5
"""Of the lines, from which on a text is taken for a program."""
CODES = {
    "English": "en", "Russian": "ru", "German": "de", "French": "fr", "Spanish": "es", "Italian": "it",
    "Portuguese": "pt", "Dutch": "nl", "Polish": "pl", "Ukrainian": "uk", "Belarusian": "be", "Chinese": "zh",
    "Japanese": "ja", "Korean": "ko", "Arabic": "ar", "Hebrew": "he", "Greek": "el", "Hindi": "hi", "Thai": "th",
    "Georgian": "ka", "Armenian": "hy",
}  # fmt: skip
"""ISO 639-1."""


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
    if cyrillic <= latin:
        return _latin(head) if latin else ""
    found = (language for language, letters in CYRILLIC_LETTERS.items() if letters.search(head))
    return next(found, "Russian")


def _latin(text: str) -> str:
    little = [VOTES[word] for word in LATIN_WORD.findall(text) if word in VOTES]
    votes = Counter(language for languages in little for language in languages)
    first, second = sorted(LITTLE_WORDS, key=lambda language: -votes[language])[:2]
    return first if votes[first] >= LEAST and votes[first] >= 2 * votes[second] else ""


def looks_like_code(texts: Sequence[str]) -> bool:
    r"""Return whether most lines of these texts are lines of programs.

    >>> looks_like_code(["def f(x):\n    return x + 1"]), looks_like_code(["Какая столица у Франции?"])
    (True, False)
    """
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return bool(lines) and sum(bool(CODE_LINE.search(line)) for line in lines) > CODE_SHARE * len(lines)
