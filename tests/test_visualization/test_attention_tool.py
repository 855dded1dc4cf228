# SPDX-License-Identifier: Apache-2.0
"""Energies of known maps, pictures, and visualize_attention.py from end to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from iid_mm.datasets.index import read_index, write_index
from iid_mm.errors import InputError
from iid_mm.faces.analyzers import mediapipe_analyzer
from iid_mm.faces.analyzers.base import Face
from iid_mm.structures import ForgeryDataSample
from iid_mm.visualization.attention_energy import collect_energy, energy_json, energy_markdown, region_energy
from iid_mm.visualization.attention_inputs import PictureDataset, find_pictures
from iid_mm.visualization.attention_pictures import contact_sheet, face_panel, map_tops, picture_name, wrapped
from iid_mm.visualization.attention_views import FaceView
from iid_mm.visualization.drawing import BLUE, GREEN, INK, VERMILION, text_size
from support.paths import REPOSITORY

TOOL = REPOSITORY / 'tools' / 'analysis_tools' / 'visualize_attention.py'
needs_library = pytest.mark.skipif(
    find_spec('pytorch_grad_cam') is None, reason='grad-cam is not installed (extra attention)'
)
needs_mediapipe = pytest.mark.skipif(find_spec('mediapipe') is None, reason='mediapipe is not installed')
SIDE = 56


def make_view(
    method: str, video: str, heat: np.ndarray, *, target: str = '1', fake: bool = True, mask: bool = True
) -> FaceView:
    """A face of 56 px whose left half is manipulated."""
    sample = ForgeryDataSample(
        metainfo=dict(
            video_key=f'toy/{method}/c23/{video}',
            frame=3,
            dataset='toy',
            method=method,
            target_id=target,
            img_shape=(SIDE, SIDE),
            img_path=f'{video}.png',
        )
    )
    sample.gt_label = torch.tensor([int(fake)])
    sample.pred_score = torch.tensor([0.2, 0.8])
    if mask:
        region = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
        region[:, : SIDE // 2] = int(fake)
        sample.gt_artifact_mask = region
    return FaceView(np.full((SIDE, SIDE, 3), 90, np.uint8), sample, {'gradcam': heat.astype(np.float32)})


def halves(left: float, right: float) -> np.ndarray:
    heat = np.full((SIDE, SIDE), right)
    heat[:, : SIDE // 2] = left
    return heat


def test_energy_of_known_maps() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[:2, :2] = 1
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0], heat[3, 3] = 3, 1
    assert region_energy(heat, mask) == 0.75
    assert region_energy(np.full((4, 4), 0.1, np.float32), mask) == pytest.approx(0.25)
    # A map that says nothing knows no more than chance.
    assert region_energy(np.zeros((4, 4), np.float32), mask) == 0.25


def test_the_table_sets_energies_beside_chance_and_genuine_frames() -> None:
    views = [
        make_view('youtube', '001', halves(1, 1), fake=False),
        make_view('youtube', '002', halves(0, 0), target='2', fake=False),
        make_view('A', '001_009', halves(3, 1)),
        make_view('A', '002_009', halves(0, 0), target='2'),
        make_view('B', '001_009', halves(0, 5)),
        make_view('B', '002_009', halves(1, 0), target='2', mask=False),
    ]
    (table,) = collect_energy(views, ['gradcam']).tables(num_resamples=20)
    rows = {row.name: row for row in table.rows}
    assert list(rows) == ['A', 'B', 'overall']
    # 3 of 4 parts lie in the left half; the map of zeros counts as half.
    assert rows['A'].metrics['energy'] == pytest.approx((0.75 + 0.5) / 2)
    assert rows['A'].metrics['chance_energy'] == pytest.approx(0.5)
    assert rows['A'].metrics['genuine_energy'] == pytest.approx(0.5)
    assert rows['A'].metrics['gain_energy'] == pytest.approx(0.125, abs=1e-3)
    assert rows['B'].metrics['energy'] == 0
    assert rows['B'].metrics['gain_energy'] == pytest.approx(-0.5)
    assert table.blank == {'A': (1, 1), 'B': (0, 1), 'overall': (1, 1)}

    data = energy_json([table])['gradcam']
    assert data['B']['energy'] == 0
    assert data['B']['counts'] == dict(
        scored=1, paired=1, genuine=2, videos=1, without_mask=1, blank_fakes=0, blank_genuine=1
    )
    assert json.loads(json.dumps(data)) == data
    text = energy_markdown([table], {'gradcam': 'Grad-CAM'})
    line = next(line for line in text.splitlines() if line.startswith('| Grad-CAM | B |'))
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    assert cells[2].startswith('0.0 (')
    assert cells[3] == '50.0'
    assert cells[5] == '50.0'
    assert cells[6].startswith('-50.0 (')
    assert cells[8:] == ['1', '0, 1']


def test_a_set_without_masks_has_no_energy() -> None:
    views = [make_view('A', '001_009', halves(3, 1), mask=False)]
    with pytest.raises(InputError, match='1 have no mask'):
        collect_energy(views, ['gradcam']).tables(0)


def test_a_panel_shows_region_map_and_class() -> None:
    view = make_view('A', '001_009', halves(3, 1))
    panel = face_panel(view, {'gradcam': 3.0}, {'gradcam': 'Grad-CAM'}, cell=112)
    assert panel.shape[1] == 2 * 112 + 6
    # The outline runs along the region's right edge; its left half is hot under the map only.
    assert any(tuple(panel[56, x]) == GREEN for x in range(50, 60))
    assert tuple(panel[56, 20]) == (90, 90, 90)
    assert int(panel[56, 118 + 20, 2]) > 150
    assert (panel == VERMILION).all(axis=2).any()
    genuine = make_view('youtube', '001', halves(0, 0), fake=False)
    drawn = face_panel(genuine, {'gradcam': 0.0}, {}, cell=112)
    assert (drawn == BLUE).all(axis=2).any()
    assert not (drawn == GREEN).all(axis=2).any()
    assert tuple(drawn[56, 118 + 20]) == (90, 90, 90)


def test_brightest_colors() -> None:
    views = [make_view('A', 'a', halves(3, 1)), make_view('A', 'b', halves(0.5, 1))]
    for view, top in zip(views, (0.4, 0.8), strict=True):
        view.maps['adm'] = np.full((SIDE, SIDE), top)
    assert map_tops(views, 'own') == [dict(gradcam=3, adm=0.4), dict(gradcam=1, adm=0.8)]
    assert map_tops(views, 'shared') == [dict(gradcam=3, adm=0.8)] * 2
    assert map_tops(views) == [dict(gradcam=3, adm=0.8), dict(gradcam=1, adm=0.8)]
    with pytest.raises(InputError, match="scale='log'"):
        map_tops(views, 'log')


def test_names_and_headings() -> None:
    view = make_view('A', '0 1/../x', halves(1, 0))
    assert picture_name(7, view) == '007_A_x_00003.png'
    view.sample.set_metainfo(dict(method='../a b'))
    assert picture_name(7, view) == '007_..-a-b_x_00003.png'
    lines = wrapped('one two three four five', 90, 14)
    assert ' '.join(lines) == 'one two three four five'
    assert len(lines) > 1
    assert all(text_size(line, 14)[0] <= 90 for line in lines)
    sheet = contact_sheet([np.full((50, 200, 3), 90, np.uint8)] * 3, ['title', 'note'], columns=2)
    assert sheet.shape[1] == 2 * 208 + 8
    assert (sheet[:30] == INK).all(axis=2).any()


# The tool.


@pytest.fixture
def tool(run_as_script: Callable[..., Any]) -> Callable[..., Any]:
    """Run the tool: exit status, stdout, stderr."""
    return partial(run_as_script, TOOL)


@pytest.fixture(scope='module')
def masked(tiny_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny set with masks: the middle of every Deepfakes frame."""
    root = tmp_path_factory.mktemp('masked') / 'set'
    shutil.copytree(tiny_prepared, root)
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    rows = read_index(root / 'index.parquet').to_pylist()
    for row in rows:
        if row['method'] == 'Deepfakes':
            row['mask'] = row['image'].replace('frames/', 'masks/')
            (root / row['mask']).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / row['mask']), mask)
    write_index(rows, root / 'index.parquet')
    return root


