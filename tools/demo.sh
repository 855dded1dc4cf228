#!/usr/bin/env bash
# The demo, step by step: every command is printed and can be run by hand. Finished steps are not repeated.
# Usage: tools/demo.sh OUT_DIR
set -euo pipefail
if [ $# -ne 1 ]; then
  sed -n '2,3p' "$0" | sed 's/^# //' >&2
  exit 1
fi
OUT=$1
CONFIG=configs/iid_r18_toy.py
export IID_DATA_ROOT=$OUT/prepared
export PYTHONWARNINGS=ignore
# One core is left for the data loader: threads that wait for a busy core slow training down many times.
CORES=$(getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((CORES > 5 ? 4 : CORES > 1 ? CORES - 1 : 1))}
mkdir -p "$OUT"

step() {
  printf '\n\033[1m== %s\033[0m\n$ %s\n' "$1" "${*:2}"
  "${@:2}"
}
started=$SECONDS

step 'Generate a toy set: 120 synthetic people, genuine videos and four manipulations' \
  python tools/generate_toy_data.py "$OUT/toy" --num-identities 120 --frames 4 --size 192 --strength 2.5 --num-workers 2
step 'Prepare it: aligned crops and an index' \
  python tools/prepare_data.py ffpp "$OUT/toy" "$OUT/prepared" --analyzer precomputed --frames 4 \
  --compression c23 --masks --num-workers 2
step 'Draw training samples with the artifact boxes of facial swaps' \
  python tools/analysis_tools/browse_dataset.py $CONFIG --out "$OUT/samples.png"
if [ ! -e "$OUT/work_dir/finished" ]; then
  step 'Train (an interrupted run resumes)' \
    python tools/train.py $CONFIG --work-dir "$OUT/work_dir" --resume
  touch "$OUT/work_dir/finished"
fi
# The newest; our names hold nothing that ls would mangle.
# shellcheck disable=SC2012
BEST=$(ls -t "$OUT"/work_dir/best_*.pth | head -n 1)
step 'Test on unseen people, with a report; Face2Face was not in training either' \
  python tools/test.py $CONFIG "$BEST" --work-dir "$OUT/work_dir" --out-dir "$OUT/report" --localization
step 'Verify the report: compute every metric again from its scores' \
  python tools/analysis_tools/verify_report.py "$OUT/report" --checkpoint "$BEST"
step 'Draw predictions with artifact boxes' \
  python tools/analysis_tools/show_predictions.py $CONFIG "$BEST" --out "$OUT/predictions.png"
step 'Draw where the detector looks, beside the masks of the manipulations' \
  python tools/analysis_tools/show_localization.py $CONFIG "$BEST" --out "$OUT/localization.png"
step 'Calibrate probabilities on the validation split' \
  python tools/calibrate.py $CONFIG "$BEST" --out "$OUT/calibrated.pth"
step 'Analyze two videos, with an HTML report of each' \
  python tools/infer.py "$OUT"/toy/manipulated_sequences/FaceSwap/c23/videos/111_101.mp4 \
  "$OUT"/toy/original_sequences/youtube/c23/videos/031.mp4 \
  --checkpoint "$OUT/calibrated.pth" --out "$OUT/answers" --report

printf '\nDone in %d:%02d. Report and plots:\n' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60))
ls "$OUT"/report/report.md "$OUT"/*.png "$OUT"/report/plots/*.png "$OUT"/answers/*.html
