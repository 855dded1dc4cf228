# SPDX-License-Identifier: Apache-2.0
"""Metrics of one model of the controlled study, on recordings that it was not trained on.

Example: python -m identity_leakage.study_metrics CONFIG CKPT --root PREPARED --out RUN_DIR
"""

from __future__ import annotations

import argparse
import copy
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from identity_leakage.confounding import identity_groups
from identity_leakage.leakage_report import METRICS, VIDEOS
from iid_mm.evaluation.functional.aggregate import video_scores
from iid_mm.evaluation.localization.config import add_localization
from iid_mm.evaluation.localization.samples import unique_samples
from iid_mm.evaluation.localization.table import localization_rows
from iid_mm.evaluation.metrics import ArtifactLocalization
from iid_mm.identity.clips import select_clips
from iid_mm.identity.extraction import FaceTable, extract, face_datasets
from iid_mm.identity.features import PIXELS, list_features
from iid_mm.identity.probe import ProbeSettings, probe
from iid_mm.models.build import init_model
from iid_mm.registry import DATASETS
from iid_mm.utils.cli import run_tool
from iid_mm.utils.config import load_config
from iid_mm.utils.files import replacing, write_json

TRAIN_TAKES, HELD_OUT_TAKES = (0, 1, 2), (3, 4)
PROBED = (PIXELS, 'backbone', 'neck.3', 'fused')
"""Probed features, as far as a model has them."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--root', type=Path, required=True, help='folder of the prepared takes')
    parser.add_argument('--out', type=Path, required=True, help='folder for the metrics')
    parser.add_argument('--group-seed', type=int, default=0)
    return parser.parse_args()


def faces_of(
    model: Any, cfg: Config, args: argparse.Namespace, takes: Sequence[int], **options: Any
) -> FaceTable:
    """Features of faces; every video gives at most three frames."""
    indexes = [args.root / f'take{take}' for take in takes]
    names = [name for name in (*PROBED, 'logits') if name in (*list_features(model, cfg), PIXELS)]
    return extract(model, face_datasets(cfg, indexes, frames=3, **options), names, args.out / 'features')


def video_table(faces: FaceTable, people: str) -> pa.Table:
    """Mean score and mean fake logit of every video of every take."""
    logits = faces.feature('logits').astype(np.float64)
    margin = logits[:, 1] - logits[:, 0]
    keys = [f'{t}|{k}' for t, k in zip(faces.column('take'), faces.column('video_key'), strict=True)]
    labels = faces.column('label').astype(np.int64)
    chances = 1 / (1 + np.exp(-np.clip(margin, -500, 500)))
    videos, of_logits = video_scores(chances, labels, keys), video_scores(margin, labels, keys)
    columns = ('label', 'method', 'target_id', 'source_id', 'take')
    return pa.table(
        {
            **{name: pa.array(faces.column(name)[videos.first].tolist()) for name in columns},
            'people': pa.array([people] * len(videos.keys)),
            'score': pa.array(videos.scores),
            'logit': pa.array(of_logits.scores),
        }
    )


def with_groups(table: pa.Table, seed: int) -> pa.Table:
    """Add ``in_fake_group``: the division of the training, which follows from the same people and pairs."""
    rows = table.to_pylist()
    group = identity_groups(((row['target_id'], row['source_id']) for row in rows), seed)
    return table.append_column('in_fake_group', pa.array([group[row['target_id']] for row in rows]))


def probes(faces: FaceTable) -> dict[str, Any]:
    """Identity probe of genuine faces, split by recording."""
    clips = select_clips(faces, 'genuine')
    found = {}
    for name in PROBED:
        if name in faces.features:
            values = faces.feature(name)[clips.rows]
            settings = ProbeSettings(seeds=5, resamples=1000)
            found[name] = probe(values, clips.identity, clips.clip, settings).as_dict()
    return found


def localization(model: Any, cfg: Config, root: Path) -> dict[str, dict[str, float]]:
    """Localization metrics by manipulation, fakes of new people; see ArtifactLocalization."""
    cfg = copy.deepcopy(cfg)
    cfg.test_dataloader.dataset |= dict(
        data_root='',
        ann_file=[str((root / f'take{take}/index.parquet').resolve()) for take in HELD_OUT_TAKES[:1]],
    )
    add_localization(cfg)
    model.artifact_head.test_cfg = cfg.model.test_cfg
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    metric = ArtifactLocalization(num_resamples=0, print_table=False)
    for start in range(0, len(dataset), 64):
        batch = pseudo_collate([dataset[i] for i in range(start, min(start + 64, len(dataset)))])
        with torch.no_grad():
            metric.process(batch, [sample.to_dict() for sample in model.test_step(batch)])
    rows = localization_rows(unique_samples(metric.results), num_resamples=0)
    return {row.name: row.metrics for row in rows}


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config)
    model = init_model(cfg, args.checkpoint)
    seen = faces_of(model, cfg, args, HELD_OUT_TAKES, split='train')
    new = faces_of(model, cfg, args, HELD_OUT_TAKES, split='test')
    every = faces_of(model, cfg, args, (*TRAIN_TAKES, *HELD_OUT_TAKES), split='test', genuine_only=True)
    tables = [
        with_groups(video_table(part, who), args.group_seed) for part, who in ((seen, 'seen'), (new, 'new'))
    ]
    with replacing(args.out / VIDEOS) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary)
    content = {
        'probe_seen': probes(seen),
        'probe_new': probes(every),
        'localization': localization(model, cfg, args.root) if cfg.model.get('artifact_head') else {},
    }
    shutil.rmtree(args.out / 'features')
    # Last and whole: a run is finished once this file exists.
    write_json(args.out / METRICS, content)


if __name__ == '__main__':
    sys.exit(run_tool(main))
