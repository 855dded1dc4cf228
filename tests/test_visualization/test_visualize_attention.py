# SPDX-License-Identifier: Apache-2.0
"""visualize_attention.py from end to end, and the images it reads."""

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

from iid_mm.datasets.index import read_index
from iid_mm.errors import InputError
from iid_mm.faces.analyzers import mediapipe_analyzer
from iid_mm.faces.analyzers.base import Face
from iid_mm.visualization.image_face_dataset import ImageFaceDataset, find_images
from support.paths import REPOSITORY

TOOL = REPOSITORY / 'tools' / 'analysis_tools' / 'visualize_attention.py'
needs_library = pytest.mark.skipif(
    find_spec('pytorch_grad_cam') is None, reason='grad-cam is not installed (extra attention)'
)
needs_mediapipe = pytest.mark.skipif(find_spec('mediapipe') is None, reason='mediapipe is not installed')


@pytest.fixture
def tool(run_as_script: Callable[..., Any]) -> Callable[..., Any]:
    """Run the tool: exit status, stdout, stderr."""
    return partial(run_as_script, TOOL)


@needs_library
def test_index_to_images_and_table(
    tool: Callable[..., Any], tiny_config: Path, tiny_checkpoint: Path, tiny_masked: Path, tmp_path: Path
) -> None:
    common = (tiny_config, tiny_checkpoint, '--num', 2, '--num-resamples', 10, '--cell', 96)
    status, out, _ = tool(*common, '--index', tiny_masked, '--out', tmp_path / 'a', '--frames-per-video', 2)
    assert status == 0
    assert '6 faces' in out
    names = sorted(path.name for path in (tmp_path / 'a' / 'faces').iterdir())
    assert names[0] == '000_Deepfakes_200_999_00002.png'
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
    # 3 people, 2 manipulations, 2 frames of each; one video has no masks.
    assert overall['counts']['scored'] == overall['counts']['paired'] == 10
    assert overall['counts']['without_mask'] == 2
    assert 0 < overall['chance_energy'] < overall['energy'] + 0.5
    table = (tmp_path / 'a' / 'energy.md').read_text()
    rows = [[cell.strip() for cell in line.strip('|').split('|')][:2] for line in table.splitlines()]
    assert ['Grad-CAM', 'Deepfakes'] in rows
    assert ['ADM (noisy_or)', 'overall'] in rows

    # The artifact head's map alone, of one layer less; the same again gives the same files.
    again = [
        tool(*common, '--index', tiny_masked / 'index.parquet', '--method', 'adm', '--out', tmp_path / n)
        for n in ('b', 'c')
    ]
    assert [status for status, *_ in again] == [0, 0]
    for name in ('contact_sheet.png', 'energy.json', 'energy.md'):
        assert (tmp_path / 'b' / name).read_bytes() == (tmp_path / 'c' / name).read_bytes()
    assert set(json.loads((tmp_path / 'b' / 'energy.json').read_text())['methods']) == {'adm'}


def test_index_without_masks(
    tool: Callable[..., Any], tiny_config: Path, tiny_checkpoint: Path, tiny_prepared: Path, tmp_path: Path
) -> None:
    common = (tiny_config, tiny_checkpoint, '--index', tiny_prepared, '--method', 'adm', '--num', 1)
    status, out, _ = tool(*common, '--out', tmp_path / 'a')
    assert status == 0
    assert "no fake of split 'test'" in out
    assert not (tmp_path / 'a' / 'energy.md').exists()
    status, _, err = tool(*common, '--out', tmp_path / 'b', '--energy', 'on')
    assert status == 1
    assert 'prepare the set again with --masks' in err


@needs_library
def test_bad_input(
    tool: Callable[..., Any], tiny_config: Path, tiny_checkpoint: Path, tiny_prepared: Path, tmp_path: Path
) -> None:
    def error(*more: Any, index: Path = tiny_prepared) -> str:
        status, _, err = tool(tiny_config, tiny_checkpoint, '--index', index, '--out', tmp_path / 'x', *more)
        assert status == 1
        assert err.count('\n') == 1
        return str(err)

    assert "layer='layer5' is unknown; choose one of backbone, " in error('--layer', 'layer5')
    assert 'none.parquet' in error(index=tmp_path / 'none.parquet')
    assert '--num 0: give at least 1' in error('--num', 0)
    assert 'must not be negative' in error('--frames-per-video', -1)
    assert not (tmp_path / 'x').exists()


