"""Conversations that are spread over rows, kept as trees, or kept apart from their history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from kamerton.core.errors import Fault, Unusable
from kamerton.core.messages import Wording, msg
from kamerton.core.records import LedgerEntry
from kamerton.data.cells import LOOKED_AT, holds_truths, truth
from kamerton.data.shape import Shape, Values, in_order, passed_on
from kamerton.data.spelling import called
from kamerton.data.table import Collector, Table
from kamerton.forms.messages import ROLES, are_messages
from kamerton.text.cells import filled, plain

CONVERSATIONS = (
    *("conversation_id", "conv_id", "dialog_id", "dialogue_id", "chat_id", "thread_id", "session_id", "ticket_id"),
    *("conversation", "dialog", "dialogue", "Chat", "session", "thread"),
    *("id диалога", "номер диалога", "диалог", "id чата", "чат", "беседа", "номер беседы", "обращение"),
)
SPEAKERS = ("role", "speaker", "author", "sender", "from", "author_role", "who", "роль", "автор", "отправитель", "кто")
SAID = ("content", "text", "message", "utterance", "value", "body", "текст", "сообщение", "реплика")
NO_TREE = msg("it is not a tree")
UNRANKED, UNANSWERED = msg("no answers of the tree were ranked"), msg("the tree has no answers")
RANKED = msg("of the answers to each message, the best ranked and the worst make a pair; for chats: --task chat")
PATHS = msg("each way through a tree along the first answers is a conversation")
TREE = frozenset({"message_id", "parent_id", "text", "role"})
"""Columns of OpenAssistant's messages, each with the id of the one it answers (Köpf et al. 2023)."""


def conversations(table: Table) -> Table | None:
    """Return a table with a row for each conversation whose messages are rows, or that is kept as a tree.

    Raises:
        DataError: most rows belong to no conversation.
    """
    some = [row.values for row in table.rows[:LOOKED_AT]]
    if any(isinstance(tree := one.get("prompt"), Mapping) and "replies" in tree for one in some):
        return _of_trees(table, _nested_trees(table))
    if set(table.columns) >= TREE:
        return _of_trees(table, _flat_trees(table))
    found = [called(names, table.columns) for names in (CONVERSATIONS, SPEAKERS, SAID)]
    if not all(len(columns) == 1 for columns in found):
        return None
    [number], [who], [text] = found
    roles = {ROLES.get(plain(one.get(who)).strip().casefold(), "?") for one in some}
    return _together(table, number, who, text) if {"user", "assistant"} <= roles and "?" not in roles else None


def lone_messages(table: Table) -> Fault | None:
    """Return a fault if the rows are messages that no column groups into conversations; else None."""
    found = [called(names, table.columns) for names in (SPEAKERS, SAID)]
    if not all(len(columns) == 1 for columns in found):
        return None
    words = {plain(row.values.get(found[0][0])).strip().casefold() for row in table.rows[:LOOKED_AT]}
    if not {"user", "assistant"} <= {ROLES.get(word, "?") for word in words} or not words <= ROLES.keys():
        return None
    rule = msg("the rows are messages, but no column says which of them are one conversation")
    remedy = msg("add such a column, conversation_id, or write one conversation a line: {example}; if they are "
                 "something else, name the task: {flag}",
                 example='{"messages": [...]}', flag="--task WORD")  # fmt: skip
    return Fault(rule, table.file, remedy)


# ── a message a row ───────────────────────────────────────────────────────────────────────────


def _together(table: Table, number: str, who: str, text: str) -> Table:
    turns, first, rows = dict[str, list[dict[str, object]]](), dict[str, int](), Collector(table.file)
    for row in passed_on(table, rows):
        name = plain(row.values.get(number))
        first.setdefault(name, row.place.line)
        message = {"role": plain(row.values.get(who)), "content": row.values.get(text)}
        turns.setdefault(name, []).append(message)
    for name, messages in turns.items():
        rows.accept(first[name], {number: name, "messages": messages})
    note = msg("messages with the same '{number}' are one row", number=number)
    return replace(rows.table((number, "messages"), table.format, table.encoding, [*table.notes, note]), reshaped=True)


# ── trees of messages ─────────────────────────────────────────────────────────────────────────


