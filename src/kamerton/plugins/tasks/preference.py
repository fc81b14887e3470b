"""Preference: a request with a better and a worse answer."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.errors import Unusable
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Example, Place, Turn
from kamerton.forms.given import PreferenceLoss, Preferences
from kamerton.forms.messages import are_messages, kept, read_messages, read_transcript, said, with_system
from kamerton.forms.writing import require_writer
from kamerton.plugins.tasks._shared import SYSTEM, assistant, paragraphs, request_of, tried, user
from kamerton.runs.settings import Group
from kamerton.text.cells import filled, plain
from kamerton.text.printed import opened_text

BETAS: dict[PreferenceLoss, float] = {"dpo": 0.1, "orpo": 0.1, "simpo": 2.0}
"""Of the papers: Rafailov et al. 2023, appendix B; Hong et al. 2024, section 6; Meng et al. 2024, section 4."""


class Preference(Group):
    """Prefer the answers that people chose."""

    objective: PreferenceLoss = Field(
        "dpo", description="The loss: against the model before training (dpo), with the chosen answers' own (orpo), or "
        "by likelihoods per token (simpo)."
    )  # fmt: skip
    beta: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Scale of the rewards: 0.1 in dpo and orpo, 2 in simpo, if not given."
    )
    gamma: Annotated[float, Field(ge=0)] = Field(1.0, description="The target margin of simpo.")
    smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="Share of the rows whose answers may be swapped; for dpo."
    )

    roles: ClassVar = (
        Role(
            "prompt",
            ("prompt", "instruction", "question", "query", "request", "conversations", "conversation", "вопрос",
             "запрос"),
            msg("what is asked; may also begin the answers"),
            required=False,
            weak=("input", "history"),
        ),
        Role("input", ("input",), msg("what the request is about"), required=False),
        SYSTEM,
        Role(
            "rejected",
            ("rejected", "rejected_response", "response_rejected", "worse", "dispreferred", "non_preferred_output",
             "lose", "response_k", "neg_answer", "negative_answer", "neg_response", "negative_response", "bad_answer",
             "worse_answer", "отвергнутый", "хуже"),
            msg("the worse answer"),
            to_learn=True,
        ),
        Role(
            "chosen",
            ("chosen", "chosen_response", "response_chosen", "better", "preferred", "preferred_output", "win",
             "response_j", "pos_answer", "positive_answer", "pos_response", "positive_response", "good_answer",
             "better_answer", "выбранный", "лучше"),
            msg("the better answer"),
            to_learn=True,
        ),
    )  # fmt: skip
    kinds: ClassVar = ("decoder",)
    answers: ClassVar = "likelihood"

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept pairs of answers that differ."""
        rows = zip(columns["chosen"], columns["rejected"], strict=True)
        pairs = [pair for pair in rows if all(map(filled, pair))]
        if any(isinstance(cell, dict) and not tried(_answer, cell) for pair in pairs for cell in pair):
            return ""
        differ = any(chosen != rejected for chosen, rejected in pairs)
        return msg("a chosen answer and a rejected one") if differ else ""

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example whose text is the request; answers may be texts, messages, or whole conversations."""
        chosen, rejected = _answer(values.get("chosen")), _answer(values.get("rejected"))
        prompt = _turns(values.get("prompt"), plain(values.get("input"))) or chosen[:-1] or rejected[:-1]
        if not prompt:
            raise Unusable(msg("there is no request, neither as a prompt nor before the answers"))
        ends = [answer[-1] if answer else Turn("assistant", "") for answer in (chosen, rejected)]
        gold, worse = map(said, ends)
        if gold == worse and gold:
            raise Unusable(msg("the chosen answer and the rejected one are the same"))
        text, request = request_of(prompt, values)
        return Example(id, place, text, gold, {**request, "chosen": kept(ends[0]), "rejected": kept(ends[1])})

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return the form that compares the chosen answer with the rejected one. Raises `ModelError` for an encoder."""
        require_writer(kind)
        beta = self.beta if self.beta is not None else BETAS[self.objective]
        answers = tuple(example.gold for example in examples)
        return Preferences(self.objective, beta, self.gamma, self.smoothing, answers)

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return first the share of rows whose chosen answer is likelier."""
        return ("preference-accuracy", "preference-margin")

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few requests in two languages, as texts and as messages."""
        return [
            {"prompt": "Name the capital of France.", "chosen": "Paris", "rejected": "I do not know."},
            {"prompt": [user("Make it polite: give me that.")],
             "chosen": [assistant("Could you give me that, please?")], "rejected": [assistant("Give me that.")]},
            {"chosen": [user("Назови столицу России."), assistant("Москва")],
             "rejected": [user("Назови столицу России."), assistant("Париж")]},
        ]  # fmt: skip


def _turns(value: object, material: str) -> tuple[Turn, ...]:
    """Parse a request: messages, perhaps with tools, or a text above its material."""
    if isinstance(value, str) and are_messages(found := opened_text(value)):
        return read_messages(found)
    if isinstance(value, str) and (turns := read_transcript(value)) and not turns[-1].content:
        return turns[:-1]  # the answers stand elsewhere
    if not filled(value):
        return ()
    if isinstance(value, Mapping) and "messages" in value:
        return with_system(read_messages(value["messages"]), "", plain(value.get("tools") or ""))
    if isinstance(value, list):
        return read_messages(value)
    return (Turn("user", paragraphs(plain(value), material)),)


def _answer(value: object) -> tuple[Turn, ...]:
    """Parse an answer: a text, a message, or a conversation that ends with it, perhaps as JSON."""
    if (isinstance(value, list) and value) or isinstance(value, dict):
        turns = read_messages(value)
        if turns[-1].role != "assistant":
            raise Unusable(msg("a conversation of the answers does not end with the assistant's turn"))
        return turns
    if isinstance(value, str):
        found = opened_text(value)
        listed = None if isinstance(found, str) else tried(_answer, found)  # a text may begin so, too
        if listed is not None:
            return listed
        if (turns := read_transcript(value)) and turns[-1].role == "assistant":
            return turns
    return (Turn("assistant", plain(value)),) if filled(value) else ()
