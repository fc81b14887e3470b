"""SetFit's head without its contrastive part: embeddings once, and scikit-learn's logistic regression on them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import torch
from protocol import Result, open_job, peak_memory, write
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from setfit import SetFitModel
from sklearn.linear_model import LogisticRegression


def rows(run: str, part: str) -> tuple[list[str], list[str]]:
    """Read texts and labels of a part."""
    table = pq.read_table(Path(run) / "data" / f"{part}.parquet", columns=["text", "gold"])
    return table["text"].to_pylist(), table["gold"].to_pylist()


def main() -> None:
    """Train, score, write the result."""
    job, watch, path = open_job()
    torch.set_num_threads(job.threads)
    layers = Transformer(job.model)
    body = SentenceTransformer(modules=[layers, Pooling(layers.get_embedding_dimension())], device="cpu")
    model = SetFitModel(model_body=body, model_head=LogisticRegression())
    watch.begin()
    texts, labels = rows(job.run, "train")
    model.fit(texts, labels, num_epochs=1, batch_size=job.batch)
    watch.stepped()
    texts, labels = rows(job.run, "test")
    found = model.predict(texts, batch_size=job.eval_batch, use_labels=False)
    accuracy = sum(a == b for a, b in zip(found, labels, strict=True)) / len(labels)
    write(path, Result(test_accuracy=accuracy, peak_bytes=peak_memory(), **watch.seconds()))


if __name__ == "__main__":
    main()