@dataclass
class _Node:
    role: str
    text: str
    rank: float | None
    replies: list[_Node] = field(default_factory=list)

    @property
    def message(self) -> dict[str, str]:
        return {"role": self.role, "content": self.text}

    @property
    def ranked(self) -> list[_Node]:
        """The answers to it that people put in an order, the best first; none if they are not of different ranks."""
        answers = [one for one in self.replies if _speaks(one) == "assistant" and one.rank is not None]
        answers.sort(key=lambda one: one.rank or 0)
        return answers if len({one.rank for one in answers}) > 1 else []


def _speaks(node: _Node) -> str:
    return ROLES.get(node.role.strip().casefold(), "")


def _node(values: Mapping[str, object]) -> _Node:
    rank = values.get("rank")
    known = float(rank) if isinstance(rank, int | float | str) and filled(rank) and plain(rank) != "nan" else None
    return _Node(plain(values.get("role")), plain(values.get("text")), known)


def _nested(value: object) -> _Node | None:
    if not isinstance(value, Mapping) or not filled(value.get("text")):
        return None
    node, replies = _node(value), value.get("replies")
    node.replies = [one for reply in (replies if isinstance(replies, list) else ()) if (one := _nested(reply))]
    return node


@dataclass
class _Tree:
    line: int
    name: str
    root: _Node | None
    reason: Wording = ""
    """Why it cannot be used."""


def _nested_trees(table: Table) -> Iterator[_Tree]:
    for row in in_order(table):
        if isinstance(row, LedgerEntry):
            yield _Tree(row.place.line, "", None, row.reason)
            continue
        root = _nested(row.values.get("prompt"))
        yield _Tree(row.place.line, plain(row.values.get("message_tree_id")), root, "" if root else NO_TREE)


def _flat_trees(table: Table) -> Iterator[_Tree]:
    """Build trees of rows that are messages and name the one they answer."""
    nodes, parents, lines = dict[str, _Node](), dict[str, str](), dict[str, int]()
    for row in in_order(table):
        if isinstance(row, LedgerEntry):
            yield _Tree(row.place.line, "", None, row.reason)
            continue
        name = plain(row.values.get("message_id"))
        nodes[name], lines[name] = _node(row.values), row.place.line
        parents[name] = plain(row.values.get("parent_id"))
    for name, node in nodes.items():
        if above := nodes.get(parents[name]):
            above.replies.append(node)
        elif _speaks(node) == "user":
            yield _Tree(lines[name], name, node)
        else:
            yield _Tree(lines[name], name, None, msg("the message that it answers is missing"))


def _of_trees(table: Table, trees: Iterator[_Tree]) -> Table:
    """Read pairs of a better and a worse answer if most trees have ranks, else conversations."""
    read = list(trees)
    usable = [tree for tree in read if tree.root]
    pairs = 2 * sum(next(_pairs(tree), None) is not None for tree in usable) >= len(usable)
    rows = Collector(table.file)
    for tree in read:
        held = list(_pairs(tree) if pairs else _paths(tree)) if tree.root else []
        for values in held:
            rows.accept(tree.line, {"message_tree_id": tree.name, **values})
        if not held:
            rows.reject(tree.line, tree.reason or (UNRANKED if pairs else UNANSWERED))
    columns = ("message_tree_id", "messages", *(("chosen", "rejected") if pairs else ()))
    notes = [*table.notes, RANKED if pairs else PATHS]
    return replace(rows.table(columns, table.format, table.encoding, notes), reshaped=True)


def _pairs(tree: _Tree) -> Iterator[Values]:
    """Yield the best and the worst answer to each message, after the turns before it."""
    waiting = [(tree.root, list[dict[str, str]]())] if tree.root else []
    while waiting:
        node, before = waiting.pop(0)
        path = [*before, node.message]
        if answers := node.ranked:
            better = [*path, answers[0].message]
            yield {"messages": better, "chosen": better, "rejected": [*path, answers[-1].message]}
        waiting += [(reply, path) for reply in node.replies]


