"""`kamerton serve`, asked by OpenAI's own client: its answers are those of `kamerton predict`, also under attack."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import openai
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from hostile_requests import Attacker, carry_out, request
from kamerton.feedback.living import judge_log
from kamerton.serve.abtest import AbTest
from kamerton.serve.refusal import RefusalError
from kamerton.serve.requests import OutcomeRequest
from serving import Server, tune_writers
from stories import DONE, MISTAKE, Place

WRITERS = ("writer", "first", "second", "soft", "rewriter")
KEY = "a key of more than sixteen letters"
ATTACKS = 400
"""The whole of this is `make bench-serve`."""


@pytest.fixture(scope="module")
def tuned(place: Place) -> Place:
    tune_writers(place)
    place.run("head")
    return place


@pytest.fixture(scope="module")
def server(tuned: Place) -> Iterator[Server]:
    """One server for all tests that only ask; it drains and ends with status 0."""
    server = Server.start(
        tuned,
        "head",
        "likely",
        *WRITERS,
        "--ab",
        "new=second,old=first",
        "--outcomes",
        "log/outcomes.jsonl",
        "--queue",
        "40",
        "--base",
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as silent:
        silent.sendall(b"POST /v1/classify HTTP/1.1\r\nHost:")
        yield server
        assert silent.recv(1) == b""  # closed by the server, since no request came
    ended = server.stop()
    assert ended.status == DONE, ended.said
    assert "Traceback" not in ended.said and not server.logged("error")


@pytest.fixture(scope="module")
def predicted(tuned: Place) -> dict[str, list[tuple[str, str]]]:
    """What `kamerton predict` says of the writers' rows."""
    rows = [json.loads(line) for line in (tuned.folder / "echo.jsonl").read_text("utf-8").splitlines()]
    said = {name: tuned.call("predict", name, "echo.jsonl").out.splitlines() for name in WRITERS}
    asked = [row["instruction"] for row in rows]
    return {name: list(zip(asked, answers, strict=True)) for name, answers in said.items()}


def ask(server: Server, model: str, text: str, stream: bool) -> str:
    messages = [{"role": "user", "content": text}]
    create = server.client().chat.completions.create
    if not stream:
        return create(model=model, messages=messages).choices[0].message.content
    return "".join(
        chunk.choices[0].delta.content or "" for chunk in create(model=model, messages=messages, stream=True)
    )


def test_adapters_in_one_batch_answer_as_predict_does_whole_or_streamed(server: Server, predicted):
    jobs = [(name, at, at % 3 == 0) for at in range(12) for name in WRITERS]
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda job: ask(server, job[0], predicted[job[0]][job[1]][0], job[2]), jobs))
    assert said == [predicted[name][at][1] for name, at, _ in jobs]
    distinct = {name: {answer for _, answer in predicted[name]} for name in WRITERS}
    assert all(len(answers - {""}) > 1 for answers in distinct.values()), distinct  # in English and in Russian
    assert distinct["first"] != distinct["second"]


def test_classes_are_those_of_predict_for_many_at_once(server: Server, tuned: Place):
    texts = [f"a warm film {n}" if n % 2 else f"скучно и холодно {n}" for n in range(30)]
    wanted = [json.loads(tuned.call("predict", "head", texts[0], "--json").out)]
    (tuned.folder / "texts.csv").write_text("text\n" + "\n".join(texts), encoding="utf-8")
    wanted = [json.loads(line) for line in tuned.call("predict", "head", "texts.csv", "--json").out.splitlines()]

    def classify(text: str) -> dict:
        return server.post("/v1/classify", {"model": "head", "input": text}).raise_for_status().json()

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(classify, texts))
    assert [one["data"][0]["label"] for one in got] == [one["prediction"] for one in wanted]
    assert np.allclose([one["data"][0]["score"] for one in got], [one["score"] for one in wanted], atol=1e-5)
    together = server.post("/v1/classify", {"model": "head", "input": [{"text": text} for text in texts]}).json()
    assert [one["label"] for one in together["data"]] == [one["prediction"] for one in wanted]
    assert together["labels"] == ["bad", "good"] and together["data"][0]["num_classes"] == 2


