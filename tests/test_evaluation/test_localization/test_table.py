# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.evaluation.localization.maps import HALF, map_metrics
from iid_mm.evaluation.localization.samples import (
    EMPTY_MASK,
    GENUINE,
    NO_MASK,
    LocalizationSample,
    unique_samples,
)
from iid_mm.evaluation.localization.table import flat_metrics, format_localization, localization_rows
from support.localization import make_frame, square


def rows_of(samples: list[LocalizationSample], **options: Any) -> dict[str, Any]:
    return {row.name: row for row in localization_rows(samples, **({'num_resamples': 0} | options))}


def test_means_and_boxes_by_hand() -> None:
    samples = [
        # A canvas box that overlaps by 0.6, and a local one that is right.
        make_frame(boxes=[(0.9, 0.6, 1.0), (0.5, 0.8, 0.4)], own=(1.0, 0.9, 0.7)),
        # A local box that is wrong.
        make_frame(video='002_003', boxes=[(0.8, 0.2, 0.3)], own=(0.0, 0.5, 0.1)),
        make_frame('youtube', '000', state=GENUINE, boxes=[(0.7, 0.0, 0.2)]),
    ]
    row = rows_of(samples)['overall']
    assert row.metrics['pointing'] == 0.5
    assert row.metrics['energy'] == pytest.approx(0.7)
    assert row.metrics['iou_half'] == pytest.approx(0.4)
    # All boxes: the canvas box is right, at precision 1 and recall 1/2; the local one comes too late.
    assert row.metrics['box_ap50'] == 0.5
    # Local boxes by score: wrong (0.8), on a genuine face (0.7), right (0.5): precision 1/3.
    assert row.metrics['box_ap50_local'] == pytest.approx(1 / 3 / 2)
    assert row.metrics['box_ap50_local_fakes'] == pytest.approx(1 / 2 / 2)
    # Overlap 0.6 is right at 0.5, 0.55 and 0.6; overlap 0.8 from 0.65 to 0.8 at precision 1/4, after the
    # canvas box, the wrong one and the one on the genuine face.
    assert row.metrics['box_ap'] == pytest.approx((3 * 0.5 + 4 * 0.25 / 2) / 10)
    assert row.counts['scored'] == 2
    assert row.counts['genuine'] == 1


def test_baselines_by_hand() -> None:
    samples = [
        make_frame(),
        make_frame(video='002_003'),
        make_frame('youtube', '000', state=GENUINE),
    ]
    row = rows_of(samples)['overall']
    assert row.metrics['center_energy'] == 0.4
    assert row.metrics['chance_pointing'] == 0.25
    # The canvas itself overlaps by 1 with both masks, at scores above that of the genuine face.
    assert row.metrics['chance_box_ap50'] == row.metrics['chance_box_ap'] == 1.0
    assert row.metrics['center_box_ap50'] == 1.0
    # The largest box that is no canvas has 0.9 of the sides and overlaps by 0.9: right up to 0.9.
    assert row.metrics['center_box_ap_local'] == pytest.approx(0.9)


def test_the_best_level_is_one_for_all() -> None:
    first, second = make_frame(), make_frame(video='002_003')
    first.maps[0, 2:] = np.linspace(0.0, 0.9, 19)
    second.maps[0, 2:] = np.linspace(0.9, 0.36, 19)
    row = rows_of([first, second])['overall']
    # The sum rises by 0.02 a level.
    assert row.metrics['best_level'] == 0.95
    assert row.metrics['iou_best'] == pytest.approx((0.9 + 0.36) / 2)
    assert row.metrics['iou_half'] == pytest.approx((first.maps[0, 2 + HALF] + second.maps[0, 2 + HALF]) / 2)


def test_gain_over_the_genuine_frame() -> None:
    mask = square(0, 0)
    own = (255 * mask).astype(np.uint8)
    other = (255 * square(0, 0, 14)).astype(np.uint8)
    bits = np.packbits(mask).tobytes()
    samples = [
        make_frame(grid=own.tobytes(), mask_grid=bits),
        make_frame('youtube', '000', state=GENUINE, grid=other.tobytes()),
        # Another frame, another head and another compression are no partners.
        make_frame('youtube', '000', frame=1, state=GENUINE, grid=own.tobytes()),
        make_frame('youtube', '001', state=GENUINE, grid=own.tobytes()),
        make_frame('youtube', state=GENUINE, grid=own.tobytes(), video_key='ffpp/youtube/c40/000'),
        make_frame(video='007_008', grid=own.tobytes(), mask_grid=bits),
    ]
    row = rows_of(samples)['overall']
    assert row.counts['paired'] == 1
    for key, value in {'pointing': 1 / 4, 'energy': 1 / 4, 'iou_half': 1 / 4, 'iou_best': 1 / 4}.items():
        assert row.metrics[f'genuine_{key}'] == value
        assert row.metrics[f'gain_{key}'] == 1 - value
    np.testing.assert_allclose(map_metrics(other, mask).as_vector(), 0.25)


