#!/bin/bash
# Written by: kamerton launch 8 --nodes 2 --to …
# Run it where all machines are reached by ssh without a password. They share the run's folder.
hosts=(gpu1 me@gpu2)

# What each machine does; it is sent there as it stands here.
node() {
  rank=$1
  cd /shared/project || exit 1
  source /shared/venv/bin/activate
  export NCCL_SOCKET_IFNAME=eth0
  if [ -e runs/reviews/recipe.yaml ]; then  # it has begun: go on from its last checkpoint
    set -- resume runs/reviews
  else
    set -- tune 'my reviews.csv' --method full --out runs/reviews
  fi
  mkdir -p "$(dirname runs/reviews)"
  echo $$ > runs/reviews."node-$rank.pid"
  # torch's elastic agent starts the processes, and gives each RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT
  exec kamerton launch 8 --nodes 2 --node-rank "$rank" \
    --rendezvous gpu1:29500 -- "$@"
}

# Ctrl-C, or the end of one machine, stops the others in order: rank 0 saves a checkpoint.
stop() {
  for other in "${!hosts[@]}"; do
    # five times, since it may only just be starting
    [ "$other" = "${1:-}" ] || ssh -n "${hosts[other]}" "cd /shared/project && for try in 1 2 3 4 5; do \
      kill -TERM \$(cat runs/reviews.node-$other.pid) && break; sleep 1; done" 2>/dev/null &
  done
  wait $!
}

start() {  # one machine, until it is done
  status=0
  ssh "${hosts[$1]}" bash -s <<< "$(declare -f node); node $1" || status=$?
  [ "$status" -eq 0 ] || stop "$1"
  return "$status"
}

# Wait for a process, and return its exit status. bash forgets the status where a signal interrupts its `wait`.
end_of() {
  while kill -0 "$1" 2>/dev/null; do sleep 0.2; done
  wait "$1"
}

# 0 is done. 1, 2 and 3 would come again: a mistake, wrong usage, a demanded verdict that was not reached.
# 130 was stopped, and has saved a checkpoint. Above it, a process was killed: out of memory, a broken machine.
stopped=
trap 'stopped=yes; stop' INT TERM HUP
for attempt in {0..3}; do
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
