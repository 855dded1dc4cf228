#!/usr/bin/env bash
# Prepare a dataset on a Slurm cluster: one array task per shard, then a job that merges them.
# Usage: SHARDS=16 CPUS_PER_TASK=8 tools/slurm_prepare.sh PARTITION LAYOUT DATA_ROOT OUT_DIR [arguments of tools/prepare_data.py]
# SBATCH_ARGS holds more arguments of sbatch. Submit it again after a failure to resume.
set -euo pipefail
if [ $# -lt 4 ]; then
  sed -n '2,4p' "$0" | sed 's/^# //' >&2
  exit 1
fi
PARTITION=$1
OUT_DIR=$4
SHARDS=${SHARDS:-16}
CPUS_PER_TASK=${CPUS_PER_TASK:-8}
TOOL=$(printf '%q' "$(cd "$(dirname "$0")" && pwd)/prepare_data.py")
prepare="python -u $TOOL $(printf '%q ' "${@:2}") --num-workers $CPUS_PER_TASK"
prepare+=" --num-shards $SHARDS --shard \$SLURM_ARRAY_TASK_ID"
# SBATCH_ARGS holds several words on purpose.
# shellcheck disable=SC2086
job=$(sbatch --parsable --partition="$PARTITION" --job-name=prepare --array="0-$((SHARDS - 1))" \
  --cpus-per-task="$CPUS_PER_TASK" ${SBATCH_ARGS:-} --wrap "$prepare")
echo "shards: job $job"
# shellcheck disable=SC2086
sbatch --partition="$PARTITION" --job-name=merge --dependency="afterok:${job%%;*}" ${SBATCH_ARGS:-} \
  --wrap "python -u $TOOL merge $(printf '%q' "$OUT_DIR")"
