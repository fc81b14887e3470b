"""Conversations that are spread over rows, kept as trees, or kept apart from their history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from kamerton.core.errors import Fault, Unusable
from kamerton.core.messages import Wording, msg
from kamerton.core.records import LedgerEntry
from kamerton.data.cells import LOOKED_AT, holds_truths, truth
from kamerton.data.shape import Shape, Values, in_order, passed_on, remade, rest
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
REQUESTS = ("Instruction", "prompt", "query", "question", "message")
ANSWERS = ("output", "response", "answer", "completion")
WRITTEN = ("response", "text", "answer", "completion", "output", "content", "generation", "message")
SCORES = ("overall_score", "score", "rating", "rank", "fine-grained_score", "reward", "quality")
JUDGED = ("kto_tag", "wanted", "desirable", "is_desirable", "thumbs_up", "liked", "нравится")
"""Columns that say whether people wanted an answer, in whichever way yes and no are written."""
PERHAPS = ("label", "labels", "good", "is_good", "хороший")
"""Columns that say so where they hold truth values."""
TALKS = ("messages", "conversations", "conversation", "dialog", "dialogue", "диалог")


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
    roles = {ROLES.get(word, "?") for word in _words(table, who)}
    return _together(table, number, who, text) if {"user", "assistant"} <= roles and "?" not in roles else None


def _words(table: Table, who: str) -> set[str]:
    return {plain(row.values.get(who)).strip().casefold() for row in table.rows[:LOOKED_AT]}


def lone_messages(table: Table) -> Fault | None:
    """Return a fault if the rows are messages that no column groups into conversations; else None."""
    found = [called(names, table.columns) for names in (SPEAKERS, SAID)]
    if not all(len(columns) == 1 for columns in found):
        return None
    words = _words(table, found[0][0])
    if not words <= ROLES.keys() or not {"user", "assistant"} <= {ROLES[word] for word in words}:
        return None
    rule = msg("the rows are messages, but no column says which of them are one conversation")
    remedy = msg("add such a column, conversation_id, or write one conversation a line: {example}; if they are "
                 "something else, name the task: {flag}",
                 example='{"messages": [...]}', flag="--task WORD")  # fmt: skip
    return Fault(rule, table.file, remedy)


def _together(table: Table, number: str, who: str, text: str) -> Table:
    talks, rows = dict[str, tuple[int, list[dict[str, object]]]](), Collector(table.file)
    for row in passed_on(in_order(table), rows):
        _, turns = talks.setdefault(plain(row.values.get(number)), (row.place.line, []))
        turns.append({"role": plain(row.values.get(who)), "content": row.values.get(text)})
    for name, (line, turns) in talks.items():
        rows.accept(line, {number: name, "messages": turns})
    note = msg("messages with the same '{number}' are one row", number=number)
    return remade(table, rows, (number, "messages"), note)


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
        answers = (one for one in self.replies if _speaks(one) == "assistant" and one.rank is not None)
        ordered = sorted(answers, key=lambda one: one.rank or 0)
        return ordered if len({one.rank for one in ordered}) > 1 else []


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
    read, rows = list(trees), Collector(table.file)
    usable = [tree for tree in read if tree.root]
    pairs = 2 * sum(next(_pairs(tree), None) is not None for tree in usable) >= len(usable)
    for tree in read:
        held = list(_pairs(tree) if pairs else _paths(tree))
        for values in held:
            rows.accept(tree.line, {"message_tree_id": tree.name, **values})
        if not held:
            rows.reject(tree.line, tree.reason or (UNRANKED if pairs else UNANSWERED))
    columns = ("message_tree_id", "messages", *(("chosen", "rejected") if pairs else ()))
    return remade(table, rows, columns, RANKED if pairs else PATHS)


def _walk(tree: _Tree, following: Callable[[_Node], Sequence[_Node]]) -> Iterator[tuple[_Node, list[dict[str, str]]]]:
    """Yield messages level by level, each with the turns of its conversation up to it."""
    waiting = [(tree.root, list[dict[str, str]]())] if tree.root else []
    for node, before in waiting:  # grows while it is read
        path = [*before, node.message]
        yield node, path
        waiting += [(reply, path) for reply in following(node)]


def _pairs(tree: _Tree) -> Iterator[Values]:
    """Yield the best and the worst answer to each message, after the turns before it."""
    for node, path in _walk(tree, lambda node: node.replies):
        if answers := node.ranked:
            better = [*path, answers[0].message]
            yield {"messages": better, "chosen": better, "rejected": [*path, answers[-1].message]}


def _paths(tree: _Tree) -> Iterator[Values]:
    """Yield the conversations of a tree: all that people wrote, and the best answer to each, or the first."""
    for node, path in _walk(tree, _continued):
        if not _continued(node):
            answered = path if _speaks(node) == "assistant" else path[:-1]
            if any(ROLES.get(turn["role"].casefold()) == "assistant" for turn in answered):
                yield {"messages": answered}


def _continued(node: _Node) -> list[_Node]:
    best = node.ranked[:1] or [one for one in node.replies if _speaks(one) == "assistant"][:1]
    return best + [one for one in node.replies if _speaks(one) == "user"]


def _beside_history(history: str) -> Shape:
    """Prepend the earlier turns of Alpaca-like rows (LLaMA-Factory, Cohere) to the request."""

    def rows(values: Values) -> Iterator[Values]:
        """Yield the row with the earlier turns before its request."""
        [asked, *_], [reply, *_] = (called(names, list(values)) for names in (REQUESTS, ANSWERS))
        before = values.get(history)
        request = "\n\n".join(part for part in (plain(values.get(asked)), plain(values.get("input"))) if part.strip())
        answer = [{"role": "assistant", "content": values[reply]}] if filled(values.get(reply)) else []
        turns = [
            {"role": ("user", "assistant")[at % 2], "content": one} if isinstance(one, str) else one
            for at, one in enumerate(before if isinstance(before, list) else [])
        ]
        turns += [{"role": "user", "content": request}, *answer]
        yield {**rest(values, history, asked, "input", reply), "messages": turns}

    def holds(values: Values) -> bool:
        held = all(called(names, list(values)) for names in (REQUESTS, ANSWERS))
        return held and isinstance(values.get(history), list) and bool(values.get(history))

    note = msg("the turns in '{column}' stand before the request", column=history)
    return Shape(frozenset({history}), holds, rows, note)


def _logged(request: str) -> Shape:
    """Read requests to an API of chats: OpenAI's batches, and logs with the response beside."""

    def rows(values: Values) -> Iterator[Values]:
        """Yield the conversation of a request and its response."""
        body = values.get(request)
        if not isinstance(body, Mapping):
            raise Unusable(msg("'{column}' is not an object", column=request))
        asked = {name: body[name] for name in ("messages", "input", "system", "tools") if filled(body.get(name))}
        system = {"system": body["instructions"]} if filled(body.get("instructions")) else {}
        reply = _replied(values.get("response"))
        yield {**rest(values, request, "response"), **asked, **system, **({"completion": [reply]} if reply else {})}

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


