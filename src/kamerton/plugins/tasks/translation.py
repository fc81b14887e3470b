"""Translation: a text and its translation."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Example, Place
from kamerton.forms.writing import cyrillic_share, writing_form
from kamerton.plugins.tasks._shared import text_pairs
from kamerton.runs.settings import Group
from kamerton.text.cells import plain
from kamerton.text.language_id import language_of

LANGUAGES = (
    *("ar", "az", "be", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he", "hi", "hr"),
    *("hu", "hy", "it", "ja", "ka", "kk", "ko", "ky", "lt", "lv", "mn", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sr"),
    *("sv", "tg", "th", "tr", "tt", "uk", "ur", "uz", "vi", "zh"),
    *("arb", "bel", "ben", "bul", "ces", "chi", "dan", "deu", "ell", "eng", "est", "fas", "fin", "fra", "fre", "ger"),
    *("heb", "hin", "hun", "hye", "ita", "jpn", "kat", "kaz", "kir", "kor", "lav", "lit", "nld", "pol", "por", "ron"),
    *("rus", "slk", "slv", "spa", "srp", "swe", "tat", "tgk", "tha", "tur", "ukr", "urd", "uzb", "vie", "zho"),
    *("arabic", "chinese", "czech", "dutch", "english", "finnish", "french", "german", "greek", "hebrew", "hindi"),
    *("italian", "japanese", "kazakh", "korean", "polish", "portuguese", "russian", "spanish", "swedish", "turkish"),
    *("ukrainian", "vietnamese"),
    *("английский", "арабский", "белорусский", "испанский", "итальянский", "казахский", "китайский", "корейский"),
    *("немецкий", "польский", "португальский", "русский", "татарский", "турецкий", "украинский", "французский"),
    *("чешский", "японский"),
    *("arab", "cyrl", "hans", "hant", "jpan", "latn"),
)  # fmt: skip
"""Codes and names of languages, and of the scripts beside them. Those that are other words as often (id, is, no, to)
are not there."""


class Translation(Group):
    """Translate a text."""

    into: str | None = Field(None, description="The target language in the request; Russian and English are detected.")

    roles: ClassVar = (
        Role(
            "source",
            ("source", "src", "original", "source_text", "исходный текст", "оригинал"),
            msg("the original"),
            weak=("text", "sentence", "текст", "предложение", *LANGUAGES),
            parts=LANGUAGES,
        ),
        Role(
            "target",
            ("target", "tgt", "translation", "translated", "translated_text", "target_text", "перевод"),
            msg("its translation"),
            weak=LANGUAGES,
            parts=LANGUAGES,
        ),
    )  # fmt: skip
    kinds: ClassVar = ("decoder", "seq2seq")
    answers: ClassVar = "text"

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept texts whose translations are others, and do not repeat themselves."""
        pairs = text_pairs(columns, "source", "target")
        if not pairs:
            return ""
        varied = min(len(set(side)) for side in zip(*pairs, strict=True)) > len(pairs) / 2
        other = sum(source != target for source, target in pairs) > len(pairs) / 2
        spoken = [(language_of(source), language_of(target)) for source, target in pairs]
        same = sum(source == target for source, target in spoken if source) > len(pairs) / 2
        return msg("a text and its translation") if varied and other and not same else ""

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example; empty values stay empty for the audit to find."""
        source, target = plain(values["source"]), plain(values["target"])
        return Example(id, place, source, target, {"source": source, "target": target})

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return the form that asks for a translation. Raises `ModelError` for an encoder."""
        into = self.into if self.into is not None else _language(examples)
        request = f"Translate into {into}:" if into else "Translate:"
        return writing_form(kind, lambda example: f"{request}\n\n{example.text}", examples)

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return chrF first, which credits inflected words that are nearly right; BLEU for comparison with others."""
        return ("chrf", "bleu", "exact-match", "perplexity")

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few sentences in two languages."""
        return [
            {"source": "good morning", "target": "доброе утро"},
            {"source": "She opened the window.", "target": "Она открыла окно."},
            {"source": "The train leaves at 7:45.", "target": "Поезд отходит в 7:45."},
            {"source": "%(count)d messages", "target": "Сообщений: %(count)d"},
        ]


def _language(examples: Sequence[Example]) -> str:
    """Return the language of the translations where their script differs from that of the originals."""
    before = cyrillic_share([example.text for example in examples])
    after = cyrillic_share([example.gold for example in examples])
    if after > 0.5 and before < 0.5:
        return "Russian"
    return "English" if before > 0.5 and after < 0.5 else ""