class StubAnalyzer:
    """Finds a face in every image that is not gray."""

    landmarks: np.ndarray

    def analyze(self, image: np.ndarray) -> list[Face]:
        box = np.array([10, 10, 50, 50], np.float32)
        return [Face(box, 1.0, self.landmarks)] if image.std() > 1 else []


@pytest.fixture
def images(tiny_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two faces, a gray image beside it, and an analyzer that knows them."""
    row = read_index(tiny_prepared / 'index.parquet').to_pylist()[0]
    StubAnalyzer.landmarks = np.array(row['landmarks'], np.float32).reshape(-1, 2)
    monkeypatch.setattr(mediapipe_analyzer, 'MediapipeAnalyzer', StubAnalyzer)
    folder = tmp_path / 'images'
    folder.mkdir()
    for name in ('b.png', 'a.png'):
        shutil.copy(tiny_prepared / row['image'], folder / name)
    (folder / 'notes.txt').write_text('no image')
    cv2.imwrite(str(tmp_path / 'gray.png'), np.full((64, 64, 3), 128, np.uint8))
    return folder


def test_images_without_landmarks(
    tool: Callable[..., Any], tiny_config: Path, tiny_checkpoint: Path, images: Path, tmp_path: Path
) -> None:
    common = (tiny_config, tiny_checkpoint, '--method', 'adm', '--out', tmp_path / 'out')
    status, out, err = tool(*common, '--images', images)
    assert (status, err) == (0, '')
    assert '2 faces' in out
    names = sorted(path.name for path in (tmp_path / 'out' / 'faces').iterdir())
    assert names == ['000_a.png', '001_b.png']

    # One bad image does not stop the others.
    gray, damaged = tmp_path / 'gray.png', tmp_path / 'damaged.png'
    status, out, err = tool(*common, '--images', gray, images)
    assert (status, err) == (0, f'no face found: {gray}\n')
    assert '2 faces' in out
    damaged.write_bytes(b'\x89PNG')
    status, out, err = tool(*common, '--images', images, damaged, gray)
    assert status == 1
    assert '2 faces' in out
    assert f'not read: {damaged} (' in err
    status, _, err = tool(*common, '--images', gray, damaged)
    assert status == 1
    assert f'no face was found in 2 images ({gray}; not read: {damaged}' in err
    status, _, err = tool(*common, '--images', images, '--energy', 'on')
    assert status == 1
    assert 'images have no masks' in err


@pytest.mark.parametrize('suffix', ['.webp', '.png', '.tif'])
def test_exif_orientation_is_applied(tiny_config: Path, images: Path, tmp_path: Path, suffix: str) -> None:
    init_default_scope('iid_mm')
    upright = Image.open(images / 'a.png').convert('RGB')
    exif = Image.Exif()
    exif[274] = 3
    turned = tmp_path / f'turned{suffix}'
    upright.rotate(180).save(turned, exif=exif, **({'lossless': True} if suffix == '.webp' else {}))
    made = ImageFaceDataset(Config.fromfile(str(tiny_config)), [images / 'a.png', turned])
    assert torch.equal(made[0]['inputs'], made[1]['inputs'])


def test_find_images(images: Path, tmp_path: Path) -> None:
    assert [path.name for path in find_images([images, tmp_path / 'gray.png'])] == [
        'a.png',
        'b.png',
        'gray.png',
    ]
    with pytest.raises(FileNotFoundError, match=r'none\.png does not exist'):
        find_images([tmp_path / 'none.png'])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='empty has no image'):
        find_images([tmp_path / 'empty'])


@needs_mediapipe
def test_mediapipe_finds_no_face_in_gray(
    tool: Callable[..., Any], tiny_config: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / 'gray.png'), np.full((128, 128, 3), 128, np.uint8))
    more = ('--images', tmp_path / 'gray.png', '--out', tmp_path / 'out', '--method', 'adm')
    status, _, err = tool(tiny_config, tiny_checkpoint, *more)
    assert status == 1
    assert 'no face was found in' in err
