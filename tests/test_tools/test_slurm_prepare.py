# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from iid_mm.datasets.index import read_index
from support.paths import REPOSITORY
from support.video_trees import write_ffpp_tree

SCRIPT = REPOSITORY / 'tools' / 'slurm_prepare.sh'
# Does at once what Slurm would do later: runs the wrapped command, once a task of the array.
SBATCH = """#!/usr/bin/env bash
set -e
tasks=0
for argument in "$@"; do
  case $argument in --array=0-*) tasks=${argument#--array=0-} ;; esac
done
command=${!#}
for task in $(seq 0 "$tasks"); do
  SLURM_ARRAY_TASK_ID=$task bash -c "$command" >> "$SBATCH_LOG" 2>&1
done
echo "$*" >> "$SBATCH_LOG"
echo 4711
"""


@pytest.mark.skipif(os.name == 'nt', reason='needs bash')
def test_array_of_shards_and_merge(tmp_path: Path) -> None:
    root = tmp_path / 'a set'
    write_ffpp_tree(root)
    sbatch = tmp_path / 'bin' / 'sbatch'
    sbatch.parent.mkdir()
    sbatch.write_text(SBATCH)
    sbatch.chmod(0o755)
    path = os.pathsep.join((str(sbatch.parent), str(Path(sys.executable).parent), os.environ['PATH']))
    log = tmp_path / 'log'
    done = subprocess.run(
        ['bash', SCRIPT, 'cpu', 'ffpp', root, tmp_path / 'out', '--analyzer', 'precomputed', '--frames', '2'],
        env={**os.environ, 'PATH': path, 'SBATCH_LOG': str(log), 'SHARDS': '2', 'CPUS_PER_TASK': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + log.read_text()
    assert 'shards: job 4711' in done.stdout
    text = log.read_text()
    assert '--array=0-1 --cpus-per-task=1' in text
    assert '--dependency=afterok:4711' in text
    assert len(read_index(tmp_path / 'out' / 'index.parquet')) > 0
