#!/usr/bin/env bash
# Test with several processes on one or more machines.
# Usage: tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [arguments of tools/test.py]
# NUM_PROCESSES is per machine. On several machines, set the same NNODES, MASTER_ADDR and PORT on each, and NODE_RANK from
# 0 to NNODES - 1. Without a GPU, gloo is used.
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,5p' "$0" | sed 's/^# //' >&2
  exit 1
fi
CONFIG=$1
CHECKPOINT=$2
NUM_PROCESSES=$3
exec python -m iid_mm.utils.launch \
  --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --master_addr="${MASTER_ADDR:-127.0.0.1}" \
  --master_port="${PORT:-29500}" --nproc_per_node="$NUM_PROCESSES" \
  "$(dirname "$0")/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
