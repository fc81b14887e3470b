"""Job files: what each launcher writes, what it refuses, and that the scripts do what they say.

The files in tests/jobs are what is written; `KAMERTON_WRITE_JOBS=1 pytest tests/test_jobs.py` writes them anew. The
scripts run in bash here, with stand-ins for `kamerton`, `ssh`, `srun` and `scontrol` that note how they are called;
a script of Ray runs in this process.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from kamerton.core import registry
from kamerton.core.errors import RecipeError, RunError
from kamerton.core.launching import ClusterJob
from kamerton.launch import jobs
from kamerton.launch.jobs import write_job
from stories import DONE, MISTAKE, USAGE

GOLDEN = Path(__file__).parent / "jobs"
TUNE = ("tune", "my reviews.csv", "--method", "full", "--out", "runs/reviews")
JOB = ClusterJob("reviews", "runs/reviews", TUNE, "/shared/project", 2, 8, "kamerton launch 8 --nodes 2 --to …")
CLOUD = replace(JOB, run="/runs/reviews", command=(*TUNE[:-1], "/runs/reviews"))
ACTIVATE = {"setup": "source /shared/venv/bin/activate", "environment": {"NCCL_SOCKET_IFNAME": "eth0"}}
WRITTEN: dict[str, tuple[str, ClusterJob, dict[str, object]]] = {
    "two-nodes.sbatch": ("slurm", JOB, {**ACTIVATE, "gpus": "h100:8", "time": "12:00:00", "partition": "gpu"}),
    "one-node.sbatch": ("slurm", replace(JOB, nodes=1, processes=2, command=("resume", "runs/reviews")), {}),
    "two-machines.sh": ("ssh", JOB, {**ACTIVATE, "hosts": "gpu1,me@gpu2"}),
    "two-machines.ray.py": ("ray", JOB, {**ACTIVATE, "gpus": "H100:8", "cpus": "4"}),
    "two-machines.sky.yaml": ("skypilot", CLOUD, {
        "setup": ["pip install kamerton"], "activate": "source ~/venv/bin/activate", "image": "docker:me/image:1",
        "gpus": "H100:8", "spot": True, "storage": {"/runs": "s3://my-runs"}, "environment": {"A": "1"},
    }),
}  # fmt: skip


@pytest.fixture(autouse=True)
def without_sbatch(monkeypatch):
    """Find no scheduler of this machine."""
    found = registry.load("kamerton.plugins.launchers._shared:shutil").which
    monkeypatch.setattr(
        "kamerton.plugins.launchers._shared.shutil.which", lambda name: found(name) if name == "bash" else None
    )


@pytest.mark.parametrize("name", WRITTEN)
def test_the_files_are_those_of_the_folder_and_pass_their_checks(name, tmp_path):
    word, job, settings = WRITTEN[name]
    written = write_job(job, word, settings, tmp_path / name)
    text = (tmp_path / name).read_text()
    if os.environ.get("KAMERTON_WRITE_JOBS"):
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()
    assert "its syntax was checked by" in str(written.checked)
    assert written.submission[-1] == str(tmp_path / name)


@pytest.mark.parametrize(
    ("word", "job", "settings", "told"),
    [
        ("slurmm", JOB, {}, "did you mean 'slurm'"),
        ("slurm", JOB, {"hosts": "gpu1"}, "there is no setting 'hosts'"),
        ("skypilot", CLOUD, {"partition": "gpu"}, "there is no setting 'partition'"),
        ("slurm", JOB, {"time": "soon"}, "12:00:00"),
        ("slurm", JOB, {"gpus": "many"}, "h100:8"),
        ("slurm", JOB, {"gpus": "h100:4"}, "8 processes do not fit gpus=h100:4"),
        ("slurm", JOB, {"environment": {"A B": "1"}}, "'A B' is no name of an environment variable"),
        ("ssh", JOB, {}, "hosts: this is missing"),
        ("ssh", JOB, {"hosts": "gpu1"}, "1 machine is named, and --nodes says 2"),
        ("ssh", JOB, {"hosts": "gpu1,-oProxyCommand=x"}, "is no name of a machine"),
        ("ray", JOB, {"gpus": "H100:4"}, "8 processes do not fit gpus=H100:4"),
        ("ray", JOB, {"partition": "gpu"}, "there is no setting 'partition'"),
        ("skypilot", JOB, {}, "on no storage that outlives a machine"),
        ("skypilot", CLOUD, {"storage": {"/data": "s3://x"}}, "on no storage that outlives a machine"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(word, job, settings, told, tmp_path):
    with pytest.raises(RecipeError) as caught:
        write_job(job, word, settings, tmp_path / "job")
    assert told in str(caught.value)
    assert not (tmp_path / "job").exists()


def test_another_file_is_never_replaced(tmp_path):
    path = tmp_path / "job.sbatch"
    write_job(JOB, "slurm", {}, path)
    write_job(JOB, "slurm", {}, path)
    path.write_text(path.read_text() + "# mine\n")
    with pytest.raises(RunError, match="another file already"):
        write_job(JOB, "slurm", {}, path)
    assert path.read_text().endswith("# mine\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"resource": {"cpus": 4}}, "resource"),
        ({"resources": {"job_recovery": {"max_restarts_on_error": 3}}}, "max_restarts_on_error"),
        ({"num_nodes": 0}, "at least 1"),
        ({"file_mounts": {"/runs": {"source": "s3://x", "mode": "RSYNC"}}}, "mode"),
        ({"run": "if true; then"}, "bash refuses it"),
    ],
)
def test_a_task_is_held_to_the_fields_that_skypilot_documents(change, told, tmp_path):
    task = yaml.safe_load((GOLDEN / "two-machines.sky.yaml").read_text())
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task | change))
    launcher = registry.choose("launchers", "skypilot")()
    with pytest.raises((RecipeError, ValueError)) as caught:
        launcher.check(tmp_path / "task.yaml")
    assert told in str(caught.value)


def test_a_launcher_of_someone_else_works_in_the_same_place(tmp_path, monkeypatch):
    code = "from kamerton.plugins.launchers.ssh import Ssh\nclass Mine(Ssh):\n    suffix = '.mine'\n"
    (tmp_path / "their_cluster.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(registry.ALLOWED, "their_cluster:Mine")
    assert write_job(JOB, "their_cluster:Mine", {"hosts": "a,b"}, None).file == "reviews.mine"


def test_a_job_is_submitted_by_its_own_program_only_where_that_is(tmp_path, monkeypatch):
    written = write_job(JOB, "slurm", {}, tmp_path / "job.sbatch")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="there is no sbatch here") as caught:
        jobs.submit(written)
    assert f"sbatch {tmp_path / 'job.sbatch'}" in str(caught.value)
    (tmp_path / "sbatch").write_text("#!/bin/sh\nexit 5\n")
    (tmp_path / "sbatch").chmod(0o755)
    assert jobs.submit(written) == 5


def test_a_demand_is_passed_on_to_the_starts_that_go_on(place):
    words = ("launch", "2", "--to", "ray", "--", "tune", "reviews.csv", "--out", "runs/demand", "--require", "ship")
    ended = place.call(*words)
    assert ended.status == DONE, ended.said
    script = (place.folder / "demand.ray.py").read_text()
    assert 'RESUME = ["resume", "runs/demand", "--require", "ship"]' in script


def test_the_command_writes_a_job_and_submits_nothing(place):
    words = ("launch", "2", "--to", "ssh", "--set", "hosts=here", "--", "tune", "reviews.csv", "--out", "runs/job")
    ended = place.call(*words)
    assert (ended.status, ended.err) == (DONE, ""), ended.said
    assert ended.out.splitlines() == ["job.sh", "its syntax was checked by bash", "submit it with: bash job.sh"]
    assert not (place.folder / "runs" / "job").exists()
    assert '"submission": [' in place.call(*words[:6], "--json", *words[6:]).out
    ended = place.call(*words[:4], "--set", "host=here", *words[6:])
    assert (ended.status, "did you mean 'hosts'?" in ended.err) == (MISTAKE, True)
    ended = place.call("launch", "2", "--to", "ssh", "--", "tune", "reviews.csv")
    assert (ended.status, "add --out FOLDER" in ended.err) == (USAGE, True)


# ── the scripts at work ───────────────────────────────────────────────────────────────────────

NOTE = 'echo "$(basename "$0") $*" >> "$NOTES/calls"\n'
STAND_INS = {
    "kamerton": """\
