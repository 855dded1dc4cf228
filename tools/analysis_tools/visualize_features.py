# SPDX-License-Identifier: Apache-2.0
"""Draw features of a model in two dimensions, colored by identity, manipulation and label side by side.

The three panels show the same points. Videos are equally represented. Silhouettes of identities,
manipulations and labels are printed and written beside the plot as JSON, since embeddings distort distances.
UMAP needs: pip install 'iid-mm[umap]'.

Example: python tools/analysis_tools/visualize_features.py configs/iid_r18_toy.py best.pth \\
    --index demo/prepared --out features.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from iid_mm.apis import init_model
from iid_mm.datasets.on_index import dataset_on_index
from iid_mm.errors import InputError
from iid_mm.identity.features import FeatureExtractor, list_features
from iid_mm.registry import DATASETS
from iid_mm.utils.cli import add_model_options, run_tool
from iid_mm.utils.files import write_json
from iid_mm.visualization.feature_embedding import (
    METHOD_TITLES,
    METHODS,
    NOTE,
    balanced_sample,
    check_embedding,
    embed,
    silhouettes,
)
from iid_mm.visualization.feature_plot import embedding_figure, identity_groups, kind_groups
from iid_mm.visualization.plots import FAKE, save_figure


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_options(parser)
    parser.add_argument('--index', type=Path, required=True, help='prepared folder or index file')
    parser.add_argument('--split', default='test', choices=('train', 'val', 'test'), help='(default: test)')
    parser.add_argument('--out', type=Path, required=True, help='plot to write, e.g. features.png')
    parser.add_argument('--feature', default='backbone', help='(default: backbone: last map, pooled)')
    parser.add_argument('--list-features', action='store_true', help='print the feature names and exit')
    parser.add_argument('--method', default='tsne', choices=tuple(METHODS), help='(default: tsne)')
    parser.add_argument('--max-samples', type=int, default=2000, help='maximum number of faces (2000)')
    parser.add_argument('--identities', nargs='+', help='identities to color (default: the 12 most frequent)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--batch-size', type=int, default=32)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.seed < 0 or args.batch_size < 1 or args.max_samples < 4:
        raise InputError(
            f'--seed {args.seed}, --batch-size {args.batch_size} and --max-samples {args.max_samples}: give '
            'at least 0, 1 and 4'
        )
    check_embedding(args.method)
    model = init_model(
        args.config, args.checkpoint, args.device, args.cfg_options, trust=args.trust_checkpoint
    )
    dataset = DATASETS.build(dataset_on_index(model.cfg, args.index, split=args.split))
    known = list_features(model, model.cfg)
    if args.list_features:
        print('\n'.join(f'{name}  {length}' for name, length in known.items()))
        return
    if args.feature not in known:
        raise InputError(f'--feature {args.feature}: unknown; this model has {", ".join(known)}')
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    chosen = balanced_sample([info['video_key'] for info in infos], args.max_samples, args.seed)
    infos = [infos[i] for i in chosen]
    groupings = {
        'identity': [info['target_id'] or '' for info in infos],
        'manipulation': ['genuine' if info['gt_label'] == 0 else info['method'] for info in infos],
        'label': ['fake' if info['gt_label'] else 'genuine' for info in infos],
    }
    panels = {
        'identity': identity_groups(groupings['identity'], args.identities),
        'manipulation': kind_groups(groupings['manipulation']),
        'label': kind_groups(groupings['label'], (FAKE,)),
    }
    extractor = FeatureExtractor(model)
    parts = []
    for start in range(0, len(chosen), args.batch_size):
        inputs = torch.stack([dataset[i]['inputs'] for i in chosen[start : start + args.batch_size]])
        parts.append(extractor(inputs)[args.feature].numpy())
    features = np.concatenate(parts)
    placed = embed(features, args.method, args.seed)
    scores = silhouettes(features, placed, groupings, args.seed)
    title = (
        f'{METHOD_TITLES[args.method]} of {args.feature}, {len(chosen)} faces of '
        f'{len({info["video_key"] for info in infos})} videos ({Path(args.checkpoint).name}, {args.split})'
    )
    in_features = {name: found['features'] for name, found in scores.items()}
    save_figure(embedding_figure(placed, panels, title=title, scores=in_features), args.out)
    facts = {name: getattr(args, name) for name in ('feature', 'method', 'split', 'seed')}
    content = {**facts, 'samples': len(chosen), 'silhouettes': scores, 'note': NOTE}
    json_path = args.out.with_suffix('.json')
    write_json(json_path, content)
    print_scores(scores)
    print(f'\n{NOTE}\n\n{args.out}, {json_path}')


def print_scores(scores: dict[str, dict[str, float | int | None]]) -> None:
    print(f'{"silhouette":<14}{"features":>10}{"plot":>10}{"shuffled":>10}{"groups":>8}{"faces":>8}')
    for name, found in scores.items():
        cells = ['-' if found[k] is None else f'{found[k]:+.3f}' for k in ('features', 'plot', 'shuffled')]
        print(
            f'{name:<14}{cells[0]:>10}{cells[1]:>10}{cells[2]:>10}{found["groups"]:>8}{found["samples"]:>8}'
        )


if __name__ == '__main__':
    sys.exit(run_tool(main))
