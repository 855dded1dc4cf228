#!/usr/bin/env bash
# Train on a Slurm cluster, one task per GPU.
# Usage: GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=8 tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
# SRUN_ARGS holds more arguments of srun. On nodes without GPUs set GRES= (empty): tasks communicate through gloo.
# SIGNAL (USR1@120) is sent this many seconds before the time limit: training saves and exits with status 75.
# An interrupted job continues with --resume, also with another number of tasks if the total batch size is the same.
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,6p' "$0" | sed 's/^# //' >&2
  exit 1
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
GRES=${GRES-gpu:$GPUS_PER_NODE}
# Jobs that share a node must not share a port.
export MASTER_PORT=${MASTER_PORT:-$((20000 + RANDOM % 20000))}
# SRUN_ARGS holds several words on purpose.
# shellcheck disable=SC2086
exec srun --partition="$PARTITION" --job-name="$JOB_NAME" ${GRES:+"--gres=$GRES"} --ntasks="$GPUS" \
  --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 --signal="${SIGNAL:-USR1@120}" \
  ${SRUN_ARGS:-} \
  python -u "$(dirname "$0")/train.py" "$CONFIG" --launcher slurm "${@:4}"
