"""What several tasks share: names of columns, rows of columns, answers, examples."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TypeVar

from kamerton.core.contracts import Role
from kamerton.core.messages import msg
from kamerton.core.records import Example, Place, Turn
from kamerton.forms.messages import system_prompt, with_system, written
from kamerton.forms.reading import joined
from kamerton.text.cells import filled, plain

T = TypeVar("T")

SHORT_ANSWER = 24
"""Median length in characters up to which answers are closed ones: a name, a number, a word or three."""

FIRST_TEXT = (
    "text", "sentence", "review", "comment", "content", "message", "body", "tweet", "utterance", "document",
    "description", "title", "sentence1", "text1", "text_a", "premise", "question1", "question", "query",
    "comment_text", "review_text", "news", "post", "текст", "текст отзыва", "текст сообщения", "текст новости",
    "текст обращения", "обращение", "новость", "отзыв",
    "предложение", "сообщение", "комментарий", "описание", "посылка", "вопрос",
)  # fmt: skip
UNSURE_TEXT = (
    "data", "headline", "headlines", "titles", "summaries", "name", "subject", "v2", "input_text", "ticket_description",
    "issue", "complaint", "phrase", "заголовок", "название", "наименование", "наименование товара", "жалоба",
    "описание проблемы", "фраза",
)  # fmt: skip
"""What is classified only where nothing better is there."""
SECOND_TEXT = (
    "sentence2", "text2", "text_b", "text_pair", "hypothesis", "question2", "context", "passage", "paragraph",
    "гипотеза", "контекст",
)  # fmt: skip
RATINGS = (
    "score", "rating", "stars", "grade", "mark", "overall", "toxicity", "star_rating",
    "review_score", "оценка", "балл", "баллы", "рейтинг", "токсичность",
)  # fmt: skip
"""What is a number as often as a class."""
SYSTEM = Role(
    "system",
    ("system", "system_prompt", "system_message", "system_instruction", "системный промпт", "системное сообщение"),
    msg("the system prompt"),
    required=False,
)
WANTED = Role(
    "wanted",
    ("wanted", "label", "labels", "desirable", "is_desirable", "good", "is_good", "liked", "thumbs_up", "kto_tag",
     "хороший", "нравится"),
    msg("whether people wanted the answer"),
    required=False,
    leaves_out=True,
)  # fmt: skip


def tried(parse: Callable[..., T], *values: object) -> T | None:
    """Return what a parser makes of values; None if it refuses them by a ValueError."""
    try:
        return parse(*values)
    except ValueError:
        return None


def rows_of(columns: Mapping[str, Sequence[object]]) -> list[dict[str, object]]:
    """Return columns, by role, as rows."""
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def text_pairs(columns: Mapping[str, Sequence[object]], first: str, second: str) -> list[tuple[str, str]]:
    """Return the pairs of two columns where both are filled; none if a cell among them is no text."""
    pairs = [pair for pair in zip(columns[first], columns[second], strict=True) if all(map(filled, pair))]
    texts = [(one, two) for one, two in pairs if isinstance(one, str) and isinstance(two, str)]
    return texts if len(texts) == len(pairs) else []


def text_example(id: int, place: Place, values: Mapping[str, object], answer: str, gold: str) -> Example:
    """Return an example of one text or two, with its answer in the field of this name."""
    text, second = plain(values["text"]), plain(values.get("second"))
    fields = {"text": text, answer: gold, **({"second": second} if second.strip() else {})}
    return Example(id, place, joined(text, second), gold, fields)


def request_of(prompt: Sequence[Turn], values: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """Return the text of a request, and the field that keeps its turns with the row's system prompt."""
    whole = with_system(prompt, system_prompt(values.get("system")), "")
    return "\n\n".join(turn.content for turn in prompt), {"prompt": written(whole)}


def paragraphs(*texts: str) -> str:
    """Join the texts that are not blank by empty lines."""
    return "\n\n".join(text for text in texts if text.strip())


def writing_metrics(answers: Sequence[str]) -> tuple[str, ...]:
    """Return the metrics of free answers: exact match first for short closed ones, chrF for long ones."""
    short = median(map(len, answers)) <= SHORT_ANSWER
    return (*(("exact-match", "chrf") if short else ("chrf", "exact-match")), "rouge-l", "perplexity")


def user(text: str) -> dict[str, object]:
    """Return a message of the user."""
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, object]:
    """Return a message of the assistant."""
    return {"role": "assistant", "content": text}