@needs_library
def test_index_to_pictures_and_table(
    tool: Callable[..., Any], tiny_config: Path, weights: Path, masked: Path, tmp_path: Path
) -> None:
    common = (tiny_config, weights, '--num', 2, '--num-resamples', 10, '--cell', 96)
    status, out, _ = tool(*common, '--index', masked, '--out', tmp_path / 'a', '--frames-per-video', 2)
    assert status == 0
    assert '6 faces' in out
    names = sorted(path.name for path in (tmp_path / 'a' / 'faces').iterdir())
    assert names[0] == '000_Deepfakes_200_999_00000.png'
    assert [name.split('_')[1] for name in names] == ['Deepfakes'] * 2 + ['FaceSwap'] * 2 + ['youtube'] * 2
    single = cv2.imread(str(tmp_path / 'a' / 'faces' / names[0]))
    # The face, Grad-CAM, the artifact head's map.
    assert single.shape[1] == 3 * 96 + 2 * 6
    sheet = cv2.imread(str(tmp_path / 'a' / 'contact_sheet.png'))
    assert sheet.shape[1] == 2 * (single.shape[1] + 8) + 8
    data = json.loads((tmp_path / 'a' / 'energy.json').read_text())
    assert data['settings'] == dict(method='gradcam', layer='backbone', target='fake', heat_map='noisy_or')
    assert set(data['methods']) == {'gradcam', 'adm'}
    overall = data['methods']['adm']['overall']
    # 3 people, 2 frames of each; FaceSwap has no masks.
    assert overall['counts']['scored'] == overall['counts']['paired'] == 6
    assert overall['counts']['without_mask'] == 6
    assert 0 < overall['chance_energy'] < overall['energy'] + 0.5
    table = (tmp_path / 'a' / 'energy.md').read_text()
    assert '| Grad-CAM | Deepfakes |' in table
    assert '| ADM (noisy_or) | overall |' in table

    # The artifact head's map alone, of one layer less; the same again gives the same files.
    again = [
        tool(*common, '--index', masked / 'index.parquet', '--method', 'adm', '--out', tmp_path / n)
        for n in ('b', 'c')
    ]
    assert [status for status, *_ in again] == [0, 0]
    for name in ('contact_sheet.png', 'energy.json', 'energy.md'):
        assert (tmp_path / 'b' / name).read_bytes() == (tmp_path / 'c' / name).read_bytes()
    assert set(json.loads((tmp_path / 'b' / 'energy.json').read_text())['methods']) == {'adm'}


