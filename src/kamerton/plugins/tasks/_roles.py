"""Names that the columns of several tasks go by."""

from __future__ import annotations

from kamerton.core.contracts import Role
from kamerton.core.messages import msg

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
