"""llama.cpp's server over a GGUF file, as long as it is asked: the file's own tokenizer and template are used."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kamerton.core import registry
from kamerton.core.children import start_python
from kamerton.core.errors import Fault, RunError
from kamerton.core.messages import msg

PROGRAM, LIBRARY, EXTRA = "llama-server", "xllamacpp", "llama-cpp"
"""llama.cpp's own program, and the library that brings the same server."""
PATIENCE = 10
"""Seconds for it to end."""


@contextmanager
def serving(file: Path, context: int) -> Iterator[str]:
    """Start a server on this machine, yield its address up to `/v1`, and end it.

    Args:
        file: the model.
        context: tokens that a request and its answer may take; the model's own limit holds, too.

    Raises:
        RecipeError: llama.cpp is not installed.
        RunError: it cannot load the file.
    """
    program = shutil.which(PROGRAM)
    if not program:
        registry.require(LIBRARY, EXTRA)
    script = Path(__file__).with_name("_llama_server.py")
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        child = start_python(errors, str(script), str(file), str(context), program or "")
        with child:
            try:
                if not (address := child.stdout.readline().strip() if child.stdout else ""):
                    child.wait()
                    errors.seek(0)
                    last = errors.read().strip().rpartition("\n")[2][:300]
                    rule = msg("llama.cpp cannot serve this file: {error}", error=last or str(child.returncode))
                    raise RunError(Fault(rule, str(file), msg("see that `llama-server --model FILE` serves it")))
                yield f"{address}/v1"
            finally:
                _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    """End a server by the end of its input; by force if that takes too long."""
    try:
        child.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
