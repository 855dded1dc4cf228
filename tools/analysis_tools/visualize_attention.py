# SPDX-License-Identifier: Apache-2.0
"""Show where a model looks: class activation maps next to the artifact head's own heat map.

With --index, masks are outlined in green, and the share of each map inside the manipulated region ("energy")
is measured for every manipulation and compared with chance and with the genuine frame of the same scene. With
--images, faces are detected and aligned with MediaPipe; images without a face are skipped, and so are
unreadable ones, with exit status 1. Writes OUT/contact_sheet.png, OUT/faces/*.png and, if there are masks,
OUT/energy.md and OUT/energy.json. Class activation maps require: pip install 'iid-mm[attention]'.

Example: python tools/analysis_tools/visualize_attention.py configs/iid_r18_toy.py best.pth \\
    --index demo/prepared --out attention
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from iid_mm.apis import init_model
from iid_mm.errors import InputError
from iid_mm.models.heat_maps import DEFAULT_HEAT_MAP, HEAT_MAPS
from iid_mm.utils.cli import add_model_options, run_tool
from iid_mm.utils.files import printable, write_json, write_text
from iid_mm.visualization.attention import (
    ADM,
    METHODS,
    SCALES,
    AttentionSettings,
    check_settings,
    face_panel,
    face_views,
    index_dataset,
    map_tops,
    panel_name,
)
from iid_mm.visualization.attention_energy import energy_json, energy_markdown, energy_rows
from iid_mm.visualization.class_maps import BACKBONE, CAM_METHODS, TARGETS, load_library
from iid_mm.visualization.drawing import write_image
from iid_mm.visualization.image_face_dataset import ImageFaceDataset
from iid_mm.visualization.image_grid import add_heading, image_grid
from iid_mm.visualization.sample_grids import chosen_samples

BRIGHTEST = {
    'auto': 'maximum of each map (ADM: of the sheet)',
    'shared': 'maximum of the sheet',
    'own': 'maximum of each map',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_options(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--index', type=Path, help='prepared folder or index file')
    source.add_argument('--images', nargs='+', type=Path, help='images, or folders of images')
    parser.add_argument('--split', default='test', choices=('train', 'val', 'test'), help='(default: test)')
    parser.add_argument('--out', type=Path, required=True, help='folder to write to')
    parser.add_argument('--method', default='gradcam', choices=METHODS, help='(default: gradcam)')
    parser.add_argument(
        '--layer', default=BACKBONE, help="name of a module, or 'backbone' for its last feature map (default)"
    )
    parser.add_argument('--target', default='fake', choices=TARGETS, help='class to explain (default: fake)')
    parser.add_argument('--heat-map', default=DEFAULT_HEAT_MAP, choices=HEAT_MAPS, help="the ADM's map")
    parser.add_argument('--num', type=int, default=4, help='faces per manipulation (default: 4)')
    parser.add_argument('--columns', type=int, default=2, help='faces per row of the sheet (default: 2)')
    parser.add_argument('--cell', type=int, default=224, help='size of a drawn face in pixels (default: 224)')
    parser.add_argument(
        '--scale',
        default='auto',
        choices=SCALES,
        help='color scale up to the maximum of the sheet or of each map; auto: of the sheet for the ADM',
    )
    parser.add_argument(
        '--energy',
        default='auto',
        choices=('auto', 'on', 'off'),
        help='measure the energy inside masks; auto: if there are masks',
    )
    parser.add_argument(
        '--frames-per-video',
        type=int,
        default=4,
        help='frames per video to measure energy on; 0: all (default: 4)',
    )
    parser.add_argument('--num-resamples', type=int, default=1000, help='bootstrap resamples (default: 1000)')
    parser.add_argument('--batch-size', type=int, default=16)
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    check_numbers(args)
    settings = AttentionSettings(args.method, args.layer, args.target, args.heat_map)
    if args.method != ADM:
        load_library()
    model = init_model(
        args.config, args.checkpoint, args.device, args.cfg_options, trust=args.trust_checkpoint
    )
    unreadable: list[str] = []
    if args.images is None:
        dataset: Any = index_dataset(model.cfg, args.index, args.split, args.frames_per_video or None)
        shown = chosen_samples(dataset, args.num)
    else:
        dataset = ImageFaceDataset(model.cfg, args.images)
        unreadable = dataset.unreadable
        shown = list(range(len(dataset)))
        for line in (
            *(f'no face found: {name}' for name in dataset.faceless),
            *(f'not read: {name}' for name in unreadable),
        ):
            print(line, file=sys.stderr)
    height, width = dataset[0]['inputs'].shape[1:]
    titles = check_settings(model, settings, (width, height))
    draw(args, list(face_views(model, dataset, shown, settings, args.batch_size)), titles)
    if args.index is not None and args.energy != 'off':
        measure(args, model, dataset, settings, titles)
    return int(bool(unreadable))


def check_numbers(args: argparse.Namespace) -> None:
    if args.frames_per_video < 0 or args.num_resamples < 0:
        raise InputError('--frames-per-video and --num-resamples must not be negative')
    for name in ('num', 'columns', 'cell', 'batch_size'):
        if getattr(args, name) < 1:
            raise InputError(f'--{name.replace("_", "-")} {getattr(args, name)}: give at least 1')
    if args.images is not None and args.energy == 'on':
        raise InputError('--energy on: images have no masks; give an --index of a set prepared with --masks')


def draw(args: argparse.Namespace, views: list[Any], titles: dict[str, str]) -> None:
    tops = map_tops(views, args.scale)
    panels = [face_panel(view, top, titles, args.cell) for view, top in zip(views, tops, strict=True)]
    for number, (view, panel) in enumerate(zip(views, panels, strict=True)):
        write_image(args.out / 'faces' / panel_name(number, view), panel)
    what = titles[args.method]
    if args.method in CAM_METHODS:
        explained = 'no class' if args.method == 'eigencam' else f'class: {args.target}'
        what += f' of layer {args.layer}, {explained}'
    notes = [f'{Path(args.checkpoint).name}: {what}']
    notes.append(f'Color scale: up to the {BRIGHTEST[args.scale]}.')
    if any(view.mask is not None for view in views):
        notes[-1] += ' Green: outline of the manipulated region.'
    sheet = args.out / 'contact_sheet.png'
    write_image(sheet, add_heading(image_grid(panels, columns=args.columns, cell=None), notes))
    print(f'{len(views)} faces: {printable(sheet)}')


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
    tables = energy_rows(views, tuple(titles), num_resamples=args.num_resamples)
    text = energy_markdown(tables, titles)
    facts = {'settings': vars(settings), 'split': args.split, 'frames_per_video': args.frames_per_video}
    write_text(args.out / 'energy.md', text)
    write_json(args.out / 'energy.json', {**facts, 'methods': energy_json(tables)})
    print(f'\n{text}\n{printable(args.out / "energy.md")}, {printable(args.out / "energy.json")}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