def _paths(tree: _Tree) -> Iterator[Values]:
    """Yield the conversations of a tree: all that people wrote, and the best answer to each, or the first."""
    waiting = [(tree.root, list[dict[str, str]]())] if tree.root else []
    while waiting:
        node, before = waiting.pop(0)
        path = [*before, node.message]
        replies = node.ranked[:1] or [one for one in node.replies if _speaks(one) == "assistant"][:1]
        replies += [one for one in node.replies if _speaks(one) == "user"]
        waiting += [(reply, path) for reply in replies]
        if not replies:
            answered = path if _speaks(node) == "assistant" else path[:-1]
            if any(ROLES.get(turn["role"].casefold()) == "assistant" for turn in answered):
                yield {"messages": answered}


# ── what stands beside ────────────────────────────────────────────────────────────────────────

REQUESTS = ("Instruction", "prompt", "query", "question", "message")
ANSWERS = ("output", "response", "answer", "completion")


def _with_history(history: str, values: Values) -> Iterator[Values]:
    """Prepend the earlier turns of Alpaca-like rows (LLaMA-Factory, Cohere) to the request."""
    [asked, *_], [reply, *_] = (called(names, list(values)) for names in (REQUESTS, ANSWERS))
    before = values.get(history)
    request = "\n\n".join(part for part in (plain(values.get(asked)), plain(values.get("input"))) if part.strip())
    kept = {name: cell for name, cell in values.items() if name not in (history, asked, "input", reply)}
    answer = [{"role": "assistant", "content": values[reply]}] if filled(values.get(reply)) else []
    turns = [{"role": "user", "content": request}, *answer]
    yield {**kept, "messages": [*_turns(before if isinstance(before, list) else []), *turns]}


def _turns(history: Sequence[object]) -> Iterator[object]:
    for at, one in enumerate(history):
        yield {"role": ("user", "assistant")[at % 2], "content": one} if isinstance(one, str) else one


def _has_turns(history: str, values: Values) -> bool:
    held = all(called(names, list(values)) for names in (REQUESTS, ANSWERS))
    return held and isinstance(values.get(history), list) and bool(values.get(history))


def _beside_history(history: str) -> Shape:
    note = msg("the turns in '{column}' stand before the request", column=history)
    return Shape(frozenset({history}), partial(_has_turns, history), partial(_with_history, history), note)


def _logged(request: str) -> Shape:
    """Read requests to an API of chats: OpenAI's batches, and logs with the response beside."""

    def rows(values: Values) -> Iterator[Values]:
        body = values.get(request)
        if not isinstance(body, Mapping):
            raise Unusable(msg("'{column}' is not an object", column=request))
        asked = {name: body[name] for name in ("messages", "input", "system", "tools") if filled(body.get(name))}
        system = {"system": body["instructions"]} if filled(body.get("instructions")) else {}
        reply = _replied(values.get("response"))
        kept = {name: cell for name, cell in values.items() if name not in (request, "response")}
        yield {**kept, **asked, **system, **({"completion": [reply]} if reply else {})}

    def holds(values: Values) -> bool:
        body = values.get(request)
        return isinstance(body, Mapping) and any(are_messages(body.get(name)) for name in ("messages", "input"))

    return Shape(frozenset({request}), holds, rows, msg("the messages stand in '{column}'", column=request))


def _replied(response: object) -> object:
    for key in ("body", "choices", 0, "message"):
        if isinstance(response, Mapping):
            response = response.get(key, response if key == "body" else None)
        elif isinstance(response, list):
            response = response[0] if key == 0 and response else None
    return response if are_messages([response]) else None


def _in_context(values: Values) -> Iterator[Values]:
    """Read the system prompt of Vertex's PaLM chats."""
    kept = {name: cell for name, cell in values.items() if name != "context"}
    yield {**kept, "system": values.get("context")}


def _has_authors(values: Values) -> bool:
    turns = values.get("messages")
    return isinstance(values.get("context"), str) and isinstance(turns, list) and "author" in next(iter(turns), {})


WRITTEN = ("response", "text", "answer", "completion", "output", "content", "generation", "message")
SCORES = ("overall_score", "score", "rating", "rank", "fine-grained_score", "reward", "quality")


def _best_and_worst(column: str) -> Callable[[Values], Iterator[Values]]:
    """Read the best and the worst of several answers that were scored, or ranked from 1 on."""

    def rows(values: Values) -> Iterator[Values]:
        scored = sorted(_scored(values.get(column)), key=lambda one: -one[0])
        if len(scored) < 2:
            raise Unusable(msg("fewer than two answers in '{column}' have a score", column=column))
        if scored[0][0] == scored[-1][0]:
            raise Unusable(msg("all answers in '{column}' have the same score", column=column))
        kept = {name: cell for name, cell in values.items() if name not in (column, "models", "messages")}
        yield {**kept, "chosen": scored[0][1], "rejected": scored[-1][1]}

    return rows


