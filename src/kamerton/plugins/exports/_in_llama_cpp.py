"""Ask llama.cpp's server about a GGUF file, by HTTP as its users do: a separate program, which may crash alone.

python -P _in_llama_cpp.py JOB.json    the job names the files, the questions, and the files for the answers
"""

import http.client
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import xllamacpp
from safetensors.numpy import save_file

SECONDS = 600
"""A server that is silent for so long is not awaited."""
FORCED = 1e4
"""What is added to the logit of a token that is to be taken; the distribution is told from before."""


class Client:
    """A server in this process."""

    def __init__(self, job: dict[str, Any]) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = job["model"]
        if job["beside"]:
            adapter = xllamacpp.CommonAdapterLoraInfo()
            adapter.path, adapter.scale = job["beside"], 1.0
            params.lora_adapters = [adapter]
        params.n_ctx, params.n_parallel, params.port, params.verbosity = job["context"], 1, 0, -1
        params.warmup, params.use_jinja, params.n_gpu_layers = False, True, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
        # the default, keys and values of 16 bits, would hide differences of the weights
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xllamacpp.Server(params)
        self.address = urlsplit(self.server.listening_address)
        self.connection = http.client.HTTPConnection(self.address.hostname or "", self.address.port, timeout=SECONDS)

        self.vocabulary: int = self.request("GET", "/v1/models")["data"][0]["meta"]["n_vocab"]

    def post(self, path: str, question: dict[str, object]) -> Any:
        """Return the answer to a question."""
        return self.request("POST", path, json.dumps(question).encode())

    def request(self, verb: str, path: str, body: bytes = b"") -> Any:
        """Return the answer to a request."""
        self.connection.request(verb, path, body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        said = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise ValueError(said.decode(errors="replace"))
        return json.loads(said)

    def tokens(self, text: str) -> list[int]:
        """Tokenize a text as a prompt is."""
        ids: list[int] = self.post("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]
        return ids

    def conversation(self, messages: list[dict[str, str]]) -> dict[str, object]:
        """Return the tokens of a conversation by the server's template, and how many the chat itself counts."""
        prompt = self.post("/apply-template", {"messages": messages})["prompt"]
        usage = self.post("/v1/chat/completions", {"messages": messages, "max_tokens": 1})["usage"]
        return {"tokens": self.tokens(prompt), "counted": usage["prompt_tokens"]}

    def distribution(self, tokens: list[int], plain: int) -> np.ndarray:
        """Return the logarithms of the next token's probabilities: `[vocabulary]`.

        The token `plain` is taken: after an end token, the server tells no probabilities.
        """
        forced = {"samplers": ["temperature"], "logit_bias": [[plain, FORCED]]}
        asked = {"prompt": tokens, "n_predict": 1, "n_probs": self.vocabulary, "cache_prompt": True, **forced}
        answer = self.post("/completion", asked)
        found = np.full(self.vocabulary, -np.inf, dtype=np.float32)
        for one in answer["completion_probabilities"][0]["top_logprobs"]:
            found[one["id"]] = one["logprob"]
        return found

    def continuation(self, tokens: list[int], most: int) -> list[int]:
        """Return the most probable continuation of a prompt until an end token."""
        asked = {"prompt": tokens, "n_predict": most, "temperature": 0, "top_k": 1, "return_tokens": True}
        answer = self.post("/completion", asked)
        ids: list[int] = answer["tokens"]
        return ids


def main(path: str) -> None:
    """Run a job."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    client = Client(job)
    found = [client.distribution(tokens, job["plain"]) for tokens in job["prefixes"]]
    save_file({str(number): values for number, values in enumerate(found)}, job["distributions"])
    said = {
        "texts": [client.tokens(text) for text in job["texts"]],
        "conversations": [client.conversation(messages) for messages in job["conversations"]],
        "continuations": [client.continuation(tokens, job["most"]) for tokens in job["prompts"]],
    }
    Path(job["answers"]).write_text(json.dumps(said), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # the server's threads have no end of their own


if __name__ == "__main__":
    main(sys.argv[1])
