# SPDX-License-Identifier: Apache-2.0
"""DeepFakeDetection (DFD) of Google and Jigsaw, in the tree of FaceForensics++.

Genuine videos are ``<actor>__<scene>``; fakes are ``<target>_<source>__<scene>__<experiment>`` and show
the scene of actor ``<target>``. A pair of actors may have several experiments, so the whole name is the
video. There is no official split.
"""

from __future__ import annotations

from iid_mm.preparation.layouts.base import Layout, Scanner
from iid_mm.preparation.layouts.ffpp import (
    COMPRESSIONS,
    FOREIGN_METHODS,
    ORIGINALS,
    find_masks,
    find_sequences,
)
from iid_mm.preparation.layouts.names import NameRule
from iid_mm.structures.video_record import FAKE, GENUINE

ACTORS = 'actors'
GENUINE_NAME = NameRule(r'(?P<target>\d+)__.+', '<actor>__<scene>')
FAKE_NAME = NameRule(
    r'(?P<target>\d+)_(?P<source>\d+)__(?P<scene>.+)__[A-Z0-9]{8}',
    '<target>_<source>__<scene>__<8 characters>',
    genuine=ACTORS,
    pair='{target}__{scene}',
)


def _read(scanner: Scanner) -> None:
    split = scanner.options.split_or()
    for method, folder in find_sequences(scanner, ACTORS, lambda name: name in FOREIGN_METHODS).items():
        label = GENUINE if method == ACTORS else FAKE
        rule = FAKE_NAME if label else GENUINE_NAME
        masks = find_masks(scanner, method) if label else {}
        for path in scanner.list_videos(folder):
            with scanner.leaving_out(path):
                names, mask = rule.read(path.stem), masks.get(path.stem)
                scanner.add(path, path.stem, method=method, label=label, split=split, names=names, mask=mask)


LAYOUT = Layout(
    name='dfd',
    read=_read,
    summary='DeepFakeDetection (Google, Jigsaw): 363 genuine videos of 28 actors, 3068 fakes',
    tree="""\
ROOT/     (the tree of FaceForensics++)
  original_sequences/actors/{raw,c23,c40}/videos/<actor>__<scene>.mp4
  manipulated_sequences/DeepFakeDetection/{raw,c23,c40}/videos/
    <target>_<source>__<scene>__<8 characters>.mp4
  manipulated_sequences/DeepFakeDetection/masks/videos/<same name>.mp4     (optional)
No official split: all in test, or in the one of --split""",
    example=f'{ORIGINALS}/{ACTORS}/{{level}}/videos/01__hugging_happy.mp4',
    dataset='dfd',
    compressions=COMPRESSIONS,
    unused=('splits_dir', 'stills'),
)
