"""Children of this process that run Python: with the same packages, and nothing of the folder that they start in."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

NAMES = ("HOME", "LANG", "LANGUAGE", "LOGNAME", "TEMP", "TMP", "TMPDIR", "TZ", "USER")
GROUPS = (
    "ATEN_", "BNB_", "CUBLAS_", "CUDA_", "DNNL_", "GOMP_", "HF_", "HIP_", "HSA_", "KAMERTON_", "KMP_", "LC_", "LRU_",
    "MKL_", "NVIDIA_", "OMP_", "ONEDNN_", "OPENBLAS_", "PYTORCH_", "ROCR_", "TOKENIZERS_", "TORCH", "TRANSFORMERS_",
    "TRITON_", "USE_", "XDG_",
)  # fmt: skip
"""What the environment says of this machine's folders, language, processors and libraries; `HF_TOKEN` is a secret."""
PATHS = ("LD_LIBRARY_PATH", "PATH", "PYTHONPATH")


def clean_environment() -> dict[str, str]:
    """Return the part of the environment that a child needs, where no path leads to the working folder."""
    kept = {name: value for name, value in os.environ.items() if name in NAMES or name.startswith(GROUPS)}
    return {**kept, **_paths(), "HF_HUB_OFFLINE": "1", "HF_TOKEN": "", "PYTHONIOENCODING": "utf-8"}


def own_environment() -> dict[str, str]:
    """Return the user's whole environment, for their own commands, but for paths to the working folder."""
    return {**os.environ, **_paths(), "PYTHONIOENCODING": "utf-8"}


def _paths() -> dict[str, str]:
    kept = {}
    for name in PATHS:
        folders = [Path(part) for part in os.environ.get(name, "").split(os.pathsep)]
        kept[name] = os.pathsep.join(str(one) for one in folders if one.is_absolute() and one.resolve() != Path.cwd())
    return kept


def start_python(errors: IO[str], *arguments: str) -> subprocess.Popen[str]:
    """Start Python as `run_python` does, with pipes to its input and output, and a file for its errors."""
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        encoding="utf-8",
        errors="replace",
        env=clean_environment(),
    )


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python until it ends, with a clean environment; a module beside the data is not imported (`-P`)."""
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=clean_environment(),
        check=False,
    )
