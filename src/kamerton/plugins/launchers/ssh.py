"""Machines that are reached by ssh alone: a script that starts the processes on each of them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from kamerton.core.errors import Unusable
from kamerton.core.launching import ClusterJob
from kamerton.core.messages import Wording, msg
from kamerton.plugins.launchers._shared import Shared, check_bash
from kamerton.runs.settings import Names

HOST = re.compile(r"([\w.-]+@)?[\w.-]+")
SCRIPT = """\
#!/bin/bash
# Written by: {{ job.written_by }}
# Run it where all machines are reached by ssh without a password. They share the run's folder.
hosts=({{ settings.hosts | words }})

# What each machine does; it is sent there as it stands here.
node() {
  rank=$1
  cd {{ job.folder | quote }} || exit 1
{% for line in prepare %}
  {{ line }}
{% endfor %}
{{ begin | indent(2, true) -}}
{{ '' }}  mkdir -p "$(dirname {{ job.run | quote }})"
  echo $$ > {{ job.run | quote }}."node-$rank.pid"
  # torch's elastic agent starts the processes, and gives each RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT
{% if job.nodes > 1 %}
  exec kamerton launch {{ job.processes }} --nodes {{ job.nodes }} --node-rank "$rank" \\
    --rendezvous {{ meeting }} -- "$@"
{% else %}
  exec kamerton launch {{ job.processes }} -- "$@"
{% endif %}
}

# Ctrl-C, or the end of one machine, stops the others in order: rank 0 saves a checkpoint.
stop() {
  for other in "${!hosts[@]}"; do
    # five times, since it may only just be starting
    [ "$other" = "${1:-}" ] || ssh -n "${hosts[other]}" "cd {{ job.folder | quote }} && for try in 1 2 3 4 5; do \\
      kill -TERM \\$(cat {{ job.run | quote }}.node-$other.pid) && break; sleep 1; done" 2>/dev/null &
  done
  wait $!
}

start() {  # one machine, until it is done
  status=0
  ssh "${hosts[$1]}" bash -s <<< "$(declare -f node); node $1" || status=$?
  [ "$status" -eq 0 ] || stop "$1"
  return "$status"
}

{{ end_of -}}
{{ again -}}
stopped=
trap 'stopped=yes; stop' INT TERM HUP
for attempt in {0..{{ settings.retries }}}; do
  nodes=() codes=() killed=
  for rank in "${!hosts[@]}"; do
    start "$rank" &
    nodes+=($!)
  done
  for node in "${nodes[@]}"; do
    code=0
    end_of "$node" || code=$?
    codes+=("$code")
    [ "$code" -le 130 ] || killed=yes
  done
  [ -n "$killed" ] && [ -z "$stopped" ] || break
done
exit "${codes[0]}"
"""


class Ssh(Shared):
    """A script of bash for machines that are reached by ssh and share a folder, without a scheduler.

    It starts one launcher on each machine and waits for all of them. Ctrl-C lets rank 0 save a checkpoint; when a
    process was killed, all go on from the last one, at most `retries` times. `ssh` is what PATH has by that name.
    """

    suffix: ClassVar[str] = ".sh"

    hosts: Names = Field(min_length=1, description="The machines, as ssh names them: gpu1,me@gpu2.")
    port: int = Field(29500, ge=1, le=65535, description="A free port of the first machine, where all of them meet.")
    address: str | None = Field(
        None, description="The first machine's address among the others; its name in hosts if not given."
    )

    def write(self, job: ClusterJob) -> str:
        """Return the script."""
        if wrong := [host for host in self.hosts if not HOST.fullmatch(host)]:
            raise Unusable(msg("'{host}' is no name of a machine", host=wrong[0]))
        if len(self.hosts) != job.nodes:
            rule = "{hosts} {hosts:machine is|machines are} named, and --nodes says {nodes}"
            raise Unusable(msg(rule, hosts=len(self.hosts), nodes=job.nodes))
        address = self.address or self.hosts[0].rpartition("@")[2]
        return self.render(SCRIPT, job, {"meeting": f"{address}:{self.port}"})

    def check(self, path: Path) -> Wording:
        """Check the syntax with bash."""
        return check_bash(path.read_text(encoding="utf-8"))

    def submission(self, path: Path) -> Sequence[str]:
        """Return the call of bash: the job runs as long as the script does."""
        return ("bash", str(path))
