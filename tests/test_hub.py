"""A model of the Hugging Face Hub, by a server that speaks as the Hub does: what is downloaded, and which commit."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from kamerton.core.errors import RecipeError
from kamerton.runs.recipe import resolve

OLD, NEW = "a" * 40, "b" * 40
UNWANTED = ("pytorch_model.bin", "modeling_evil.py", "training_args.bin", "onnx/model.onnx", "x.pkl", "k.so", "run.sh")


class Hub(BaseHTTPRequestHandler):
    """Answers for the repository `org/tiny`, whose files are in a folder for each commit."""

    server: SimpleNamespace

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        parts = path.strip("/").split("/")
        if path.startswith("/api/models/org/tiny/"):
            commit = self.server.main if parts[5] == "main" else parts[5]
            files = sorted(one for one in (self.server.folder / commit).rglob("*") if one.is_file())
            names = {str(one.relative_to(self.server.folder / commit)): one.stat().st_size for one in files}
            tree = [{"type": "file", "path": name, "size": size, "oid": "0" * 40} for name, size in names.items()]
            info = {"_id": "0" * 24, "id": "org/tiny", "sha": commit, "siblings": [{"rfilename": n} for n in names]}
            return self.answer(json.dumps(tree if parts[4] == "tree" else info).encode(), commit)
        commit, name = parts[3], "/".join(parts[4:])
        return self.answer((self.server.folder / commit / name).read_bytes(), commit)

    def answer(self, body: bytes, commit: str) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(encoder_folder: Path, tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    for commit in (OLD, NEW):
        shutil.copytree(encoder_folder, tmp_path / "hub" / commit)
        (tmp_path / "hub" / commit / "README.md").write_text(commit)
        for name in UNWANTED:
            (tmp_path / "hub" / commit / name).parent.mkdir(exist_ok=True)
            (tmp_path / "hub" / commit / name).write_bytes(b"x")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    vars(server).update(folder=tmp_path / "hub", asked=[], main=OLD)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def located(hub: ThreadingHTTPServer, tmp_path: Path, revision: str | None) -> str:
    code = (
        "import sys; from pathlib import Path; from kamerton.models.locate import commit_of, locate\n"
        f"folder = locate('org/tiny', {revision!r})\n"
        "print(commit_of(folder), *sorted(path.name for path in folder.iterdir()))"
    )
    done = online(hub, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def online(hub: ThreadingHTTPServer, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the server in the place of the Hub, and with caches of its own."""
    environment = {
        **os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "KAMERTON_CACHE": str(tmp_path / "own"),
    }  # fmt: skip
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_only_weights_settings_and_tokenizers_of_one_commit_are_downloaded(hub, tmp_path):
    commit, *names = located(hub, tmp_path, None).split()
    assert (commit, names) == (OLD, ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
    files = [path for path in hub.asked if "/resolve/" in path]
    assert files and all(f"/resolve/{OLD}/" in path for path in files)
    assert not [path for path in files if path.endswith(UNWANTED)]
    hub.main = NEW
    assert located(hub, tmp_path, OLD).split()[0] == OLD
    assert located(hub, tmp_path, NEW).split()[0] == NEW


@pytest.mark.parametrize("revision", ["main", "../../../etc", "a" * 39, "A" * 40])
def test_a_revision_is_a_commit(revision):
    with pytest.raises(RecipeError, match="a commit of 40"):
        resolve(flags={"data.path": "x.csv", "model.revision": revision})


def test_the_commit_of_a_model_in_the_hubs_cache_stands_in_the_recipe(encoder_folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    from kamerton.pipeline.prepare import bind, parse_data

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--tiny"
    shutil.copytree(encoder_folder, repository / "snapshots" / OLD)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(OLD)
    data = write_films(tmp_path / "x.csv")
    parsed = parse_data(resolve(flags={"data.path": str(data), "model.name": "org/tiny"}))
    assert bind(parsed).recipe.model.revision == OLD


def test_a_model_of_the_catalogue_in_the_hubs_cache_is_chosen_where_none_is_named(
    encoder_folder, tmp_path, monkeypatch
):
    from huggingface_hub import constants
    from huggingface_hub.utils import _cache_manager

    from kamerton.pipeline.prepare import bind, choose_base, parse_data

    for module in (constants, _cache_manager):
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--FacebookAI--roberta-base"  # known as one of the best, though it is a tiny one here
    shutil.copytree(encoder_folder, repository / "snapshots" / OLD)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(OLD)
    parsed = choose_base(parse_data(resolve(flags={"data.path": str(write_films(tmp_path / "x.csv"))})))
    bound = bind(parsed)
    assert (bound.recipe.model.name, bound.recipe.model.revision) == ("FacebookAI/roberta-base", OLD)
    assert "the best on this machine" in str(bound.recipe.reasons["model.name"].reason)


def write_films(path: Path) -> Path:
    """Write 20 reviews that are English for sure."""
    lines = (f"this is the film that you have not seen {n},{'ab'[n % 2]}\n" for n in range(20))
    path.write_text("text,label\n" + "".join(lines))
    return path


def test_a_model_that_was_fetched_by_name_is_inspected_noted_and_stays_at_its_commit(hub, tmp_path):
    got = online(hub, tmp_path, "-m", "kamerton", "models", "get", "org/tiny")
    assert got.returncode == 0, got.stderr
    folder = Path(got.stdout.strip())
    note = tmp_path / "own" / "hub" / "org--tiny.json"
    noted = json.loads(note.read_text())
    assert (folder.name, noted["revision"]) == (OLD, OLD) and f"commit {OLD}" in got.stderr and str(note) in got.stderr
    assert noted["sha256"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())
    }
    hub.main = NEW
    asked = len(hub.asked)
    assert located(hub, tmp_path, None).split()[0] == OLD and len(hub.asked) == asked
    assert located(hub, tmp_path, NEW).split()[0] == NEW


def test_a_model_that_is_unsafe_is_refused_and_not_noted(hub, tmp_path):
    for commit in (OLD, NEW):
        config = json.loads((hub.folder / commit / "config.json").read_text())
        config["auto_map"] = {"AutoModel": "modeling_evil.Evil"}
        (hub.folder / commit / "config.json").write_text(json.dumps(config))
    got = online(hub, tmp_path, "-m", "kamerton", "models", "get", "org/tiny")
    assert (got.returncode, got.stdout) == (1, "") and "auto_map" in got.stderr and "Traceback" not in got.stderr
    assert not (tmp_path / "own" / "hub").exists()