def _scored(answers: object) -> Iterator[tuple[float, object]]:
    for one in answers if isinstance(answers, list) else ():
        if not isinstance(one, Mapping):
            continue
        answer = next((one[key] for key in WRITTEN if filled(one.get(key))), None)
        key = next((key for key in SCORES if isinstance(one.get(key), int | float)), None)
        if answer is not None and key is not None:
            number = float(str(one[key]))
            yield (-number if key == "rank" else number), answer


def _rated(column: str) -> Shape:
    return Shape(
        frozenset({column}),
        lambda values: len(list(_scored(values.get(column)))) > 1,
        _best_and_worst(column),
        msg("of the answers in '{column}', the best and the worst make a pair", column=column),
    )


def _winning(values: Values) -> Iterator[Values]:
    """Read two conversations and who won, as in the arena of chatbots (Zheng et al. 2023)."""
    won = plain(values.get("winner")).strip().casefold()
    if won not in ("model_a", "model_b", "a", "b"):
        raise Unusable(msg("neither conversation won"))
    better, worse = ("conversation_a", "conversation_b")[:: 1 if won.endswith("a") else -1]
    kept = {name: cell for name, cell in values.items() if name not in ("conversation_a", "conversation_b", "winner")}
    yield {**kept, "chosen": values.get(better), "rejected": values.get(worse)}


JUDGED = ("kto_tag", "wanted", "desirable", "is_desirable", "thumbs_up", "liked", "нравится")
"""Columns that say whether people wanted an answer, in whichever way yes and no are written."""
PERHAPS = ("label", "labels", "good", "is_good", "хороший")
"""Columns that say so where they hold truth values."""


def judged(table: Table) -> Shape | None:
    """Return how judged answers are split from their conversations; None if none are judged."""
    some = [row.values for row in table.rows[:LOOKED_AT]]
    talks = [name for name in called(TALKS, table.columns) if any(are_messages(one.get(name)) for one in some)]
    marks = called(JUDGED, table.columns)
    marks += [name for name in called(PERHAPS, table.columns) if holds_truths(table, name)] if not marks else []
    if len(marks) != 1 or {truth(one.get(marks[0])) for one in some if filled(one.get(marks[0]))} != {True, False}:
        return None
    if len(talks) == 1:
        note = msg("'{column}' judges the last answer of each conversation", column=marks[0])
        return Shape(frozenset({talks[0], marks[0]}), lambda values: True, partial(_parted, talks[0], marks[0]), note)
    if holds_truths(table, marks[0]):
        return None
    note = msg("'{column}' says yes and no", column=marks[0])
    return Shape(frozenset(marks), lambda values: True, partial(_with_truth, marks[0]), note)


def _parted(talk: str, mark: str, values: Values) -> Iterator[Values]:
    turns = values.get(talk)
    kept = {name: cell for name, cell in values.items() if name not in (talk, mark)}
    if not isinstance(turns, list) or len(turns) < 2:
        raise Unusable(msg("the conversation is not a list of messages"))
    yield {**kept, "prompt": turns[:-1], "completion": turns[-1:], mark: truth(values.get(mark))}


def _with_truth(mark: str, values: Values) -> Iterator[Values]:
    yield {**values, mark: truth(values.get(mark))}


IN_CONTEXT = msg("the system prompt stands in '{column}'", column="context")
TALKS = ("messages", "conversations", "conversation", "dialog", "dialogue", "диалог")
CHATS = (
    *map(_beside_history, ("history", "chat_history")),
    *map(_logged, ("body", "request")),
    Shape(frozenset({"context", "messages"}), _has_authors, _in_context, IN_CONTEXT),
    Shape(
        frozenset({"conversation_a", "conversation_b", "winner"}),
        lambda values: are_messages(values.get("conversation_a")),
        _winning,
        msg("'{column}' says which conversation is chosen", column="winner"),
    ),
    *map(_rated, ("completions", "answers", "responses", "candidates", "outputs", "generations")),
)
