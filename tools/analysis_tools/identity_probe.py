#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Measure how much identity information the frozen features of a detector contain.

A linear classifier is trained to recognize people in some clips and tested on other clips of the same people.
If these clips are in several prepared sets, give all of them: --index A B ...

Whole recordings are held out together with all fakes made from them, features are standardized, and the
regularization is chosen by cross-validation within the training clips. Accuracies are means over identities,
with intervals. docs/identity_leakage.md explains why simpler probes fail. Compare each metric with the
controls in the same table (untrained network, pixels, background, shuffled identities, and, with
--recognizer-dir, a face recognizer).

Example: python tools/analysis_tools/identity_probe.py CONFIG CKPT --index takes/1 takes/2 --out probe
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from iid_mm.apis import init_model
from iid_mm.errors import InputError
from iid_mm.identity.clips import FACES, IDENTITIES
from iid_mm.identity.features import list_features
from iid_mm.identity.linear import STRENGTHS
from iid_mm.identity.probe import ProbeSettings
from iid_mm.identity.probe_report import CONTROLS, ProbeRequest, probe_table, run_probes, write_report
from iid_mm.utils.cli import add_model_options, run_tool
from iid_mm.utils.config import load_config
from iid_mm.utils.files import sha256

RECORDED = (
    *('faces', 'identity', 'split', 'frames', 'seeds', 'test_share', 'train_clips'),
    *('split_time', 'classifier'),
)
"""Arguments recorded in the JSON file."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_options(parser)
    parser.add_argument('--index', nargs='+', type=Path, default=[], help='prepared folders or index files')
    parser.add_argument(
        '--list-features', action='store_true', help='print the names and sizes of the features and exit'
    )
    parser.add_argument('--features', nargs='+', metavar='NAME', help='features to probe (default: all)')
    parser.add_argument('--faces', default='genuine', choices=FACES, help='(default: genuine)')
    parser.add_argument('--identity', default='target', choices=IDENTITIES, help='identity of a fake')
    parser.add_argument('--split', default='all', help='train, val, test or all (default)')
    parser.add_argument('--frames', type=int, help='maximum number of frames per video')
    parser.add_argument(
        '--seeds', type=int, default=5, help='random splits into training and test clips (default: 5)'
    )
    parser.add_argument('--test-share', type=float, default=0.25, help='fraction of clips to test on (0.25)')
    parser.add_argument(
        '--train-clips',
        type=int,
        help='maximum training clips per person; harder, for sets where every feature recognizes all',
    )
    parser.add_argument(
        '--split-time',
        action='store_true',
        help='split each clip in time; a weaker test, for sets with one clip per person',
    )
    parser.add_argument('--classifier', default='lda', choices=STRENGTHS, help='(default: lda)')
    parser.add_argument('--controls', nargs='*', default=CONTROLS, metavar='NAME', help=', '.join(CONTROLS))
    parser.add_argument('--recognizer-dir', type=Path, help="folder with insightface's w600k_r50.onnx")
    parser.add_argument('--untrained-seed', type=int, default=0, help='seed of the untrained network')
    parser.add_argument('--level', type=float, default=0.95, help='confidence level (default: 0.95)')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument(
        '--out', type=Path, default=Path('identity_probe'), help='folder for results and cached features'
    )
    return parser.parse_args()


def make_request(args: argparse.Namespace) -> ProbeRequest:
    return ProbeRequest(
        indexes=args.index,
        features=args.features,
        faces=args.faces,
        identity=args.identity,
        split=args.split,
        frames=args.frames,
        split_time=args.split_time,
        controls=args.controls,
        recognizer_dir=args.recognizer_dir,
        batch_size=args.batch_size,
        seed=args.untrained_seed,
        settings=ProbeSettings(args.classifier, args.seeds, args.test_share, args.train_clips, args.level),
    )


def main() -> None:
    args = parse_args()
    request = make_request(args)
    cfg = load_config(args.config, args.cfg_options)
    model = init_model(cfg, args.checkpoint, args.device, trust=args.trust_checkpoint)
    if args.list_features:
        for name, size in list_features(model, cfg).items():
            print(f'{name:24} {size}')
        return
    if not args.index:
        raise InputError('--index: name at least one prepared folder or index file')
    report = run_probes(cfg, model, request, args.out / 'features', say=lambda text: print(text, flush=True))
    facts = {
        'config': str(args.config),
        'checkpoint': str(args.checkpoint),
        'checkpoint_sha256': sha256(args.checkpoint),
        'indexes': [str(index) for index in args.index],
        'arguments': {name: getattr(args, name) for name in RECORDED},
    }
    files = write_report(report, args.out, facts)
    print(f'\n{probe_table(report)}')
    print('\n'.join(map(str, files)))


if __name__ == '__main__':
    sys.exit(run_tool(main))
