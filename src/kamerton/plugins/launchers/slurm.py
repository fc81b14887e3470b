"""Slurm: a batch script that goes back into the queue until the run is done."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from kamerton.core.launching import ClusterJob
from kamerton.core.messages import Wording, msg
from kamerton.plugins.launchers._shared import Shared, check_bash, formed, ran
from kamerton.runs.settings import Names

Limit = Annotated[str, formed(r"(\d+-)?\d+(:\d\d){0,2}", msg("a time such as 12:00:00, or 2-00 for two days"))]

SCRIPT = """\
#!/bin/bash
# Written by: {{ job.written_by }}
{% for option in options %}
#SBATCH {{ option }}
{% endfor %}

{% for line in prepare %}
{{ line }}
{% endfor %}
{{ begin }}
{% if job.nodes > 1 %}
# The nodes meet at the first of them, at a port of the job's own.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MEETING=$head:$((20000 + SLURM_JOB_ID % 10000))
{% endif %}
{{ end_of -}}
# Before the time limit Slurm sends USR1 to this script. srun passes it on, and rank 0 saves a checkpoint.
cancelled=
trap 'kill -USR1 $!' USR1
trap 'cancelled=yes' TERM

# One launcher on each node starts the processes there: torch's elastic agent, which gives each of them RANK,
# WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as torchrun does.
{% if job.nodes > 1 %}
srun --kill-on-bad-exit=1 bash -c 'exec kamerton launch {{ job.processes }} --nodes {{ job.nodes }} \\
  --node-rank "$SLURM_NODEID" --rendezvous "$MEETING" -- "$@"' launch "$@" &
{% else %}
srun kamerton launch {{ job.processes }} -- "$@" &
{% endif %}
status=0
end_of $! || status=$?

{{ again -}}
if [ -n "$cancelled" ]; then
  exit "$status"
elif [ "$status" -eq 130 ]; then  # before preemption or the time limit
  scontrol requeue "$SLURM_JOB_ID"
elif [ "$status" -gt 130 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt {{ settings.retries }} ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""


class Slurm(Shared):
    """A batch script for Slurm (`sbatch`) that goes back into the queue until the run is done.

    Before the time limit (`notice`) and before preemption, rank 0 saves a checkpoint, and the next start goes on from
    it; after a process was killed, too, at most `retries` times. Where there is an sbatch, `sbatch --test-only` checks
    the script.
    """

    suffix: ClassVar[str] = ".sbatch"

    time: Limit | None = Field(None, description="Time limit: 12:00:00, or 2-00 for two days.")
    partition: str | None = Field(None, description="Partition.")
    account: str | None = Field(None, description="Account.")
    qos: str | None = Field(None, description="Quality of service.")
    cpus: int | None = Field(None, ge=1, description="CPU cores of each machine.")
    memory: str | None = Field(None, description="Memory of each machine: 200G; 0 is all of it.")
    notice: int = Field(300, ge=1, description="Seconds before the time limit at which the run is stopped and saved.")
    options: Names = Field((), description="Further options of sbatch: --exclusive,--constraint=a100.")

    def write(self, job: ClusterJob) -> str:
        """Return the batch script."""
        return self.render(SCRIPT, job, {"options": self._options(job)})

    def check(self, path: Path) -> Wording:
        """Check the syntax with bash, and the request with sbatch."""
        syntax = check_bash(path.read_text(encoding="utf-8"))
        if ran(["sbatch", "--test-only", str(path)]):
            return msg("checked by `sbatch --test-only`")
        return msg("{syntax}; there is no sbatch here", syntax=syntax)

    def submission(self, path: Path) -> Sequence[str]:
        """Return the call of sbatch."""
        return ("sbatch", str(path))

    def _options(self, job: ClusterJob) -> Sequence[str]:
        named = {
            "job-name": job.name,
            "nodes": job.nodes,
            "ntasks-per-node": 1,
            "gpus-per-node": self.gpus,
            "cpus-per-task": self.cpus,
            "mem": self.memory,
            "time": self.time,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "chdir": job.folder,
            "output": f"{job.run}.log",
            "open-mode": "append",
            "signal": f"B:USR1@{self.notice}",
        }
        given = [f"--{name}={value}" for name, value in named.items() if value is not None]
        return [*given, "--requeue", *self.options]
