# SPDX-License-Identifier: Apache-2.0
"""Prepared sets that are an index only, and tools that do in no time what training and test do."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iid_mm.datasets.index import make_video_key, write_index
from support.paths import REPOSITORY

METHODS = ('Deepfakes', 'Face2Face', 'FaceSwap')

CONFIG = """
_base_ = '{base}'
data_root = '{root}'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
"""

# What the queue sees of a training: the record of the hook and checkpoints. TRAIN_FAILS holds a part of the
# name of a config whose training fails.
FAKE_TRAIN = """
import json, os, pickle, sys, zipfile
from pathlib import Path

cfg = {}
exec(Path(sys.argv[1]).read_text(), cfg)
folder = Path(sys.argv[sys.argv.index('--work-dir') + 1])
with open(Path(__file__).with_name('calls.txt'), 'a') as file:
    file.write('train ' + ' '.join(sys.argv[1:]) + '\\n')
fails = os.environ.get('TRAIN_FAILS')
if fails and fails in sys.argv[1]:
    print('error: the loss is NaN', file=sys.stderr)
    sys.exit(1)
name = 'best_forgery_video_auc_epoch_2.pth'
for file, seen in ((name, 0), ('epoch_2.pth', 12), ('interrupted.pth', 9)):
    content = dict(meta=dict(iter=seen, epoch=seen // 6), config=sys.argv[1])
    if seen:
        content['optimizer'] = {}
    with zipfile.ZipFile(folder / file, 'w') as archive:
        archive.writestr('archive/data.pkl', pickle.dumps(content))
methods = cfg['val_dataloader']['dataset']['methods']
validation = dict(epoch=2, iter=12, metrics={}, best_checkpoint=name, best_score=0.75)
record = dict(data=dict(val=dict(fakes={method: 4 for method in methods})), validations=[validation])
(folder / 'selection.json').write_text(json.dumps(record))
(folder / 'progress.json').write_text(json.dumps(dict(iter=12, max_iters=12, seconds=3.0)))
"""

# Seen manipulations are always told apart from the genuine faces; one of two unseen fakes scores as they do.
FAKE_TEST = """
import sys
from pathlib import Path
import pyarrow as pa
import pyarrow.parquet as pq

cfg = {}
exec(Path(sys.argv[1]).read_text(), cfg)
assert Path(sys.argv[2]).is_file()
with open(Path(__file__).with_name('calls.txt'), 'a') as file:
    file.write('test ' + ' '.join(sys.argv[1:]) + '\\n')
seen = cfg['train_dataloader']['dataset']['methods']
rows = [('youtube', 0, video, 0.2) for video in range(2)]
for method in cfg['test_dataloader']['dataset']['methods']:
    rows += [(method, 1, 0, 0.9), (method, 1, 1, 0.8 if method in seen else 0.2)]
keys = [f'ffpp/{method}/c23/{video:03d}' for method, _, video, _ in rows]
columns = dict(
    dataset=['ffpp'] * len(rows),
    method=[row[0] for row in rows],
    video_key=keys,
    frame=pa.array([0] * len(rows), pa.int32()),
    label=pa.array([row[1] for row in rows], pa.int8()),
    score=[row[3] for row in rows],
    image=keys,
)
pq.write_table(pa.table(columns), sys.argv[sys.argv.index('--out') + 1])
"""


def index_rows(
    split: str, videos: int, methods: tuple[str, ...] = METHODS, frames: int = 2, dataset: str = 'ffpp'
) -> list[dict[str, Any]]:
    """Rows of one genuine video and one of each manipulation for every person."""
    rows = []
    for number in range(videos):
        for method in ('youtube', *methods):
            name = f'{split}{number:03d}'
            rows += [
                dict(
                    image=f'frames/{dataset}/{method}/{name}/{frame:05d}.png',
                    landmarks=np.zeros(136, np.float32),
                    label=int(method != 'youtube'),
                    dataset=dataset,
                    method=method,
                    compression='c23',
                    video_key=make_video_key(dataset, method, 'c23', name),
                    frame=frame,
                    split=split,
                    crop_window=[0, 0, 64, 64],
                    detector_score=1.0,
                )
                for frame in range(frames)
            ]
    return rows


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """Write an index of the rows and a config that reads it; return the config."""

    def write(
        rows: list[dict[str, Any]] | None = None, name: str = 'arm', base: str = 'iid_r18_ffpp.py'
    ) -> Path:
        root = tmp_path / 'prepared'
        if rows is None:
            rows = index_rows('train', 4) + index_rows('val', 1) + index_rows('test', 2)
        write_index(rows, root / 'index.parquet')
        path = tmp_path / f'{name}.py'
        path.write_text(CONFIG.format(base=REPOSITORY / 'configs' / base, root=root))
        return path

    return write


@pytest.fixture
def fake_tools(tmp_path: Path) -> Path:
    """Folder of a train.py and a test.py that take a second; calls.txt in it lists their calls."""
    folder = tmp_path / 'tools'
    folder.mkdir()
    (folder / 'train.py').write_text(textwrap.dedent(FAKE_TRAIN))
    (folder / 'test.py').write_text(textwrap.dedent(FAKE_TEST))
    (folder / 'calls.txt').touch()
    return folder
