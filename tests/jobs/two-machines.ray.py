# Written by: kamerton launch 8 --nodes 2 --to …
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

FOLDER = "/shared/project"
RUN = Path(FOLDER, "runs/reviews")
BEGIN = ["tune", "my reviews.csv", "--method", "full", "--out", "runs/reviews"]
RESUME = ["resume", "runs/reviews"]
ENVIRONMENT = {"NCCL_SOCKET_IFNAME": "eth0"}
SETUP = [
    "source /shared/venv/bin/activate",
    'exec python -P -m kamerton "$@"',
]
KAMERTON = ["bash", "-c", "\n".join(SETUP), "kamerton"]
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
            num_workers=16,
            use_gpu=True,
            accelerator_type="H100",
            resources_per_worker={"CPU": 4, "GPU": 1},
        ),
        run_config=RunConfig(
            name="reviews.ray",
            storage_path=str(RUN.parent),
            failure_config=FailureConfig(max_failures=3),
        ),
    )
    sys.exit(trainer.fit().return_value)
