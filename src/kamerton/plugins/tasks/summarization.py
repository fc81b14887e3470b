"""Summarization: a text and its summary."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import ClassVar

from pydantic import Field

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.figures import Figure
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Example, Place
from kamerton.forms.writing import cyrillic_share, writing_form
from kamerton.plugins.tasks._shared import text_pairs
from kamerton.runs.settings import Group
from kamerton.text.cells import plain


class Summarization(Group):
    """Summarize a text."""

    request: str | None = Field(
        None, description="The request before each text; in the language of the summaries if not given."
    )

    roles: ClassVar = (
        Role(
            "text",
            ("text", "article", "document", "dialogue", "source", "body", "content", "long", "текст", "статья",
             "документ"),
            msg("the text to summarize"),
            weak=("code",),
        ),
        Role(
            "summary",
            ("summary", "highlights", "abstract", "headline", "tldr", "short", "summaries", "краткое содержание",
             "резюме", "аннотация", "заголовок"),
            msg("its summary"),
            weak=("docstring",),
        ),
    )  # fmt: skip
    kinds: ClassVar = ("decoder", "seq2seq")
    answers: ClassVar = "text"

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept summaries that are mostly shorter than their texts and do not repeat themselves."""
        pairs = text_pairs(columns, "text", "summary")
        if len({summary for _, summary in pairs}) <= len(pairs) / 2:
            return ""
        shorter = median(len(summary) / len(text) for text, summary in pairs)
        if shorter >= 1:
            return ""
        return msg("a summary has {share} of its text's letters", share=Figure(round(shorter, 2), "percent"))

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example; empty values stay empty for the audit to find."""
        text, summary = plain(values["text"]), plain(values["summary"]).strip()
        return Example(id, place, text, summary, {"text": text, "summary": summary})

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return the form that asks for a summary. Raises `ModelError` for an encoder."""
        russian = cyrillic_share([example.gold for example in examples]) > 0.5
        asked = "Кратко перескажи текст." if russian else "Summarize the text in few words."
        request = self.request if self.request is not None else asked
        return writing_form(kind, lambda example: f"{request}\n\n{example.text}".strip(), examples)

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return ROUGE-L first, the metric of published summaries."""
        return ("rouge-l", "rouge-1", "rouge-2", "chrf", "perplexity")

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few texts in two languages."""
        return [
            {"text": "The meeting was moved from Monday to Thursday because two of us are ill.",
             "summary": "The meeting is on Thursday."},
            {"text": "Our neighbour repairs clocks, radios and old bicycles in his yard, for nothing.",
             "summary": "The neighbour repairs old things."},
            {"text": "Собрание перенесли с понедельника на утро четверга: двое из нас болеют.",
             "summary": "Собрание будет в четверг."},
            {"text": "Поезд отходит в 7:45 с двенадцатого пути, а не с третьего, как обычно.",
             "summary": "Поезд отходит с другого пути."},
        ]  # fmt: skip