def test_index_without_masks(
    tool: Callable[..., Any], tiny_config: Path, weights: Path, tiny_prepared: Path, tmp_path: Path
) -> None:
    common = (tiny_config, weights, '--index', tiny_prepared, '--method', 'adm', '--num', 1)
    status, out, _ = tool(*common, '--out', tmp_path / 'a')
    assert status == 0
    assert "no fake of split 'test'" in out
    assert not (tmp_path / 'a' / 'energy.md').exists()
    status, _, err = tool(*common, '--out', tmp_path / 'b', '--energy', 'on')
    assert status == 1
    assert 'prepare the set again with --masks' in err


@needs_library
def test_bad_input(
    tool: Callable[..., Any], tiny_config: Path, weights: Path, tiny_prepared: Path, tmp_path: Path
) -> None:
    def error(*more: Any, index: Path = tiny_prepared) -> str:
        status, _, err = tool(tiny_config, weights, '--index', index, '--out', tmp_path / 'x', *more)
        assert status == 1
        assert err.count('\n') == 1
        return str(err)

    assert "layer='layer5' is unknown; choose one of backbone, " in error('--layer', 'layer5')
    assert 'none.parquet' in error(index=tmp_path / 'none.parquet')
    assert '--num 0: give at least 1' in error('--num', 0)
    assert 'must not be negative' in error('--frames-per-video', -1)
    assert not (tmp_path / 'x').exists()