case "$*" in *" tune "*) mkdir -p runs/reviews; touch runs/reviews/recipe.yaml;; esac
trap 'echo stopped >> "$NOTES/calls"; exit 130' TERM USR1
rank=$(echo "$*" | sed -n "s/.*--node-rank \\([0-9]*\\).*/\\1/p")
rank=${rank:-0}
echo $$ > "$NOTES/began-$rank.new"; mv "$NOTES/began-$rank.new" "$NOTES/began-$rank"
if [ -e "$NOTES/wait-$rank" ]; then rm "$NOTES/wait-$rank"; sleep 30 & wait $!; fi
status=$(cat "$NOTES/status-$rank" 2>/dev/null)
rm -f "$NOTES/status-$rank"
until [ -e "$NOTES/began-0" ]; do sleep 0.01; done
exit ${status:-0}
""",
    "scontrol": '[ "$1" != show ] || echo node1\n',
    "srun": """\
while [ "${1#--}" != "$1" ]; do shift; done
trap 'kill -USR1 $!' USR1
SLURM_NODEID=0 "$@" &
while kill -0 $! 2>/dev/null; do sleep 0.05; done
wait $!
""",
    "ssh": 'while [ "${1#-}" != "$1" ]; do shift; done; shift; exec bash -c "$*"\n',
}
"""What stands for each program; `status-N` has the exit status of the next start on node N, `wait-N` lets it wait."""


@dataclass
class Bench:
    """A folder with stand-ins, in which a script runs."""

    folder: Path
    script: Path

    def start(self, **variables: str) -> subprocess.Popen[str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "NOTES": str(self.folder), "SLURM_JOB_ID": "7", **variables}
        return subprocess.Popen(["bash", str(self.script)], cwd=self.folder, env=environment, text=True)

    def run(self, **variables: str) -> int:
        return self.start(**variables).wait(60)

    def calls(self, program: str) -> list[str]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [line.removeprefix(f"{program} ") for line in lines if line.startswith(program)]

    def next_status(self, status: int, node: int = 0) -> None:
        (self.folder / f"status-{node}").write_text(str(status))

    def let_wait(self, *nodes: int) -> None:
        for node in nodes:
            (self.folder / f"wait-{node}").touch()

    def wait_for(self, *nodes: int) -> None:
        until = time.monotonic() + 30
        while not all((self.folder / f"began-{node}").exists() for node in nodes) and time.monotonic() < until:
            time.sleep(0.01)


def bench(folder: Path, word: str, settings: dict[str, object], nodes: int) -> Bench:
    (folder / "bin").mkdir()
    for name, body in STAND_INS.items():
        path = folder / "bin" / name
        path.write_text(f"#!/bin/bash\n{NOTE}{body}")
        path.chmod(0o755)
    job = replace(JOB, folder=str(folder), nodes=nodes, processes=2)
    return Bench(folder, Path(write_job(job, word, settings, folder / "job").file))


BEGUN = "launch 2 -- tune my reviews.csv --method full --out runs/reviews"
GONE_ON = "launch 2 -- resume runs/reviews"


def test_a_slurm_job_goes_on_after_a_stop_and_ends_after_a_mistake(tmp_path):
    job = bench(tmp_path, "slurm", {"retries": 1}, 1)
    job.next_status(130)
    assert (job.run(), job.calls("kamerton"), job.calls("scontrol")) == (130, [BEGUN], ["requeue 7"])
    job.next_status(1)
    assert (job.run(), job.calls("kamerton"), job.calls("scontrol")) == (1, [BEGUN, GONE_ON], ["requeue 7"])
    job.next_status(137)
    assert (job.run(), len(job.calls("scontrol"))) == (137, 2)
    job.next_status(137)
    assert (job.run(SLURM_RESTART_COUNT="1"), len(job.calls("scontrol"))) == (137, 2)
    assert (job.run(), len(job.calls("scontrol"))) == (0, 2)


def test_slurms_notice_reaches_the_processes_and_a_cancelled_job_stays_so(tmp_path):
    job = bench(tmp_path, "slurm", {}, 1)
    for number, requeued in ((signal.SIGUSR1, ["requeue 7"]), (signal.SIGTERM, [])):
        job.let_wait(0)
        child = job.start()
        job.wait_for(0)
        child.send_signal(number)
        if number == signal.SIGTERM:  # which Slurm sends to the processes of a job, too
            os.kill(int((tmp_path / "began-0").read_text()), number)
        assert (child.wait(60), job.calls("stopped"), job.calls("scontrol")) == (130, ["stopped"], requeued)
        (tmp_path / "calls").unlink()
        (tmp_path / "began-0").unlink()


def test_a_slurm_job_of_several_nodes_meets_at_the_first(tmp_path):
    job = bench(tmp_path, "slurm", {}, 2)
    assert job.run(SLURM_JOB_NODELIST="node[1-2]") == 0
    place = "--nodes 2 --node-rank 0 --rendezvous node1:20007"
    assert job.calls("kamerton") == [f"launch 2 {place} -- tune my reviews.csv --method full --out runs/reviews"]


def test_machines_that_ssh_reaches_go_on_after_a_killed_process_and_only_then(tmp_path):
    job = bench(tmp_path, "ssh", {"hosts": "one,two", "retries": 1}, 2)
    job.let_wait(0)
    job.next_status(137, node=1)
    assert job.run() == 0
    places = [call.partition(" -- ") for call in job.calls("kamerton")]
    assert sorted(place.split()[5] for place, _, _ in places) == ["0", "0", "1", "1"]
    assert [work.split()[0] for _, _, work in places[2:]] == ["resume", "resume"]
    assert job.calls("stopped") == ["stopped"]
    job.next_status(1)
    job.let_wait(1)
    (tmp_path / "began-1").unlink()
    assert (job.run(), len(job.calls("kamerton"))) == (1, 6)


def test_ctrl_c_stops_the_processes_on_all_machines(tmp_path):
    job = bench(tmp_path, "ssh", {"hosts": "one,two"}, 2)
    job.let_wait(0, 1)
    child = job.start()
    job.wait_for(0, 1)
    child.send_signal(signal.SIGINT)
    assert (child.wait(60), job.calls("stopped")) == (130, ["stopped", "stopped"])


PYTHON = """\
echo "$RANK of $WORLD_SIZE at $MASTER_ADDR: $*" >> calls
mkdir -p runs/reviews; touch runs/reviews/recipe.yaml
status=$(cat status); echo 0 > status
[ "$status" != kill ] || kill -9 $$
exit "$status"
"""
"""What stands for Python in a worker of Ray; `status` has how it is to end."""


class StandInTrainer:
    """Does what `TorchTrainer` does for one worker."""

    def __init__(self, work, *, run_config, **_settings):
        self.work, self.failures = work, run_config["failure_config"]["max_failures"]

    def fit(self):
        for left in range(self.failures, -1, -1):
            try:
                return SimpleNamespace(return_value=self.work())
            except RuntimeError:
                if not left:
                    raise


@pytest.fixture
def in_ray(tmp_path, monkeypatch):
    """Return what runs a script of `--to ray` in this process, one worker in one process, with a stand-in for Ray."""
    settings = {"retries": 1, "setup": f"PATH={tmp_path / 'bin'}:$PATH"}
    write_job(replace(JOB, folder=str(tmp_path), nodes=1, processes=1), "ray", settings, tmp_path / "job.py")
    for module in ("ray", "ray.train", "ray.train.torch"):
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
    ray, train, its_torch = (sys.modules[name] for name in ("ray", "ray.train", "ray.train.torch"))
    ray.init, ray.util = lambda: None, SimpleNamespace(get_node_ip_address=lambda: "node1")
    train.FailureConfig = train.RunConfig = train.ScalingConfig = its_torch.TorchConfig = dict
    sizes = {"world_rank": 0, "world_size": 1, "local_rank": 0, "local_world_size": 1}
    train.get_context = lambda: SimpleNamespace(**{f"get_{name}": lambda one=one: one for name, one in sizes.items()})
    its_torch.TorchTrainer = StandInTrainer
    monkeypatch.setattr("torch.distributed.broadcast_object_list", lambda found, src: None)
    monkeypatch.setattr("torch.distributed.all_gather_object", lambda box, one: box.__setitem__(0, one))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f"#!/bin/bash\n{PYTHON}")
    (tmp_path / "bin" / "python").chmod(0o755)

    def run(status: object) -> object:
        (tmp_path / "status").write_text(f"{status}\n")
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(tmp_path / "job.py"), run_name="__main__")
        return ended.value.code

    return run


def test_ray_goes_on_after_a_killed_process_and_only_then(in_ray, tmp_path):
    assert (in_ray("kill"), in_ray(3), in_ray(0)) == (0, 3, 0)
    begun, *gone_on = (tmp_path / "calls").read_text().splitlines()
    assert begun == "0 of 1 at node1: -P -m kamerton tune my reviews.csv --method full --out runs/reviews"
    assert gone_on == ["0 of 1 at node1: -P -m kamerton resume runs/reviews"] * 3
