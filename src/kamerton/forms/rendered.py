"""Conversations in one text: rendered by a chat template, or written with names of the speakers."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Turns = tuple[tuple[str, str], ...]
"""Roles and texts."""
AROUND = re.compile(
    r"^(?:\s|<s>|<bos>|<\|begin_of_text\|>|<\|endoftext\|>|\[gMASK\]|<sop>|<\|startoftext\|>|<BOS_TOKEN>|<｜begin▁of▁sentence｜>)+"
)
ENDS = re.compile(
    r"(?:\s|</?s>|<eos>|<(?:\||｜)[\w▁]*end[\w▁]*(?:\||｜)>|<\|eot_id\|>|<\|eot\|>|<end_of_turn>|###\s*End)++",
    re.IGNORECASE,
)
"""Tokens before and after a conversation, and after a turn."""
USER = r"Human|User|Question|Instruction|Input|Customer|Client|Пользователь|Человек|Вопрос|Клиент|Инструкция|Запрос"
ASSISTANT = r"Assistant|Response|Answer|Output|Bot|AI|GPT|Ассистент|Ответ|Бот|Помощник|Оператор"
SYSTEM = r"System|Система"
SPEAKERS = {
    **dict.fromkeys(USER.casefold().split("|"), "user"),
    **dict.fromkeys(ASSISTANT.casefold().split("|"), "assistant"),
    **dict.fromkeys(SYSTEM.casefold().split("|"), "system"),
    **dict.fromkeys(("tool", "ipython", "observation"), "tool"),
    **dict.fromkeys(("model", "chatbot"), "assistant"),
    "prompter": "user",
    "developer": "system",
}
"""Roles by the headers of turns."""
NAMES = rf"{USER}|{ASSISTANT}|{SYSTEM}"


@dataclass(frozen=True)
class Rendered:
    """A conversation parsed from a text."""

    template: str
    """Its name: ChatML, Llama 2."""
    turns: Turns


def read_rendered(text: str) -> Rendered | None:
    r"""Parse a text as a conversation of a user and an assistant; None if no known template fits.

    >>> read_rendered("<s>[INST] Why? [/INST] Because. </s>")
    Rendered(template='Llama 2', turns=(('user', 'Why?'), ('assistant', 'Because.')))
    >>> read_rendered("### Human: Why?### Assistant: Because.").turns[1]
    ('assistant', 'Because.')
    """
    for template, marks, read in TEMPLATES:
        if any(mark in text for mark in marks):
            turns = tuple((role, said) for role, said in read(AROUND.sub("", text)) if said or role != "system")
            roles = {role for role, _ in turns}
            if {"user", "assistant"} <= roles <= {"user", "assistant", "system", "tool"}:
                return Rendered(template, turns)
    return None


def _headed(pattern: str) -> Callable[[str], Iterator[tuple[str, str]]]:
    """Return a parser of turns that begin with a mark of their role; text before them is a system prompt."""
    mark = re.compile(pattern)

    def read(text: str) -> Iterator[tuple[str, str]]:
        """Yield the role and the text of each turn."""
        before, *parts = mark.split(text)
        if before.strip():
            yield "system", before.strip()
        for who, said in zip(parts[::2], parts[1::2], strict=True):
            yield SPEAKERS.get(who.strip().casefold(), "?"), _ended(said)

    return read


def _ended(said: str) -> str:
    """Return a turn without the tokens after it; the pattern of all runs of them, unlike one of the last, is linear."""
    return ENDS.sub(lambda run: run[0] if run.end() < len(said) else "", said).strip()


def _bracketed(text: str) -> Iterator[tuple[str, str]]:
    """Yield Llama 2's and Mistral's turns: the user's in brackets, the assistant's after them."""
    for number, part in enumerate(re.split(r"\[INST\]", text)[1:]):
        asked, end, answered = part.partition("[/INST]")
        if not end:
            yield "?", asked
            return
        system = re.match(r"\s*<<SYS>>(.*?)<</SYS>>", asked, re.DOTALL)
        if system and not number:
            yield "system", system[1].strip()
        yield "user", (asked[system.end() :] if system else asked).strip()
        if said := _ended(answered):
            yield "assistant", said


def _alpaca(text: str) -> Iterator[tuple[str, str]]:
    """Yield Alpaca's request, perhaps with an input below, and its answer; the opening words are dropped."""
    before, *parts = re.split(r"(?:^|\n)#{2,3} ?(Instruction|Input|Response|Инструкция|Вход|Контекст|Ответ):?", text)
    if before.strip() and not PREAMBLE.match(before.strip()):
        yield "system", before.strip()
    asked = ""
    for head, said in zip(parts[::2], parts[1::2], strict=True):
        if head in ("Response", "Ответ"):
            yield "user", asked
            yield "assistant", _ended(said)
            asked = ""
        else:
            asked = "\n\n".join(filter(None, (asked, said.strip())))


PREAMBLE = re.compile(
    r"(Below is an? instruction|Ниже (приведена|дана) инструкция|Ниже приведено задание)", re.IGNORECASE
)
TEMPLATES: tuple[tuple[str, tuple[str, ...], Callable[[str], Iterator[tuple[str, str]]]], ...] = (
    ("ChatML", ("<|im_start|>",), _headed(r"<\|im_start\|>(\w+)\n?")),
    ("Llama 3", ("<|start_header_id|>",), _headed(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>")),
    ("Llama 4", ("<|header_start|>",), _headed(r"<\|header_start\|>(\w+)<\|header_end\|>")),
    ("Gemma", ("<start_of_turn>",), _headed(r"<start_of_turn>(\w+)\n?")),
    ("Llama 2", ("[INST]",), _bracketed),
    (
        "Phi, Zephyr or OpenAssistant",
        ("<|user|>", "<|prompter|>", "<|USER|>"),
        _headed(r"<\|(system|user|prompter|assistant|tool|observation|SYSTEM|USER|ASSISTANT)\|>"),
    ),
    ("DeepSeek", ("<｜User｜>",), _headed(r"<｜(User|Assistant)｜>")),
    ("Command R", ("<|USER_TOKEN|>",), _headed(r"<\|START_OF_TURN_TOKEN\|><\|(USER|CHATBOT|SYSTEM)_TOKEN\|>")),
    ("Saiga", ("<s>user", "<s>bot"), _headed(r"(?:^|<s>)(system|user|bot)\n")),
    ("Alpaca", ("### Instruction", "## Instruction", "### Инструкция"), _alpaca),
    ("names after ###", ("### ",), _headed(rf"###\s?(?i:({NAMES})):?")),
    ("OpenChat", ("GPT4 Correct User:",), _headed(r"GPT4 Correct (User|Assistant):")),
    ("Vicuna", ("USER:",), _headed(r"(?:^|(?<=\s)|(?<=</s>))(USER|ASSISTANT|SYSTEM): ?")),
    (
        "names of the speakers",
        (":",),
        _headed(rf"(?:(?:^|<s>)\s*+|\n[^\S\n]*+)(?:\*\*)?(?i:({NAMES}))(?:\*\*)?:(?:\*\*)? ?"),
    ),
)
"""Known templates, with texts that hint at them, and their parsers."""
