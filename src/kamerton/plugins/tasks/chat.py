"""Chat: conversations of several turns; the assistant's are trained on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.errors import Unusable
from kamerton.core.messages import Wording, msg
from kamerton.core.records import BETWEEN, Example, Place, Turn
from kamerton.forms.conversation import Conversation, TrainOn, answered, learned, turns_of
from kamerton.forms.message_parts import MarkError
from kamerton.forms.messages import read_messages, said, system_prompt, with_system, written
from kamerton.forms.rendered import read_rendered
from kamerton.forms.writing import require_writer
from kamerton.plugins.tasks._shared import SYSTEM, WANTED, assistant, rows_of, user, writing_metrics
from kamerton.runs.settings import Group
from kamerton.text.cells import few, filled, plain

LOOKED_AT = 50
ONE_TEXT = (
    "text", "input", "content", "data", "formatted_text", "formatted_chat", "formatted", "full_text", "training_text",
    "sample", "example", "transcript", "текст", "переписка",
)  # fmt: skip
"""Columns that may hold messages, or a whole conversation as one text, where nothing better is there."""


class Chat(Group):
    """Answer as the assistant of these conversations."""

    train_on: TrainOn = Field(
        "assistant", description="The tokens to train on: all turns of the assistant, only its last one, or everything."
    )

    roles: ClassVar = (
        Role(
            "messages",
            ("messages", "conversations", "conversation", "chat", "dialog", "dialogue", "turns", "utterances",
             "contents", "диалог", "беседа", "сообщения"),
            msg("a list of messages with their roles"),
            weak=("prompt", *ONE_TEXT),
        ),
        Role(
            "completion",
            ("completion", "response", "ideal", "answer", "output", "expected", "expected_output", "reference_answer"),
            msg("the answer, or the messages, that follow"),
            required=False,
        ),
        SYSTEM,
        Role("tools", ("tools", "functions"), msg("the tools that the assistant may call"), required=False),
        WANTED,
    )  # fmt: skip
    kinds: ClassVar = ("decoder",)
    answers: ClassVar = "text"

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept lists of messages, in most of which an assistant answers; the others are reported one by one."""
        rows = [row for row in rows_of(columns) if filled(row["messages"])][:LOOKED_AT]
        answered = [_speaks(row) for row in rows]
        unread, silent = answered.count(None), answered.count(False)
        if not rows or (unread and not few(unread, len(rows))) or 2 * silent > len(rows):
            return ""
        cells = [row["messages"] for row in rows]
        texts = [cell for cell in cells if isinstance(cell, str) and cell.lstrip()[:1] != "["]
        if templates := Counter(form.template for text in texts if (form := read_rendered(text))):
            return msg(
                "conversations in one text ({template}), read as messages; `--task language-modeling` reads plain text",
                template=templates.most_common(1)[0][0],
            )
        by_turns = any(isinstance(turn, str) for cell in cells if isinstance(cell, list) for turn in cell)
        return msg("turns of two speakers; the second one is the assistant") if by_turns else msg("messages with roles")

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example whose answer is all turns of the assistant that may be trained on.

        Raises `Unusable` if no user speaks before the assistant, or all its answers are marked as not to be trained on.
        """
        messages = with_system(_messages(values), system_prompt(values.get("system")), plain(values.get("tools")))
        answers = answered(messages)
        if any(turn.role == "assistant" for turn in messages) and not answers:
            raise Unusable(msg("no turn of the user comes before the assistant's"))
        if answers and not any(messages[at].taught for at in answers):
            raise Unusable(msg("every answer of the conversation is marked as not to be trained on"))
        text = BETWEEN.join(message.content for message in messages if message.role != "assistant")
        gold = BETWEEN.join(said(messages[at]) for at in learned(messages))
        return Example(id, place, text, gold, {"messages": written(messages)})

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Train the assistant's turns. Raises `ModelError` for an encoder."""
        require_writer(kind)
        return Conversation(self.train_on, tuple(answer for example in examples for answer in _answers(example)))

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return exact match first for short closed answers, chrF for long ones."""
        return writing_metrics([answer for example in examples for answer in _answers(example)])

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few conversations, in two languages and in several shapes."""
        return [
            {"messages": [
                {"role": "system", "content": "Be short."},
                user("Name the capital of France."), assistant("Paris"), user("And of Russia?"), assistant("Moscow"),
            ]},
            {"messages": [
                {"from": "human", "value": "Which time is it?"},
                {"from": "function_call", "value": '{"name": "clock"}'},
                {"from": "observation", "value": "7:45"},
                {"from": "gpt", "value": "It is 7:45."},
            ], "tools": '[{"name": "clock"}]'},
            {"messages": ["Как тебя зовут?", "Камертон.", "Кто ты?", "Стальная вилка."]},
            {"messages": [["доброе утро", "доброе утро, сосед"], ["Который час?", "Семь."]]},
            {"messages": [{"instruction": "Назови столицу России.", "output": "Москва"}], "system": "Отвечай кратко."},
        ]  # fmt: skip


def _answers(example: Example) -> list[str]:
    turns = turns_of(example)
    return [f"{turns[at].reasoning}{said(turns[at])}" for at in learned(turns)]


def _messages(values: Mapping[str, object]) -> tuple[Turn, ...]:
    """Parse the messages of a row, and the answer or the messages in a column of their own."""
    before, after = read_messages(values["messages"]), values.get("completion")
    after = after[:1] if isinstance(after, list) and all(isinstance(one, str) for one in after) else after
    if isinstance(after, list) and not all(isinstance(one, str) for one in after):
        return (*before, *read_messages(after))
    answer = after[0] if isinstance(after, list) and after else after
    open_end = bool(before) and before[-1].role != "assistant" and filled(answer)
    return (*before, Turn("assistant", plain(answer))) if open_end else before


def _speaks(values: Mapping[str, object]) -> bool | None:
    try:
        return bool(answered(_messages(values)))
    except MarkError:
        return True
    except ValueError:
        return None
