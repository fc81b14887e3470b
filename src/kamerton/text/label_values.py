"""Placeholders in a column of labels, and labels in several spellings.

Whether a placeholder means "no label" depends on the other labels: `-` does beside words, but is a class beside `+`;
`None` does beside numbers, but may be a stance beside `favor` and `against`. Values that can only mean "no label" are
left out (`data.placeholders=keep` keeps them); values that may be a class are kept and reported.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kamerton.text.repair import INVISIBLE

Severity = Literal["severe", "warning", "note"]
FAILED = frozenset((
    "#n/a", "#name?", "#ref!", "#value!", "#div/0!", "#num!", "#null!", "#error!", "#spill!", "#calc!", "#field!",
    "#getting_data", "#н/д", "#имя?", "#ссылка!", "#знач!", "#дел/0!", "#число!", "#пусто!", "#перенос!", "#вычисл!",
))  # fmt: skip
"""What spreadsheets write where a formula failed."""
NOTHING = frozenset(("nan", "null", "<na>", "nat", "\\n", *FAILED))
"""What programs write where there is no value: never a label."""
DASHES = frozenset(("-", "--", "---", "–", "—", "−"))
NONE = "none"
UNLABELLED = "-1"
DOUBTFUL = frozenset((
    NONE, "n/a", "na", "n.a.", "unknown", "undefined", "missing", "not available", "no label", "no_label", "unlabeled",
    "unlabelled", "not labeled", "tbd", "todo", "?", "??", "???", "nil", "void", "blank", "empty", "-100", "-999",
    "нет", "н/д", "нет данных", "не указано", "не указан", "не указана", "неизвестно", "пусто", "не размечено",
    "без метки", "нет метки", "не определено", *DASHES,
))  # fmt: skip
"""What often means that there is no label, and sometimes is one."""
TRUTHS = {
    **dict.fromkeys(("true", "yes", "y", "t", "да", "истина"), "true"),
    **dict.fromkeys(("false", "no", "n", "f", "нет", "ложь"), "false"),
}
BITS = {"1": "true", "0": "false"}
NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?")
WHOLE = re.compile(r"([+-]?\d+)[.,]0+")
HYPHENS = re.compile(r"[\u00ad\u2010-\u2015\u2212_]")
BETWEEN = re.compile(r"(?<=\w)(?=[-\s])\s*+-?+\s*+(?=\w)")
"""What parts two words of a label: spaces, a hyphen, an underscore."""
ENDS = " \t\r\n.,;:'\"`«»“”„‘’"
ALIKE = str.maketrans("аеорсухкмтвніјѕё", "aeopcyxkmtbhijse")
"""Cyrillic letters that look like Latin ones, small, by those."""
OFTEN_MEANT = frozenset(
    (NONE, "unknown", "missing", "undefined", "empty", "blank", "void", "нет", "неизвестно", "пусто")
)
"""Those that are a class as often, where they are written like the others."""


@dataclass(frozen=True)
class Placeholders:
    """What labels only hold a place."""

    none: frozenset[str]
    """Those that can only mean that a row has no label."""
    doubted: Mapping[str, Severity]
    """Those that may be labels, and how surely they are not."""


def find_placeholders(labels: Collection[str]) -> Placeholders:
    """Return the labels that mean "no label" beside the others.

    >>> sorted(find_placeholders({"0", "1", "nan", "None"}).none), find_placeholders({"+", "-"}).none
    (['None', 'nan'], frozenset())
    >>> find_placeholders({"favor", "against", "none"}).doubted, find_placeholders({"pos", "neg", "None"}).doubted
    ({'none': 'warning'}, {'None': 'severe'})
    """
    folded = {label: " ".join(label.casefold().split()) for label in labels}
    none = {label for label, word in folded.items() if not word or word in NOTHING or set(word) == {"#"}}
    others = {label for label in labels if label not in none and folded[label] not in DOUBTFUL}
    words = others and all(any(letter.isalpha() for letter in label) for label in others)
    numbers = others and all(NUMBER.fullmatch(folded[one]) or folded[one] in TRUTHS for one in others)
    none |= {label for label, word in folded.items() if (word in DASHES and words) or (word == NONE and numbers)}
    doubted = {label: _doubt(label, others) for label, word in folded.items() if word in DOUBTFUL and label not in none}
    rest = others - {UNLABELLED}
    if UNLABELLED in others and len(rest) > 1 and all(map(str.isdigit, rest)):  # beside 0 and 1 it may be a feeling
        doubted[UNLABELLED] = "note" if rest == {"0", "1"} else "severe"
    return Placeholders(frozenset(none), {label: severity for label, severity in doubted.items() if severity})


def bare_golds(golds: Iterable[Sequence[str]], known: Collection[str] = ()) -> set[tuple[str, ...]]:
    """Return the answers all of whose labels can only mean that there is none.

    >>> bare_golds([["pos"], ["neg"], ["-"]]), bare_golds([["-"]], known={"+", "-"})
    ({('-',)}, set())

    The `known` labels are those that a model was trained on, which hold no place.
    """
    held = {tuple(labels) for labels in golds if labels}
    none = find_placeholders({label for labels in held for label in labels} | {*known}).none - {*known}
    return {labels for labels in held if none.issuperset(labels)}


def is_placeholder(word: str) -> bool:
    """Return whether a word stands where a number is missing.

    >>> is_placeholder("N/A"), is_placeholder("-"), is_placeholder("-1"), is_placeholder("four")
    (True, True, False, False)
    """
    folded = " ".join(word.casefold().split())
    return folded in NOTHING or (folded in DOUBTFUL and not NUMBER.fullmatch(folded))


def _doubt(label: str, others: Collection[str]) -> Severity | None:
    """Return how surely a word is no label; None beside a sign that it is the opposite of, as `-` of `+`."""
    folded = label.casefold()
    if folded == "нет" and any(other.casefold() == "да" for other in others):
        return None
    if not others or (not any(map(str.isalnum, label)) and not all(any(map(str.isalnum, other)) for other in others)):
        return None
    begins = {other[:1].isupper() for other in others if other[:1].isalpha()}
    return "warning" if folded in OFTEN_MEANT and begins == {label[:1].isupper()} else "severe"


def whole_number(label: str) -> str:
    """Write a whole number without its zero decimals; return any other label as it is.

    >>> whole_number("1.0"), whole_number("1.5"), whole_number("v1.0")
    ('1', '1.5', 'v1.0')
    """
    found = WHOLE.fullmatch(label)
    return found[1] if found else label


def spelling_key(label: str) -> str:
    """Reduce a label to what all of its spellings have in common.

    Case, Unicode's compatibility forms, ё for е, signs that are not seen, spaces, hyphens and underscores between
    words, punctuation and quotes around it, and Cyrillic letters in place of Latin ones that look the same are only
    spelling; so is the `.0` of a whole number, but no leading zero: codes have them.

    >>> [spelling_key(label) for label in ("Very-Good ", "very_good", "1.0", "01", "-1")]
    ['very good', 'very good', '1', '01', '-1']
    >>> spelling_key("Ёж") == spelling_key("еж"), spelling_key("С") == spelling_key("C"), spelling_key("C++")
    (True, True, 'c++')
    """
    text = HYPHENS.sub(lambda sign: "" if sign[0] == "\u00ad" else "-", INVISIBLE.sub("", label))
    text = unicodedata.normalize("NFKC", text).replace("\u200c", "").replace("\u200d", "")
    text = unicodedata.normalize("NFC", text.casefold()).strip(ENDS) or text.strip()
    return whole_number(text) if WHOLE.fullmatch(text) else BETWEEN.sub(" ", text).translate(ALIKE)


def main_spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Map each label, of those with the counts of their rows, that is another spelling of a commoner one to that.

    >>> main_spellings({"TRUE": 2, "True": 5, "true": 1, "False": 7})
    {'TRUE': 'True', 'true': 'True'}
    >>> main_spellings({"1": 3, "yes": 2, "0": 4}), main_spellings({"1": 3, "0": 4, "2": 1})
    ({'yes': '1'}, {})
    """
    keys = {label: spelling_key(label) for label in counts}
    truths = {key.translate(ALIKE): truth for key, truth in (TRUTHS | BITS).items()}
    if len(set(keys.values())) > 2 and all(key in truths for key in keys.values()):
        keys = {label: truths[key] for label, key in keys.items()}
    groups = defaultdict(list)
    for label, key in keys.items():
        groups[key].append(label)
    main = {key: max(labels, key=lambda one: (counts[one], -len(one), one)) for key, labels in groups.items()}
    return {label: main[key] for label, key in keys.items() if label != main[key]}


def likely_spellings(unknown: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Map labels that are not known to the known ones that they probably spell.

    >>> likely_spellings(["Neg", "GOOD", "other"], ["neg", "good"])
    {'Neg': 'neg', 'GOOD': 'good'}
    """
    by_key = {spelling_key(label): label for label in known}
    return {label: by_key[key] for label in unknown if (key := spelling_key(label)) in by_key}