def test_decisions_are_the_labels_with_their_probabilities(server: Server):
    text = "a warm film"
    [one] = server.post("/v1/classify", {"model": "head", "input": text}).json()["data"]
    questions = [
        {"type": "choice", "instructions": "", "choices": [{"value": "good"}, {"value": "bad"}], "name": "what"},
        {"type": "predicate", "instructions": "good"},
    ]
    decided = server.client().decisions.create(model="head", input=text, questions=questions)
    choice, predicate = decided.answers
    assert (choice.choice, choice.name) == (one["label"], "what")
    assert np.isclose(choice.confidence, one["score"], atol=1e-5)
    assert np.isclose(predicate.probability, one["probs"][1], atol=1e-5)
    for wrong in (
        {"type": "score"},
        {"type": "predicate", "instructions": "fun"},
        {**questions[0], "instructions": "?"},
    ):
        answer = server.post("/v1/decisions", {"model": "head", "input": text, "questions": [wrong]})
        assert answer.status_code == 400 and answer.json()["error"]["param"].startswith("questions[0]")


def test_labels_chosen_by_likelihood_are_decided_as_predict_does(server: Server, tuned: Place):
    text = "a warm film"
    wanted = json.loads(tuned.call("predict", "likely", text, "--json").out)
    answer = server.post("/v1/classify", {"model": "likely", "input": text}).json()
    [one] = answer["data"]
    assert (one["label"], answer["labels"]) == (wanted["prediction"], ["bad", "good"])
    assert np.isclose(one["score"], wanted["score"], atol=1e-5)
    questions = [{"type": "choice", "instructions": "", "choices": [{"value": "good"}, {"value": "bad"}]}]
    [choice] = server.client().decisions.create(model="likely", input=text, questions=questions).answers
    assert choice.choice == one["label"] and np.isclose(choice.confidence, one["score"], atol=1e-5)


def test_an_encoder_decoder_answers_one_message_or_one_prompt(server: Server, predicted):
    text, said = predicted["rewriter"][0]
    create = server.client().completions.create
    assert create(model="rewriter", prompt=text, max_tokens=40).choices[0].text.strip() == said
    drawn = [create(model="rewriter", prompt=text, seed=seed, temperature=2, n=2).choices for seed in (1, 1, 2)]
    texts = [[choice.text for choice in choices] for choices in drawn]
    assert texts[0] == texts[1] != texts[2]
    turns = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "?"},
    ]
    answer = server.post("/v1/chat/completions", {"model": "rewriter", "messages": turns})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "messages"
    too_long = server.post("/v1/completions", {"model": "rewriter", "prompt": text * 100})
    assert too_long.json()["error"]["code"] == "context_length_exceeded"


def test_the_base_of_a_run_with_weights_of_its_own_is_served_beside_it(server: Server, tuned: Place):
    create = server.client().completions.create
    base = create(model="decoder", prompt="A warm", max_tokens=6, logprobs=1).choices[0]
    again = create(model="writer", prompt="A warm", max_tokens=6, logprobs=1).choices[0]
    model, tokenizer = (
        kind.from_pretrained(tuned.folder / "decoder") for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    ids = tokenizer("A warm", return_tensors="pt")["input_ids"]
    first = model(input_ids=ids).logits[0, -1].log_softmax(-1).max().item()
    assert np.isclose(base.logprobs.token_logprobs[0], first, atol=1e-4)
    assert base.logprobs.token_logprobs[0] != again.logprobs.token_logprobs[0]
    refused = server.post("/v1/classify", {"model": "decoder", "input": "A warm film"})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "model"


def test_a_conversation_from_a_row_is_answered_as_the_row_is(server: Server, predicted):
    for name in ("writer", "rewriter"):
        text, said = predicted[name][0]
        found = server.post("/v1/messages", {"model": name, "input": [{"instruction": text}]}).json()
        messages = found["data"][0]["messages"]
        answer = server.client().chat.completions.create(model=name, messages=messages)
        assert answer.choices[0].message.content == said
    row = {"instruction": "Make it polite.", "input": "Give me that."}
    two = [
        server.post("/v1/messages", {"model": name, "input": row}).json()["data"][0] for name in ("writer", "rewriter")
    ]
    assert two[0]["messages"] == [{"role": "user", "content": "Make it polite.\n\nGive me that."}]
    assert two[1]["messages"] == []  # a message to an encoder-decoder is one text, and this row has two
    assert server.post("/v1/messages", {"model": "head", "input": "a film"}).json()["data"][0]["messages"] == []


def test_embeddings_are_unit_vectors_in_both_forms(server: Server):
    create = server.client().embeddings.create  # the client asks for base64 by itself
    both = create(model="head", input=["a warm film", "тёплый фильм"])
    plain = create(model="head", input="тёплый фильм", encoding_format="float")
    vectors = np.array([one.embedding for one in both.data])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[1], plain.data[0].embedding, atol=1e-5)
    assert both.usage.prompt_tokens > plain.usage.prompt_tokens > 0