class StubAnalyzer:
    """Finds a face wherever there is a picture that is not gray."""

    landmarks: np.ndarray

    def analyze(self, image: np.ndarray) -> list[Face]:
        box = np.array([10, 10, 50, 50], np.float32)
        return [Face(box, 1.0, self.landmarks)] if image.std() > 1 else []


@pytest.fixture
def pictures(tiny_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two faces and one gray picture, and an analyzer that knows them."""
    row = read_index(tiny_prepared / 'index.parquet').to_pylist()[0]
    StubAnalyzer.landmarks = np.array(row['landmarks'], np.float32).reshape(-1, 2)
    monkeypatch.setattr(mediapipe_analyzer, 'MediapipeAnalyzer', StubAnalyzer)
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for name in ('b.png', 'a.png'):
        shutil.copy(tiny_prepared / row['image'], folder / name)
    (folder / 'notes.txt').write_text('no picture')
    cv2.imwrite(str(tmp_path / 'gray.png'), np.full((64, 64, 3), 128, np.uint8))
    return folder


def test_pictures_without_landmarks(
    tool: Callable[..., Any], tiny_config: Path, weights: Path, pictures: Path, tmp_path: Path
) -> None:
    common = (tiny_config, weights, '--method', 'adm', '--out', tmp_path / 'out', '--images', pictures)
    status, out, _ = tool(*common)
    assert status == 0
    assert '2 faces' in out
    names = sorted(path.name for path in (tmp_path / 'out' / 'faces').iterdir())
    assert names == ['000_a.png', '001_b.png']

    gray = tmp_path / 'gray.png'
    status, _, err = tool(*common, gray)
    assert status == 1
    assert 'no face was found in' in err
    assert 'gray.png' in err
    assert '--skip-faceless' in err
    status, out, _ = tool(*common, gray, '--skip-faceless')
    assert status == 0
    assert f'no face found, left out: {gray}' in out
    assert '2 faces' in out
    status, _, err = tool(*common, '--energy', 'on')
    assert status == 1
    assert 'pictures have no masks' in err
    damaged = tmp_path / 'damaged.png'
    damaged.write_bytes(b'\x89PNG')
    status, _, err = tool(*common, damaged)
    assert status == 1
    assert 'damaged.png cannot be decoded' in err


@pytest.mark.parametrize('suffix', ['.webp', '.png', '.tif'])
def test_pictures_are_seen_as_they_are_shown(
    tiny_config: Path, pictures: Path, tmp_path: Path, suffix: str
) -> None:
    init_default_scope('iid_mm')
    upright = Image.open(pictures / 'a.png').convert('RGB')
    exif = Image.Exif()
    exif[274] = 3
    turned = tmp_path / f'turned{suffix}'
    upright.rotate(180).save(turned, exif=exif, **({'lossless': True} if suffix == '.webp' else {}))
    made = PictureDataset(Config.fromfile(str(tiny_config)), [pictures / 'a.png', turned])
    assert torch.equal(made[0]['inputs'], made[1]['inputs'])


def test_find_pictures(pictures: Path, tmp_path: Path) -> None:
    assert [path.name for path in find_pictures([pictures, tmp_path / 'gray.png'])] == [
        'a.png',
        'b.png',
        'gray.png',
    ]
    with pytest.raises(FileNotFoundError, match=r'none\.png does not exist'):
        find_pictures([tmp_path / 'none.png'])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='empty holds no picture'):
        find_pictures([tmp_path / 'empty'])


@needs_mediapipe
def test_mediapipe_finds_no_face_in_gray(
    tool: Callable[..., Any], tiny_config: Path, weights: Path, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / 'gray.png'), np.full((128, 128, 3), 128, np.uint8))
    more = ('--images', tmp_path / 'gray.png', '--out', tmp_path / 'out', '--method', 'adm')
    status, _, err = tool(tiny_config, weights, *more)
    assert status == 1
    assert 'no face was found in' in err
