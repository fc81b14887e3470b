"""SkyPilot: a task for machines of clouds and Kubernetes, which come back after they are taken away."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from kamerton.core.errors import Unusable
from kamerton.core.launching import ClusterJob
from kamerton.core.messages import Wording, msg
from kamerton.core.readers import parse_yaml
from kamerton.plugins.launchers._shared import Shared, check_bash, formed, lines_of
from kamerton.runs.recipe import checked

AtLeast = Annotated[str, formed(r"\d+\+?", msg("a number such as 16, or 16+"))]
Name = Annotated[
    str, formed("[a-zA-Z0-9]+([._-]{1,2}[a-zA-Z0-9]+)*", msg("a name of letters, digits and single hyphens"))
]
RUN = """\
{% for line in settings.activate %}
{{ line }}
{% endfor %}
{{ begin }}
{% if job.nodes > 1 %}
# The machines meet at the first of them.
head=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)
place=(--nodes "$SKYPILOT_NUM_NODES" --node-rank "$SKYPILOT_NODE_RANK" --rendezvous "$head:29500")
{% endif %}
# torch's elastic agent starts the processes, and gives each RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT.
kamerton launch {{ job.processes }}{{ ' "${place[@]}"' if job.nodes > 1 }} -- "$@"
"""
HEAD = """\
# Written by: {}
# SkyPilot brings the machines back when they are taken away, and starts the task again, which goes on from the last
# checkpoint: a managed job, `sky jobs launch --yes {}`.
"""


class Skypilot(Shared):
    """A task for SkyPilot's managed jobs (`sky jobs launch`).

    Machines that are taken away lose their disks: the run must be in a folder of `storage`. The file is checked against
    the fields that SkyPilot documents; SkyPilot itself is not needed to write it.
    """

    suffix: ClassVar[str] = ".sky.yaml"

    infra: str | None = Field(None, description="Where: aws, gcp/us-central1, k8s/CONTEXT; the cheapest if not given.")
    image: str | None = Field(None, description="The machines' image: docker:REPOSITORY/IMAGE:TAG.")
    spot: bool = Field(False, description="Take machines that may be taken away.")
    cpus: AtLeast | None = Field(None, description="CPU cores of each machine: 16, or 16+ for as many and more.")
    memory: AtLeast | None = Field(None, description="GB of memory of each machine: 64, or 64+ for as much and more.")
    disk: int | None = Field(None, ge=1, description="GB of each machine's disk.")
    activate: tuple[str, ...] = Field(
        (), description="Lines of bash before each start; `setup` has a shell of its own."
    )
    storage: Mapping[str, str] = Field(
        {}, description="Folders of all machines and their buckets or volumes: {/runs: s3://my-bucket}."
    )

    @field_validator("activate", mode="before")
    @classmethod
    def _separate(cls, activate: object) -> object:
        return lines_of(activate)

    def write(self, job: ClusterJob) -> str:
        """Return the task."""
        below = [place for place in self.storage if PurePosixPath(job.run).is_relative_to(place)]
        if not below:
            example = "--out /runs/NAME, --set storage='{/runs: s3://BUCKET}'"
            rule = "the run '{run}' is on no storage that outlives a machine; for example {example}"
            raise Unusable(msg(rule, run=job.run, example=example))
        resources = {
            "infra": self.infra,
            "accelerators": self.gpus,
            "cpus": self.cpus,
            "memory": self.memory,
            "disk_size": self.disk,
            "image_id": self.image,
            "use_spot": self.spot or None,
            "job_recovery": {"max_restarts_on_errors": self.retries},
        }
        task = {
            "name": job.name,
            "workdir": ".",
            "num_nodes": job.nodes,
            "resources": {name: value for name, value in resources.items() if value is not None},
            "file_mounts": {
                place: {"source": source, "mode": "MOUNT_CACHED"} for place, source in self.storage.items()
            },
            "envs": dict(self.environment),
            "setup": "".join(f"{line}\n" for line in self.setup),
            "run": self.render(RUN, job, {}),
        }
        head = HEAD.format(job.written_by, shlex.quote(f"{job.name}{self.suffix}"))
        return head + yaml.dump(
            {name: value for name, value in task.items() if value}, Dumper=_BlockDumper, sort_keys=False
        )

    def check(self, path: Path) -> Wording:
        """Check the fields and their values, and let bash check the commands."""
        task = checked(_SkyTask, parse_yaml(path.read_bytes(), path), place=str(path))
        check_bash(task.setup)
        return msg("its fields are those that SkyPilot documents; {syntax}", syntax=check_bash(task.run))

    def submission(self, path: Path) -> Sequence[str]:
        """Return the call of SkyPilot."""
        return ("sky", "jobs", "launch", "--yes", str(path))


class _BlockDumper(yaml.SafeDumper):
    """Writes texts of several lines as they are."""


def _as_block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_BlockDumper.add_representer(str, _as_block)


class _SkyFields(BaseModel):
    """Part of a task, as https://docs.skypilot.co/en/latest/reference/yaml-spec.html has it (November 2026)."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _SkyRecovery(_SkyFields):
    strategy: str | None = None
    max_restarts_on_errors: int = Field(0, ge=0)
    recover_on_exit_codes: int | tuple[int, ...] = ()


class _SkyResources(_SkyFields):
    infra: str | None = None
    accelerators: str | Sequence[str] | Mapping[str, float | None] | None = None
    accelerator_args: Mapping[str, Any] | None = None
    cpus: str | float | None = None
    memory: str | float | None = None
    instance_type: str | None = None
    use_spot: bool = False
    disk_size: int | str | None = None
    disk_tier: Literal["low", "medium", "high", "ultra", "best"] | None = None
    network_tier: Literal["standard", "best"] | None = None
    image_id: str | Mapping[str, str] | None = None
    ports: int | str | Sequence[int | str] | None = None
    labels: Mapping[str, str] = {}
    autostop: bool | int | str | Mapping[str, Any] | None = None
    any_of: Sequence[Mapping[str, Any]] = ()
    ordered: Sequence[Mapping[str, Any]] = ()
    job_recovery: str | _SkyRecovery | None = None


class _SkyMount(_SkyFields):
    name: str | None = None
    source: str | Sequence[str] | None = None
    store: str | None = None
    mode: Literal["MOUNT", "COPY", "MOUNT_CACHED"] = "MOUNT"
    persistent: bool = True
    config: Mapping[str, Any] | None = None


class _SkyTask(_SkyFields):
    name: Name | None = None
    workdir: str | Mapping[str, Any] | None = None
    num_nodes: int = Field(1, ge=1)
    resources: _SkyResources = _SkyResources()
    envs: Mapping[str, str | int | float | None] = {}
    secrets: Mapping[str, str | None] = {}
    file_mounts: Mapping[str, str | _SkyMount] = {}
    volumes: Mapping[str, Any] = {}
    setup: str = ""
    run: str = ""
    config: Mapping[str, Any] = {}