def test_sampling_is_the_seeds_and_each_choice_its_own(server: Server):
    messages = [{"role": "user", "content": "Name the number 3."}]

    def drawn(seed: int) -> list[str]:
        answer = server.client().chat.completions.create(
            model="first", messages=messages, seed=seed, temperature=1.5, top_p=0.95, n=4, max_tokens=12
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        assert answer.usage.completion_tokens <= 4 * 12
        return [choice.message.content for choice in answer.choices]

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(set(drawn(1))) > 1


def test_stop_length_and_log_probabilities(server: Server, predicted):
    text, said = next(one for one in predicted["writer"] if len(one[1]) > 8)
    create = server.client().chat.completions.create
    messages = [{"role": "user", "content": text}]
    whole = create(model="writer", messages=messages, logprobs=True, top_logprobs=3)
    scores = whole.choices[0].logprobs.content
    assert len(scores) == whole.usage.completion_tokens
    assert all(one.logprob == max(top.logprob for top in one.top_logprobs) <= 0 for one in scores)  # greedy
    stopped = create(model="writer", messages=messages, stop=[said[4:6]]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == (said[: said.index(said[4:6])].strip(), "stop")
    cut = create(model="writer", messages=messages, max_tokens=2).choices[0]
    assert cut.finish_reason == "length" and said.startswith(cut.message.content)
    chunks = list(
        create(model="writer", messages=messages, stop=said[4:6], stream=True, stream_options={"include_usage": True})
    )
    streamed = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert streamed == stopped.message.content
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


def test_completions_continue_texts_and_tokens_with_the_base_too(server: Server):
    create = server.client().completions.create
    answer = create(model="trained", prompt=["A warm", "Тёплый"], max_tokens=4, logprobs=1, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[0].text == answer.choices[1].text  # greedy
    assert len(answer.choices[0].logprobs.tokens) <= 4
    by_tokens = create(model="trained", prompt=[1, 5, 9], max_tokens=4)
    assert by_tokens.usage.prompt_tokens == 3
    streamed = create(model="trained", prompt="A warm", max_tokens=4, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == answer.choices[0].text


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("chat/completions", {"tools": []}, "tools"),
        ("chat/completions", {"messages": []}, "messages"),
        ("chat/completions", {"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ("chat/completions", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ("chat/completions", {"temperature": "hot"}, "temperature"),
        ("chat/completions", {"frequency_penalty": 0.5}, "frequency_penalty"),
        ("chat/completions", {"n": 10**9}, "n"),
        ("chat/completions", {"max_tokens": 10**6}, "messages"),
        ("chat/completions", {"top_logprobs": 2}, "top_logprobs"),
        ("chat/completions", {"model": "../../etc/passwd"}, "model"),
        ("chat/completions", {"model": "head"}, "model"),
        ("completions", {"prompt": "a", "echo": True}, "echo"),
        ("completions", {"prompt": [10**6]}, "prompt"),
        ("completions", {"prompt": ""}, "prompt[0]"),
        ("classify", {"input": [{"txt": "a"}]}, "input[0].txt"),
        ("classify", {"input": " "}, "input"),
        ("embeddings", {"input": "a"}, "model"),
        ("embeddings", {"model": "head", "input": "a", "dimensions": 5}, "dimensions"),
        ("decisions", {"input": "a", "questions": []}, "questions"),
        ("outcomes", {"id": "x"}, "reward"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(server: Server, path: str, body: dict, field: str):
    usual = {"chat/completions": {"model": "first", "messages": [{"role": "user", "content": "x"}]}}
    model = {} if path == "outcomes" else {"model": "head" if path == "classify" else "first"}
    answer = server.post(f"/v1/{path}", {**usual.get(path, {}), **model, **body})
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["param"] == field


def test_the_ab_test_is_sticky_blind_and_kept(server: Server, tuned: Place):
    client, path = server.client(), tuned.folder / "log" / "outcomes.jsonl"

    def answer(user: str) -> tuple[str, str]:
        messages = [{"role": "user", "content": "Назови число 9."}]
        made = client.chat.completions.create(model="ab", messages=messages, user=user, max_tokens=4)
        return made.id, made.choices[0].message.content

    ids = [answer(f"user {n}")[0] for n in range(12)]
    for at, id in enumerate(ids):
        assert server.post("/v1/outcomes", {"id": id, "reward": at % 2}).json()["recorded"]
    again = [answer("user 3")[0] for _ in range(3)]
    for id in again:
        server.post("/v1/outcomes", {"id": id, "reward": True}).raise_for_status()
    assert server.post("/v1/outcomes", {"id": ids[0], "reward": 1}).status_code == 409
    assert server.post("/v1/outcomes", {"id": ids[0][:-1] + "0", "reward": 1}).status_code == 404
    assert server.post("/v1/outcomes", {"winner": "new"}).status_code == 409  # rewards and winners do not mix
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    arms = {record["id"]: record["arm"] for record in records}
    assert set(arms.values()) == {"new", "old"}
    assert {arms[id] for id in again} == {arms[ids[3]]}
    assert not any(arm in id for id, arm in arms.items())
    state = server.get("/v1/ab").json()
    verdict = judge_log(path, first="new")
    assert (state["outcomes"], state["decision"], state["p_value"]) == (15, verdict.decision, verdict.p_value)


def test_a_decided_test_promotes_and_no_acknowledged_outcome_is_lost_by_a_kill(tuned: Place, tmp_path: Path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"winner": "old"}\n' * 40 + '{"winner": "ne')  # the last one was cut by a kill
    server = Server.start(tuned, "--ab", "new=second,old=first", "--outcomes", log, "--promote")
    assert server.get("/v1/ab").json()["promoted"] == "old"
    assert server.logged("promoted")[0]["outcomes"] == 40
    acknowledged = list[str]()

    def rate(name: str) -> None:
        for number in range(10_000):
            try:
                server.post("/v1/outcomes", {"winner": "tie", "id": f"{name}{number}"}).raise_for_status()
            except httpx2.TransportError:
                return
            acknowledged.append(f"{name}{number}")

    with ThreadPoolExecutor(4) as pool:
        rating = [pool.submit(rate, name) for name in "abcd"]
        wait_until(lambda: len(acknowledged) > 40)
        server.child.kill(signal.SIGKILL)
        server.child.wait()
        for one in rating:
            one.result()
    again = AbTest("new", "old", 0.5, log)  # as after a restart
    ids = [record["id"] for record in map(json.loads, log.read_text("utf-8").splitlines()) if "id" in record]
    assert len(ids) == len({*ids}) and {*acknowledged} <= {*ids}
    assert again.state()["outcomes"] == 40 + len(ids)
    with pytest.raises(RefusalError, match="an outcome already"):
        again.record(OutcomeRequest(winner="tie", id=acknowledged[-1]))


def test_metrics_models_health_and_the_page(server: Server):
    models = {model.id: model for model in server.client().models.list()}
    assert {"head", "likely", *WRITERS, "new", "old", "trained", "decoder", "seq2seq", "ab"} == models.keys()
    assert (models["head"].answers, models["head"].roles) == ("class", ["text", "second", "label"])
    assert server.get("/health").json() == {"status": "ok"} and server.get("/ready").status_code == 200
    metrics = server.get("/metrics").text
    for name in ("requests_total", "tokens_total", "first_token_seconds_bucket", "queue", "active", "rows_total"):
        assert f"kamerton_{name}" in metrics
    assert "process_resident_memory_bytes" in metrics
    page = server.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "[[" not in page.text and "http" not in page.text.replace("<!doctype", "")
    russian = server.get("/", **{"Accept-Language": "de, ru-RU;q=0.9, en;q=0.5"})
    assert '<html lang="ru">' in russian.text and "Ваш текст" in russian.text and '<html lang="en">' in page.text
    for name in ("page.js", "page.css", "stream.js"):
        assert name in page.text + server.get("/page.js").text and "http" not in server.get(f"/{name}").text


def test_the_body_of_an_answer_follows_its_head_at_once(server: Server):
    def seconds(client: httpx2.Client) -> float:
        began = time.perf_counter()
        client.get(f"{server.address}/health")
        return time.perf_counter() - began

    with httpx2.Client() as client:  # one connection: Nagle's algorithm would hold each body back for 40 ms
        before = [seconds(client) for _ in range(10)]
        assert any(seconds(client) < 0.035 for _ in range(200)), before  # the machine may be busy


def test_no_text_of_a_request_is_logged_unless_asked_for(server: Server):
    ask(server, "first", "a secret of mine", stream=False)
    server.post("/v1/classify", {"model": "head", "input": "a secret of mine"})
    server.post("/a-secret", {})
    assert "secret" not in server.child.err.read_text("utf-8")
    fields = {key for line in server.logged("request") for key in line}
    assert {"route", "status", "seconds", "model", "prompt_tokens", "completion_tokens"} <= fields


def test_a_key_is_demanded_and_a_drain_answers_what_was_asked(tuned: Place, monkeypatch):
    assert tuned.call("serve", "head", "--host", "0.0.0.0").status == MISTAKE
    assert tuned.call("serve", "head", "--key-env", "NO_SUCH_VARIABLE").status == MISTAKE
    server = Server.start(
        KeyedPlace(tuned.folder, tuned.nursery), "writer", "--key-env", "KEY_OF_A_TEST", "--log-prompts"
    )
    for key in ("", "Bearer", f"Bearer {KEY}x", f"Basic {KEY}", f"Bearer {KEY[:-1]}"):
        assert server.get("/v1/models", Authorization=key).status_code == 401
    with pytest.raises(openai.AuthenticationError):
        server.client("wrong").models.list()
    client = server.client(KEY)
    stream = client.completions.create(model="writer", prompt="A", max_tokens=150, temperature=2, stream=True)
    chunks = [next(stream)]
    server.child.kill(signal.SIGTERM, group=False)
    chunks += list(stream)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    ended = server.child.wait()
    assert ended.status == DONE, ended.said
    assert server.logged("drained") and server.logged("stopped")


class KeyedPlace(Place):
    """A place whose children have the key in their environment."""

    def start(self, *arguments: object, **_: object):
        words = [str(argument) for argument in arguments]
        return self.nursery.start("serving:kamerton_with_key", words, cwd=self.folder)


def test_a_client_that_leaves_stops_its_answer(server: Server):
    left = metric(server, "kamerton_cancelled_total")
    stream = server.client().completions.create(
        model="trained", prompt="A warm", max_tokens=200, temperature=2, stream=True, n=4
    )
    next(stream)
    stream.close()
    wait_until(lambda: metric(server, "kamerton_cancelled_total") > left)
    wait_until(lambda: metric(server, "kamerton_active") == 0)
    assert server.get("/ready").status_code == 200


def test_a_full_queue_says_when_to_come_again(server: Server):
    body = {"model": "trained", "prompt": ["A warm"] * 16, "max_tokens": 100, "temperature": 2}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.post("/v1/completions", body), range(8)))
    full = [answer for answer in answers if answer.status_code == 429]
    assert full and all(answer.headers["retry-after"] == "1" for answer in full)
    assert {answer.status_code for answer in answers} == {200, 429}


def metric(server: Server, name: str) -> float:
    [line] = [line for line in server.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


def wait_until(happened, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_adapter_that_changes_nothing_is_refused(tuned: Place):
    ended = tuned.nursery.run("serving:serve_unchanged", ["first"], cwd=tuned.folder)
    assert ended.status == MISTAKE and "the adapter changes nothing" in ended.err, ended.said


def test_two_models_of_one_name_and_a_taken_port_are_told(server: Server, tuned: Place):
    assert "two models would have the name 'head'" in tuned.call("serve", "head", "head").err
    taken = tuned.call("serve", "head", "--port", server.port)
    assert taken.status == MISTAKE and "the address cannot be used" in taken.err


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's commands use curl")
def test_the_commands_of_the_page_on_serving_work(server: Server):
    page = (Path(__file__).parent.parent / "docs" / "serving.md").read_text(encoding="utf-8")
    rated = server.client().completions.create(model="ab", prompt="One", max_tokens=2, user="reader").id
    here = {
        "http://127.0.0.1:8000": server.address,
        '"reviews"': '"head"',
        '"answers"': '"first"',
        '"ID"': f'"{rated}"',
    }
    for old, new in here.items():
        page = page.replace(old, new)
    commands = [line for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 8
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", f"{command} --fail-with-body"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    for script in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(script, {"print": lambda *_, **__: None})  # noqa: S102


def test_nothing_that_is_sent_stops_it(server: Server):
    attacker = Attacker(0, "first", "head")
    attacks = [attacker.draw() for _ in range(ATTACKS)]
    right = {"model": "head", "input": "a warm film"}
    wanted = server.post("/v1/classify", right).json()["data"][0]["label"]

    def one(at: int) -> int:
        if at % 20 == 0:
            answer = server.post("/v1/classify", right)
            assert answer.status_code in (200, 429)  # under attack, the queue may be full
            assert answer.status_code == 429 or answer.json()["data"][0]["label"] == wanted
        return carry_out(attacks[at], server.port)

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(one, range(ATTACKS)))
    assert [(attacks[at].data[:200], status) for at, status in enumerate(statuses) if status >= 500] == []
    assert {200, 400, 403, 404, 413, 421} <= set(statuses)
    assert server.post("/v1/classify", right).json()["data"][0]["label"] == wanted


def test_many_connections_at_once_and_silent_ones_shut_nobody_out(server: Server):
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    for at, connection in enumerate(idle):
        connection.sendall(request("/v1/classify", b"x" * at, "Content-Length: 1000"))
    began = time.monotonic()
    assert server.get("/health").status_code == 200
    body = json.dumps({"model": "head", "input": "a warm film"}).encode()
    data = request("/v1/classify", body)
    busy = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(60)]
    for connection in busy:
        connection.sendall(data)
    assert all(connection.makefile("rb").readline().split()[1] in (b"200", b"429") for connection in busy)
    assert time.monotonic() - began < 20
    for connection in (*idle, *busy):
        connection.close()


def test_pages_of_others_and_names_of_others_are_refused(server: Server):
    body = {"model": "head", "input": "a"}
    own = server.address.removeprefix("http://")
    assert server.post("/v1/classify", body, Origin=server.address).status_code == 200
    assert server.post("/v1/classify", body, Origin="http://evil.example").status_code == 403
    assert server.post("/v1/classify", body, Origin="null").status_code == 403
    assert server.post("/v1/classify", body, Host="evil.example").status_code == 421
    assert server.post("/v1/classify", body, Host=own.replace("127.0.0.1", "localhost")).status_code == 200
    answer = server.post("/v1/classify", body, **{"Content-Type": "text/plain"})
    assert answer.status_code == 415 and "access-control-allow-origin" not in answer.headers
