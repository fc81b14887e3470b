"""Serve a GGUF file by llama.cpp until the input ends: a separate program, which may crash alone.

python -P _llama_server.py FILE CONTEXT [PROGRAM]    prints the address once it answers
"""

import http.client
import importlib
import os
import socket
import subprocess
import sys
import time

HOST = "127.0.0.1"
POLL = 0.1
"""Seconds between two looks at a server that loads its model."""


def by_program(file: str, context: str, program: str) -> None:
    """Run llama.cpp's own program."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    options = (
        "--model",
        file,
        "--ctx-size",
        context,
        "--parallel",
        "1",
        "--host",
        HOST,
        "--port",
        str(port),
        "--jinja",
    )
    with subprocess.Popen([program, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        while server.poll() is None and not is_ready(port):
            time.sleep(POLL)
        if server.poll() is None:
            wait(f"http://{HOST}:{port}")
            server.terminate()


def is_ready(port: int) -> bool:
    """Return whether a server answers that its model is loaded."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def by_library(file: str, context: str) -> None:
    """Run the same server in this process."""
    xllamacpp = importlib.import_module("xllamacpp")  # not where llama.cpp's own program is
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.port = file, int(context), 1, 0
    params.verbosity, params.warmup, params.use_jinja = -1, False, True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = len(os.sched_getaffinity(0))
    server = xllamacpp.Server(params)  # without a name for it, it would end here
    wait(server.listening_address)
    os._exit(0)  # the server's threads have no end of their own


def wait(address: str) -> None:
    """Write the address, and wait until the process that started the server closes the input, or is killed."""
    print(address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    by_program(*sys.argv[1:]) if sys.argv[3:] and sys.argv[3] else by_library(*sys.argv[1:3])
