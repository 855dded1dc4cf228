# SPDX-License-Identifier: Apache-2.0
"""Show where a model looks: maps of the Grad-CAM family beside the artifact head's own heat map.

With --index, green outlines are the masks, and the part of the maps inside the manipulated region ("energy")
is measured for every manipulation, beside chance and the genuine frame of the same scene. With --images,
faces are found and aligned with MediaPipe. Writes OUT/contact_sheet.png, OUT/faces/*.png and, where there
are masks, OUT/energy.md and OUT/energy.json. The Grad-CAM family needs: pip install 'iid-mm[attention]'.

Example: python tools/analysis_tools/visualize_attention.py configs/iid_r18_toy.py best.pth \\
    --index demo/prepared --out attention
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from iid_mm.apis import init_model
from iid_mm.errors import InputError
from iid_mm.models.heat_maps import DEFAULT_HEAT_MAP, HEAT_MAPS
from iid_mm.utils.cli import add_config_options, run_tool
from iid_mm.utils.files import printable, write_text
from iid_mm.visualization.attention import BACKBONE, CAM_METHODS, TARGETS, check_layer
from iid_mm.visualization.attention_energy import collect_energy, energy_json, energy_markdown
from iid_mm.visualization.attention_inputs import PictureDataset, index_dataset
from iid_mm.visualization.attention_pictures import (
    SCALES,
    SHEET,
    SINGLES,
    contact_sheet,
    face_panel,
    map_tops,
    picture_name,
)
from iid_mm.visualization.attention_views import (
    ADM,
    METHODS,
    AttentionSettings,
    check_settings,
    face_views,
    method_title,
)
from iid_mm.visualization.dataset_grid import evenly_chosen
from iid_mm.visualization.drawing import write_picture

BRIGHTEST = {
    'auto': 'highest value of each map (ADM: of the sheet)',
    'shared': 'highest value of the sheet',
    'own': 'highest value of each map',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--index', type=Path, help='index of a prepared set, or the folder that it is in')
    source.add_argument('--images', nargs='+', type=Path, help='pictures, or folders of pictures')
    parser.add_argument('--split', default='test', choices=('train', 'val', 'test'), help='(default: test)')
    parser.add_argument('--out', type=Path, required=True, help='folder to write to')
    parser.add_argument('--method', default='gradcam', choices=METHODS, help='(default: gradcam)')
    parser.add_argument('--layer', default=BACKBONE, help="module, or 'backbone': its last map (default)")
    parser.add_argument(
        '--target', default='fake', choices=TARGETS, help='class that the map explains (default: fake)'
    )
    parser.add_argument('--heat-map', default=DEFAULT_HEAT_MAP, choices=HEAT_MAPS, help="the ADM's map")
    parser.add_argument('--num', type=int, default=4, help='pictures of each manipulation (default: 4)')
    parser.add_argument('--columns', type=int, default=2, help='faces in a row of the sheet (default: 2)')
    parser.add_argument('--cell', type=int, default=224, help='edge of a drawn face, pixels (default: 224)')
    parser.add_argument(
        '--scale',
        default='auto',
        choices=SCALES,
        help="brightest color: highest of the sheet, or of each map; auto: of the sheet for the ADM's map",
    )
    parser.add_argument(
        '--energy', default='auto', choices=('auto', 'on', 'off'), help='auto: where there are masks'
    )
    parser.add_argument(
        '--frames-per-video', type=int, default=4, help='frames whose energy is measured; 0: all (default: 4)'
    )
    parser.add_argument('--num-resamples', type=int, default=1000, help='of the intervals (default: 1000)')
    parser.add_argument('--skip-faceless', action='store_true', help='leave pictures without a face out')
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--trust-checkpoint', action='store_true', help='see tools/test.py')
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.frames_per_video < 0 or args.num_resamples < 0:
        raise InputError('--frames-per-video and --num-resamples must not be negative')
    for name in ('num', 'columns', 'cell', 'batch_size'):
        if getattr(args, name) < 1:
            raise InputError(f'--{name.replace("_", "-")} {getattr(args, name)}: give at least 1')
    settings = AttentionSettings(args.method, args.layer, args.target, args.heat_map)
    model = init_model(
        args.config, args.checkpoint, args.device, args.cfg_options, trust=args.trust_checkpoint
    )
    methods = check_settings(model, settings)
    dataset = open_dataset(args, model.cfg)
    if args.method != ADM:
        check_layer(model, args.layer, tuple(reversed(dataset[0]['inputs'].shape[1:])))
    shown = choose(args, dataset)
    titles = {method: method_title(method, settings) for method in methods}
    draw(args, list(face_views(model, dataset, shown, settings, args.batch_size)), titles)
    if args.index is not None and args.energy != 'off':
        measure(args, model, dataset, settings, titles)


def open_dataset(args: argparse.Namespace, cfg: Any) -> Any:
    if args.images is None:
        return index_dataset(cfg, args.index, args.split, args.frames_per_video or None)
    if args.energy == 'on':
        raise InputError(
            '--energy on: pictures have no masks; give an --index of a set prepared with --masks'
        )
    dataset = PictureDataset(cfg, args.images, args.skip_faceless)
    for path in dataset.faceless:
        print(f'no face found, left out: {printable(path)}')
    return dataset


def kinds_of(dataset: Any) -> dict[str, list[int]]:
    """Numbers of the samples by manipulation, genuine ones last."""
    kinds: dict[str, list[int]] = {}
    for number in range(len(dataset)):
        info = dataset.get_data_info(number)
        name = '' if info['gt_label'] == 0 else f'{info["dataset"]}/{info["method"]}'
        kinds.setdefault(name, []).append(number)
    return {name: kinds[name] for name in sorted(kinds, key=lambda name: (name == '', name))}


def choose(args: argparse.Namespace, dataset: Any) -> list[int]:
    if args.images is not None:
        return list(range(len(dataset)))
    return [own[i] for own in kinds_of(dataset).values() for i in evenly_chosen(len(own), args.num)]


def draw(args: argparse.Namespace, views: list[Any], titles: dict[str, str]) -> None:
    tops = map_tops(views, args.scale)
    panels = [face_panel(view, top, titles, args.cell) for view, top in zip(views, tops, strict=True)]
    for number, (view, panel) in enumerate(zip(views, panels, strict=True)):
        write_picture(args.out / SINGLES / picture_name(number, view), panel)
    what = titles[args.method]
    if args.method in CAM_METHODS:
        explained = 'no class' if args.method == 'eigencam' else f'class: {args.target}'
        what += f' of layer {args.layer}, {explained}'
    notes = [f'{Path(args.checkpoint).name}: {what}']
    notes.append(f'Brightest: {BRIGHTEST[args.scale]}.')
    if any(view.mask is not None for view in views):
        notes[-1] += ' Green: outline of the manipulated region.'
    sheet = contact_sheet(panels, notes, args.columns)
    write_picture(args.out / SHEET, sheet)
    print(f'{len(views)} faces: {printable(args.out / SHEET)}')


def measure(
    args: argparse.Namespace, model: Any, dataset: Any, settings: AttentionSettings, titles: dict[str, str]
) -> None:
    masked = any(dataset.get_data_info(i)['mask_path'] is not None for i in range(len(dataset)))
    if not masked:
        message = (
            f'no fake of split {args.split!r} in {args.index} has a mask, so the energy inside the '
            'manipulated region cannot be measured; prepare the set again with --masks'
        )
        if args.energy == 'on':
            raise InputError(message)
        print(f'note: {message}')
        return
    views = face_views(model, dataset, range(len(dataset)), settings, args.batch_size)
    tables = collect_energy(views, tuple(titles)).tables(args.num_resamples)
    text = energy_markdown(tables, titles)
    facts = {'settings': vars(settings), 'split': args.split, 'frames_per_video': args.frames_per_video}
    content = {**facts, 'methods': energy_json(tables)}
    write_text(args.out / 'energy.md', text)
    write_text(args.out / 'energy.json', json.dumps(content, indent=1) + '\n')
    print(f'\n{text}\n{printable(args.out / "energy.md")}, {printable(args.out / "energy.json")}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