def _has_authors(values: Values) -> bool:
    turns = values.get("messages")
    return isinstance(values.get("context"), str) and isinstance(turns, list) and "author" in next(iter(turns), {})


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
    """Read the best and the worst of several answers that were scored, or ranked from 1 on."""

    def rows(values: Values) -> Iterator[Values]:
        """Yield the preference of the best answer over the worst."""
        scored = sorted(_scored(values.get(column)), key=lambda one: -one[0])
        if len(scored) < 2:
            raise Unusable(msg("fewer than two answers in '{column}' have a score", column=column))
        if scored[0][0] == scored[-1][0]:
            raise Unusable(msg("all answers in '{column}' have the same score", column=column))
        yield {**rest(values, column, "models", "messages"), "chosen": scored[0][1], "rejected": scored[-1][1]}

    note = msg("of the answers in '{column}', the best and the worst make a pair", column=column)
    return Shape(frozenset({column}), lambda values: len(list(_scored(values.get(column)))) > 1, rows, note)


def _winning(values: Values) -> Iterator[Values]:
    """Read two conversations and who won, as in the arena of chatbots (Zheng et al. 2023)."""
    won = plain(values.get("winner")).strip().casefold()
    if won not in ("model_a", "model_b", "a", "b"):
        raise Unusable(msg("neither conversation won"))
    better, worse = ("conversation_a", "conversation_b")[:: 1 if won.endswith("a") else -1]
    others = rest(values, "conversation_a", "conversation_b", "winner")
    yield {**others, "chosen": values.get(better), "rejected": values.get(worse)}


def judged(table: Table) -> Shape | None:
    """Return how judged answers are split from their conversations; None if none are judged."""
    some = [row.values for row in table.rows[:LOOKED_AT]]
    talks = [name for name in called(TALKS, table.columns) if any(are_messages(one.get(name)) for one in some)]
    marks = called(JUDGED, table.columns)
    marks += [name for name in called(PERHAPS, table.columns) if holds_truths(table, name)] if not marks else []
    if len(marks) != 1 or {truth(one.get(marks[0])) for one in some if filled(one.get(marks[0]))} != {True, False}:
        return None
    [mark] = marks
    if len(talks) == 1:
        note = msg("'{column}' judges the last answer of each conversation", column=mark)
        return Shape(frozenset({talks[0], mark}), lambda values: True, partial(_parted, talks[0], mark), note)
    if holds_truths(table, mark):
        return None
    note = msg("'{column}' says yes and no", column=mark)
    return Shape(
        frozenset(marks), lambda values: True, lambda values: [{**values, mark: truth(values.get(mark))}], note
    )


def _parted(talk: str, mark: str, values: Values) -> Iterator[Values]:
    turns = values.get(talk)
    if not isinstance(turns, list) or len(turns) < 2:
        raise Unusable(msg("the conversation is not a list of messages"))
    others = rest(values, talk, mark)
    yield {**others, "prompt": turns[:-1], "completion": turns[-1:], mark: truth(values.get(mark))}


CHATS = (
    *map(_beside_history, ("history", "chat_history")),
    *map(_logged, ("body", "request")),
    Shape(  # Vertex's PaLM
        frozenset({"context", "messages"}),
        _has_authors,
        lambda values: [{**rest(values, "context"), "system": values.get("context")}],
        msg("the system prompt stands in '{column}'", column="context"),
    ),
    Shape(
        frozenset({"conversation_a", "conversation_b", "winner"}),
        lambda values: are_messages(values.get("conversation_a")),
        _winning,
        msg("'{column}' says which conversation is chosen", column="winner"),
    ),
    *map(_rated, ("completions", "answers", "responses", "candidates", "outputs", "generations")),
)
