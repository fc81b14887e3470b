"""Kamerton: fine-tune a pretrained language model on a narrow task, and prove whether it helped.

import kamerton

run = kamerton.tune("reviews.csv", method="lora")
run.verdict.decision, run.verdict.reason
run.predict(["A fine film."])
"""

import logging
import os
import sys

from kamerton.api import TunedRun, ab, compare, tune

__all__ = ["TunedRun", "__version__", "ab", "compare", "tune"]
__version__ = "0.1.0"

# where the package `kernels` is installed, transformers would fetch code from the Hub and run it, unasked; so would
# bitsandbytes, which PEFT imports. None in a module's place is Python's own way to say that it cannot be imported
os.environ.setdefault("USE_HUB_KERNELS", "NO")
sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
# threads of torch wait for each other by spinning, for so long that one other busy process makes training twenty times
# as slow (two cores, measured); with few spins before they sleep it is four times, and as fast as ever when alone
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# oneDNN keeps what it compiled for each of the last 1,024 shapes, twice, and rows of varying length are ever new
# shapes: half a GB in a hundred updates of an encoder with 23M weights (measured), for what is compiled anew in less
# than 1 ms. All that the layers of one pass share finds room in 32
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
os.environ.setdefault("LRU_CACHE_CAPACITY", "32")
