"""Ray: a script for a cluster of Ray, whose Train library starts the processes again when one is lost."""

import ast
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from kamerton.core.errors import Unusable
from kamerton.core.launching import ClusterJob
from kamerton.core.messages import Wording, msg
from kamerton.plugins.launchers._shared import Shared

SCRIPT = '''\
# Written by: {{ job.written_by }}
# Run it on a machine of the cluster, or by `ray job submit`. All machines share the run's folder, and the data.
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import ray
import torch.distributed as dist
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchConfig, TorchTrainer

FOLDER = {{ job.folder | literal }}
RUN = Path(FOLDER, {{ job.run | literal }})
BEGIN = {{ job.command | list | literal }}
RESUME = {{ (job.resume if job.begins else job.command) | list | literal }}
ENVIRONMENT = {{ dict(settings.environment) | literal }}
{% if settings.setup %}
SETUP = [
{% for line in settings.setup %}
    {{ line | literal }},
{% endfor %}
    'exec python -P -m kamerton "$@"',
]
KAMERTON = ["bash", "-c", "\\n".join(SETUP), "kamerton"]
{% else %}
KAMERTON = [sys.executable, "-P", "-m", "kamerton"]
{% endif %}
PATIENCE = timedelta(days=30)  # how long workers may wait for the last of them


def work():
    """Run one process of Kamerton in the place that Ray has given this worker; return rank 0's exit status."""
    context = get_context()
    rank = context.get_world_rank()
    found = [None]
    if rank == 0:  # what rank 0 finds holds for all
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        begun = (RUN / "recipe.yaml").exists()  # then go on from its last checkpoint
        found = [(ray.util.get_node_ip_address(), port, RESUME if begun else BEGIN)]
    dist.broadcast_object_list(found, src=0)
    address, port, command = found[0]
    place = {
        "RANK": rank,
        "WORLD_SIZE": context.get_world_size(),
        "LOCAL_RANK": context.get_local_rank(),
        "LOCAL_WORLD_SIZE": context.get_local_world_size(),
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
    }
    environment = {**os.environ, **ENVIRONMENT, **{name: str(value) for name, value in place.items()}}
    status = subprocess.run([*KAMERTON, *command], cwd=FOLDER, env=environment).returncode

    # Ray starts all again if one raises: only when every process has ended, and one of them was killed.
    statuses = [None] * place["WORLD_SIZE"]
    dist.all_gather_object(statuses, status)
    killed = [f"rank {one} was killed: {code}" for one, code in enumerate(statuses) if code < 0 or code > 130]
    if killed:
        raise RuntimeError("; ".join(killed))
    return statuses[0]


# 0 is done. 1, 2 and 3 would come again: a mistake, wrong usage, a demanded verdict that was not reached.
# 130 was stopped, and has saved a checkpoint. All of them end the job with rank 0's exit status.
if __name__ == "__main__":
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init()  # the cluster of RAY_ADDRESS or of this machine; without one, a Ray that ends with this script
    trainer = TorchTrainer(
        work,
        torch_config=TorchConfig(backend="gloo", timeout_s=int(PATIENCE.total_seconds())),
        scaling_config=ScalingConfig(
{% for name, value in scaling.items() %}
            {{ name }}={{ value }},
{% endfor %}
        ),
        run_config=RunConfig(
            name={{ (job.name ~ ".ray") | literal }},
            storage_path=str(RUN.parent),
            failure_config=FailureConfig(max_failures={{ settings.retries }}),
        ),
    )
    sys.exit(trainer.fit().return_value)
'''


class Ray(Shared):
    """A script of Python around Ray's `TorchTrainer`, for a cluster of Ray that is there already.

    Each worker starts one process of Kamerton. When a process or a machine is lost, Ray starts all of them again, at
    most `retries` times, and they go on from the last checkpoint. `setup` and `environment` are the processes', not
    those of Ray's workers. Ray need not be here to write the script.
    """

    suffix: ClassVar[str] = ".ray.py"

    cpus: int | None = Field(None, ge=1, description="CPU cores of each process; Ray gives one if not given.")

    def write(self, job: ClusterJob) -> str:
        """Return the script."""
        return self.render(SCRIPT, job, {"scaling": self._scaling(job)})

    def check(self, path: Path) -> Wording:
        """Parse the script, and return whether Ray is here."""
        try:
            ast.parse(path.read_bytes(), str(path))
        except SyntaxError as error:
            raise Unusable(msg("{program} refuses it: {said}", program="Python", said=str(error))) from error
        if importlib.util.find_spec("ray"):
            return msg("its syntax was checked by Python")
        return msg("its syntax was checked by Python; there is no Ray here")

    def submission(self, path: Path) -> Sequence[str]:
        """Return the call of Python: the job runs as long as the script does."""
        return (sys.executable, str(path))

    def _scaling(self, job: ClusterJob) -> Mapping[str, str]:
        """Return what Ray is asked for, as Python has it."""
        given = {"num_workers": str(job.nodes * job.processes), "use_gpu": str(self.gpus is not None)}
        if self.gpus and ":" in self.gpus:
            given["accelerator_type"] = json.dumps(self.gpus.partition(":")[0])
        if self.cpus:
            given["resources_per_worker"] = json.dumps({"CPU": self.cpus, **({"GPU": 1} if self.gpus else {})})
        return given
