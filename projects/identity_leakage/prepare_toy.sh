#!/usr/bin/env bash
# Generate and prepare the toy set of the controlled study: 72 people in five recordings (takes) each.
# Usage: projects/identity_leakage/prepare_toy.sh STUDY_DIR [STRENGTH]   (how visible the traces are, 0 to 3)
set -euo pipefail
if [ $# -lt 1 ]; then
  sed -n '2,3p' "$0" | sed 's/^# //' >&2
  exit 1
fi
mkdir -p "$1"
STUDY=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
STRENGTH=${2:-1.5}
WORKERS=${WORKERS:-$(getconf _NPROCESSORS_ONLN)}
export OMP_NUM_THREADS=1
for take in 0 1 2 3 4; do
  python tools/generate_toy_data.py "$STUDY/toy/take$take" --take "$take" --num-identities 72 --frames 6 --size 192 \
    --strength "$STRENGTH" --split-fractions 0.66 0.01 0.33 --num-workers "$WORKERS"
  python tools/prepare_data.py ffpp "$STUDY/toy/take$take" "$STUDY/prepared/take$take" --analyzer precomputed \
    --frames 6 --compression c23 --masks --num-workers "$WORKERS"
done
