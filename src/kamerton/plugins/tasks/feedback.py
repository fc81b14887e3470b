"""Feedback: a request, an answer, and whether people wanted it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.errors import Unusable
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Example, Place, Turn
from kamerton.forms.given import BinaryFeedback, balanced_weights
from kamerton.forms.messages import kept, read_messages, said
from kamerton.forms.writing import require_writer
from kamerton.plugins.tasks._shared import SYSTEM, WANTED, assistant, paragraphs, request_of, user
from kamerton.runs.settings import Group
from kamerton.text.cells import filled, plain

GOOD = {
    *("true", "good", "desirable", "wanted", "yes", "up", "thumbs_up", "like", "liked", "positive", "+1"),
    *("upvote", "да", "хорошо", "хороший", "нравится", "полезно", "👍"),
}
BAD = {
    *("false", "bad", "undesirable", "unwanted", "no", "down", "thumbs_down", "dislike", "disliked"),
    *("negative", "-1", "downvote", "нет", "плохо", "плохой", "не нравится", "бесполезно", "👎"),
}
NUMBERS = {"1", "0"}
"""Read only where it is said that they mean this: elsewhere they number classes."""


class Feedback(Group):
    """Prefer answers that people wanted over those that they did not."""

    beta: Annotated[float, Field(gt=0)] = Field(
        0.1, description="Scale of the rewards (Ethayarajh et al. 2024, section 5.1)."
    )
    desirable: Annotated[float, Field(gt=0)] | None = Field(
        None, description="The weight of answers that people wanted; if neither is given, both kinds count the same."
    )
    undesirable: Annotated[float, Field(gt=0)] | None = Field(
        None, description="The weight of answers that people did not want."
    )

    roles: ClassVar = (
        Role(
            "prompt",
            ("prompt", "instruction", "question", "query", "request", "messages", "conversations", "conversation",
             "вопрос", "запрос", "инструкция"),
            msg("what is asked"),
            weak=("input", "text"),
        ),
        Role("input", ("input",), msg("what the request is about"), required=False),
        SYSTEM,
        Role(
            "wanted",
            (*WANTED.spellings, "feedback", "thumbs", "vote", "reaction", "отзыв", "реакция"),
            msg("whether people wanted the answer: true or false, good or bad, yes or no"),
            to_learn=True,
            varied=True,
        ),
        Role(
            "completion",
            ("completion", "response", "answer", "output", "reply", "assistant", "ответ"),
            msg("the answer"),
            to_learn=True,
        ),
    )  # fmt: skip
    kinds: ClassVar = ("decoder",)
    answers: ClassVar = "likelihood"

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept answers of which some were wanted and some were not."""
        words = [_word(cell) for cell in columns["wanted"] if filled(cell)]
        wanted = sum(word in GOOD for word in words)
        if not set(words) <= GOOD | BAD or not 0 < wanted < len(words):
            return ""
        return msg("answers that people wanted and did not want; `--task instruction` leaves the latter out")

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example whose text is the request; a row without a judgment has no answer."""
        prompt = _turns(values.get("prompt"), plain(values.get("input")))
        if not prompt:
            raise Unusable(msg("there is no request"))
        wanted, answer = _wanted(values.get("wanted")), _answer(values.get("completion"))
        text, request = request_of(prompt, values)
        fields = {**request, "completion": kept(answer), "wanted": wanted}
        return Example(id, place, text, "" if wanted is None else said(answer), fields)

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Compare each answer's likelihood with that before training. Raises `ModelError` for an encoder."""
        require_writer(kind)
        counts = Counter(bool(example.fields["wanted"]) for example in examples)
        weights = self.desirable, self.undesirable
        balanced = balanced_weights(counts[True], counts[False]) if weights == (None, None) else (1.0, 1.0)
        desirable, undesirable = (a if given is None else given for given, a in zip(weights, balanced, strict=True))
        answers = tuple(sorted({example.gold for example in examples}))
        return BinaryFeedback(self.beta, desirable, undesirable, answers)

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return first how well likelihood separates wanted answers from others."""
        return ("feedback-auc", "feedback-margin")

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few answers in two languages, as texts and as messages."""
        return [
            {"prompt": "Name the capital of France.", "completion": "Paris", "wanted": True},
            {"prompt": "Name the capital of France.", "completion": "I do not know.", "wanted": False},
            {"prompt": [user("Make it polite: give me that.")],
             "completion": [assistant("Could you give me that, please?")], "wanted": True},
            {"prompt": "Назови столицу России.", "completion": "Париж", "wanted": False},
        ]  # fmt: skip


def _word(cell: object) -> str:
    return plain(cell).strip().casefold().replace("thumbs ", "thumbs_")


def _wanted(cell: object) -> bool | None:
    """Parse whether people wanted an answer; None if the cell is empty."""
    word = _word(cell)
    if not word:
        return None
    if word not in GOOD | BAD | NUMBERS:
        raise Unusable(msg("'{word}' does not say whether the answer was wanted", word=word))
    return word in GOOD or word == "1"


def _turns(value: object, material: str) -> tuple[Turn, ...]:
    """Parse a request: messages, or a text above its material."""
    if isinstance(value, list | Mapping):
        return read_messages(value)
    text = paragraphs(plain(value), material)
    return (Turn("user", text),) if text else ()


def _answer(value: object) -> Turn:
    """Parse an answer: a text, a message, or messages that end with it."""
    if not isinstance(value, list | Mapping) or not value:
        return Turn("assistant", plain(value) if filled(value) and value != [] else "")
    turns = read_messages(value)
    if turns[-1].role != "assistant":
        raise Unusable(msg("the answer does not end with the assistant's turn"))
    return turns[-1]