@pytest.mark.parametrize('changes', [dict(target_id=''), dict(video_key='odd'), dict(grid=b'')])
def test_without_partner_there_is_no_gain(changes: dict[str, Any]) -> None:
    grid = (255 * square(0, 0)).astype(np.uint8).tobytes()
    samples = [
        make_frame(**({'grid': grid} | changes)),
        make_frame('youtube', '000', state=GENUINE, grid=grid),
    ]
    row = rows_of(samples, num_resamples=20)['overall']
    assert row.counts['paired'] == 0
    assert math.isnan(row.metrics['gain_energy'])
    assert 'gain_energy' not in row.intervals
    assert 'gain_energy' not in flat_metrics([row])


def test_rows_and_counts() -> None:
    samples = [
        make_frame('FaceSwap'),
        make_frame('Deepfakes', state=NO_MASK),
        make_frame('Deepfakes', frame=1, state=EMPTY_MASK),
        make_frame('youtube', '000', state=GENUINE),
    ]
    rows = localization_rows(samples, num_resamples=0)
    assert [row.name for row in rows] == ['Deepfakes', 'FaceSwap', 'overall']
    assert rows[0].metrics == {}
    assert rows[0].counts == dict(fakes=2, scored=0, without_mask=1, empty_masks=1, genuine=1, videos=0)
    assert rows[2].counts == dict(
        fakes=3, scored=1, without_mask=1, empty_masks=1, genuine=1, videos=1, paired=0
    )
    flat = flat_metrics(rows)
    assert flat['num_without_mask'] == 1
    assert flat['pointing/FaceSwap'] == flat['pointing'] == 1.0
    assert 'pointing/Deepfakes' not in flat
    text = [
        [cell.strip() for cell in line.split('|')[1:-1]] for line in format_localization(rows).splitlines()
    ]
    assert len(text) == 2 + 5 * 3
    assert text[7][:3] == ['FaceSwap', '0.0', '0.0']
    assert text[7][-2:] == ['1', '0']
    assert text[2][-2:] == ['0', '2']


def test_boxes_of_fakes_without_a_mask_do_not_count() -> None:
    wrong = [(0.95, 0.0, 0.5)]
    samples = [
        make_frame(boxes=[(0.5, 0.9, 0.5)]),
        make_frame(frame=1, state=NO_MASK, boxes=wrong),
    ]
    assert rows_of(samples)['overall'].metrics['box_ap50'] == 1.0


def test_several_datasets() -> None:
    samples = [
        make_frame(boxes=[(0.5, 0.9, 0.5)]),
        make_frame('youtube', '000', state=GENUINE, boxes=[(0.9, 0.0, 0.5)]),
        make_frame(boxes=[(0.5, 0.9, 0.5)], dataset='other', video_key='other/FaceSwap/c23/000_001'),
    ]
    rows = rows_of(samples)
    assert list(rows) == ['ffpp/FaceSwap', 'ffpp', 'other/FaceSwap', 'other', 'overall']
    # The box on a genuine face of one set is no matter of the other.
    assert rows['ffpp/FaceSwap'].metrics['box_ap50'] == 0.5
    assert rows['other/FaceSwap'].metrics['box_ap50'] == 1.0


def test_without_heat_maps_boxes_remain() -> None:
    sample = make_frame(boxes=[(0.5, 0.9, 0.5)])
    sample.maps[0] = math.nan
    row = rows_of([sample], num_resamples=10)['overall']
    flat = flat_metrics([row])
    assert flat['box_ap50'] == 1.0
    assert 'pointing' not in flat
    assert 'best_level' not in flat
    assert set(row.intervals) == {'box_ap50', 'box_ap50_local'}
    assert flat['chance_energy'] == 0.25


def test_without_masks_it_is_an_error() -> None:
    samples = [
        make_frame(state=NO_MASK),
        make_frame(frame=1, state=EMPTY_MASK),
        make_frame('youtube', '000', state=GENUINE),
    ]
    with pytest.raises(InputError, match=r'of 2 fake frames 1 have no mask and 1 an empty one.*--masks'):
        localization_rows(samples)


def test_intervals_are_over_videos() -> None:
    """Ten frames of a video are one observation: the interval is that of the videos' means."""
    rng = np.random.default_rng(0)
    energies = rng.random(40)
    samples = [
        make_frame(video=f'{v:03d}_999', frame=f, own=(1.0, e, 0.5))
        for v, e in enumerate(energies)
        for f in range(10)
    ]
    row = rows_of(samples, num_resamples=1000)['overall']
    low, high = row.intervals['energy']
    half = 1.96 * energies.std(ddof=1) / np.sqrt(40)
    assert low == pytest.approx(energies.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(energies.mean() + half, abs=0.15 * half)
    assert row.intervals['pointing'] == (1.0, 1.0)
    again = rows_of(samples[::-1], num_resamples=1000)['overall']
    assert rows_of(unique_samples(samples[::-1]), num_resamples=1000)['overall'].intervals == row.intervals
    assert again.metrics == pytest.approx(row.metrics, nan_ok=True)
