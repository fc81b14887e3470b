"""Rows that only fill a place."""

import re

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data

EMPTY_WORDS = frozenset((
    "n/a", "na", "nan", "null", "none", "nil", "undefined", "unknown", "tbd", "todo", "fixme", "test", "testing",
    "dummy", "sample", "example", "placeholder", "foo", "bar", "baz", "asdf", "qwerty", "lorem", "ipsum", "xxx",
    "xx", "-", "--", "---", ".", "..", "...", "…", "?", "??", "*", "нет", "пусто", "неизвестно", "тест", "проверка",
    "заглушка", "образец", "пример", "текст", "йцукен", "фыва", "н/д", "б/н"
))  # fmt: skip
"""Texts without content. As answers most of them can be intended (`none`, `unknown`, `нет`), so only texts count."""
PHRASES = re.compile(
    r"^\W*(?:lorem ipsum\b|no (?:text|data|content|comment|description|answer)\W*$|not (?:available|applicable)\W*$"
    r"|text goes here|(?:your|insert|enter|add|type) (?:\w+ ){0,3}(?:text|here)\b"
    r"|removed by (?:the )?(?:author|moderator)"
    r"|(?:comment|message|post) (?:was )?(?:deleted|removed)|\[?(?:deleted|removed)\]?\W*$"
    r"|нет (?:данных|текста|описания|комментари[яев]+|ответа)\W*$|не (?:указано|заполнено|применимо)\W*$"
    r"|(?:введите|вставьте|здесь) (?:\w+ ){0,3}текст|(?:комментарий|сообщение|текст) удал[её]но?\W*$)",
    re.IGNORECASE,
)
UNFILLED = re.compile(
    r"\[(?:insert|your|enter|add|name|company|date|вставьте|ваш[аеи]?|имя|дата)\b[^\]\n]{0,40}\](?!\()"
    r"|<(?:insert|your|enter|вставьте|ваш[аеи]?)\b[^>\n]{0,40}>|\{\{\s*[\w.]{1,40}\s*\}\}",
    re.IGNORECASE,
)
"""Templates whose gaps were never filled; gaps in single braces are ignored: messages of programs have them."""


class PlaceholderRows(Check):
    """Find texts such as `N/A`, `test`, `нет данных`, and templates with unfilled gaps."""

    def find(self, data: Data) -> Finding | None:
        """Match whole texts, and search texts and free answers for gaps."""
        empty = [at for at, text in enumerate(data.texts) if text.strip() and _is_placeholder(text)]
        searched = (data.texts, data.golds) if data.context.free else (data.texts,)
        gaps = {at for texts in searched for at, text in enumerate(texts) if _has_gap(text)}
        template = "{rows} placeholder {rows:row|rows} ({share}): texts without content {empty}, unfilled gaps {gaps}"
        title = msg(template, empty=len(empty), gaps=len(gaps))
        remedy = msg("remove them, or fill them in")
        return data.about("placeholder-rows", data.at(empty, gaps), title, remedy, many=0.02)


def _is_placeholder(text: str) -> bool:
    head = text[:200].strip()
    return (len(head) < 20 and head.casefold() in EMPTY_WORDS) or bool(PHRASES.match(head))


def _has_gap(text: str) -> bool:
    return ("[" in text or "<" in text or "{{" in text) and bool(UNFILLED.search(text))
