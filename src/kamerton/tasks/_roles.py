"""Names that the columns of several tasks go by."""

from __future__ import annotations

FIRST_TEXT = (
    "text", "sentence", "review", "comment", "content", "message", "body", "tweet", "utterance", "document",
    "description", "title", "sentence1", "text1", "text_a", "premise", "question1", "question", "query",
    "текст", "отзыв", "предложение", "сообщение", "комментарий", "описание", "посылка", "вопрос",
)  # fmt: skip
SECOND_TEXT = (
    "sentence2", "text2", "text_b", "text_pair", "hypothesis", "question2", "context", "passage", "paragraph",
    "гипотеза", "контекст",
)  # fmt: skip
