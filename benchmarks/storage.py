"""Tune a tiny model at s3:// addresses of a server on this machine (moto's), killed again and again: is it whole?

Run by `make bench-storage`. The data and the run are only there. After each `kill -9` at a random moment, another
"machine" (a cache folder of its own) must read a whole run; at the end, weights must be those of a run that stood on
disk and was never killed, all commands must work from the address, and no object, output or file may hold the key.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import s3fs
from moto.server import ThreadedMotoServer

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from stories import weights_of, write_reviews
from tiny_models import tiny_encoder

KEY, SECRET = "AKIAKAMERTONTEST0001", "hush/hush/not-to-be-found-anywhere"
SETTINGS = ("--model", "encoder", "--method", "full", "--epochs", "6", "--learning-rate", "3e-3",
            "--set", "evaluate.resamples=200", "--set", "evaluate.validations_per_epoch=2")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "HF_HUB_OFFLINE": "1", "KAMERTON_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    try:
        with tempfile.TemporaryDirectory(prefix="ks-") as name:
            return Trial(Path(name)).run(options.kills)
    finally:
        server.stop()


class Trial:
    """Machines with caches of their own in one folder, a bucket, and what they all said."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, ""
        self.system = s3fs.S3FileSystem()
        self.system.mkdir("bucket")
        tiny_encoder(folder / "encoder")
        write_reviews(folder / "reviews.csv")
        self.system.put_file(str(folder / "reviews.csv"), "bucket/data/reviews.csv")

    def start(self, machine: str, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "kamerton", *words], cwd=self.folder, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env={**os.environ, "KAMERTON_CACHE": str(self.folder / machine)},
        )  # fmt: skip

    def call(self, machine: str, *words: str) -> float:
        began, child = time.perf_counter(), self.start(machine, *words)
        said, _ = child.communicate()
        self.said += said
        if child.returncode:
            raise SystemExit(f"kamerton {' '.join(words)} failed:\n{said}")
        return time.perf_counter() - began

    def run(self, kills: int) -> int:
        address, drawn = "s3://bucket/runs/x", random.Random(0)
        local = self.call("local", "tune", "reviews.csv", *SETTINGS, "--out", "local-run")
        print(f"on disk, undisturbed: {local:.1f} s", flush=True)
        words, done = ("tune", "s3://bucket/data/reviews.csv", *SETTINGS, "--out", address), 0
        states = 0
        while done < kills:
            child = self.start("writer", *words)
            time.sleep(drawn.uniform(3, 1.2 * local))
            if child.poll() is None:
                child.kill()
                done += 1
            self.said += child.communicate()[0]
            self.system.invalidate_cache()
            if self.system.exists("bucket/runs/x/states"):
                states += 1
                self.call(f"reader-{done}", "verify", address)
                words = ("resume", address)
            print(
                f"kill {done}: {'whole' if self.system.exists('bucket/runs/x/states') else 'nothing yet'}", flush=True
            )
            if child.returncode == 0:
                break
        self.call("another", "resume", address)
        for command in (("report", address), ("verify", address), ("compare", address, "local-run"),
                        ("predict", address, "s3://bucket/data/reviews.csv"), ("predict", address, "A fine film"),
                        ("evaluate", address, "s3://bucket/data/reviews.csv"),
                        ("export", address, "--to", "merged", "--out", "merged")):  # fmt: skip
            print(f"{command[0]}: {self.call('user', *command):.1f} s", flush=True)
        [folder] = [path for path in (self.folder / "user" / "runs").iterdir() if path.is_dir()]
        equal = weights_of(folder) == weights_of(self.folder / "local-run")
        leaks = [one for one in self.system.find("bucket") if SECRET.encode() in self.system.cat_file(one)]
        leaks += [str(one) for one in self.folder.rglob("*") if one.is_file() and SECRET.encode() in one.read_bytes()]
        leaks += ["output"] if SECRET in self.said or KEY in self.said else []
        size = sum(self.system.size(one) for one in self.system.find("bucket/runs/x"))
        print(f"{done} kills, {states} readings of a run that was whole each time; {size / 1e6:.1f} MB at the address")
        print(f"weights {'equal' if equal else 'DIFFER from'} those on disk; places with the key: {leaks or 'none'}")
        return int(not equal or bool(leaks))


if __name__ == "__main__":
    sys.exit(main())
