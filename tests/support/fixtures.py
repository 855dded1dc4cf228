# SPDX-License-Identifier: Apache-2.0
"""A small model and a small prepared set for all tests."""

from __future__ import annotations

import importlib.util
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope

from iid_mm.apis import init_model
from iid_mm.utils.cli import run_tool
from iid_mm.utils.config import load_config
from iid_mm.visualization import ForgeryVisualizer
from support.landmarks import draw_landmarks
from support.paths import REPOSITORY
from support.tiny_ffpp import TinyFFPP, face_points, write_video


@pytest.fixture
def tiny_model_cfg() -> dict[str, Any]:
    """Model of ``configs/iid_r18_ffpp.py`` with fewer channels: 0.1 M parameters, for 112 px."""
    model = Config.fromfile(REPOSITORY / 'configs' / 'iid_r18_ffpp.py').model
    model.backbone.update(stem_channels=8, base_channels=8)
    model.neck.update(in_channels=32, channels=16)
    model.artifact_head.in_channels = 16
    model.forgery_head.update(in_channels=32, artifact_channels=16)
    return dict(model.to_dict())


@pytest.fixture
def iid_scope() -> Iterator[None]:
    """Make ``iid_mm`` the scope in which bare names are looked up."""
    with DefaultScope.overwrite_default_scope('iid_mm'):
        yield


@pytest.fixture
def make_samples() -> Callable[..., list[Any]]:
    """Make data samples from labels: fakes have the whole canvas as box and ``extra`` boxes."""

    def make(labels: list[int], side: int = 112, extra: Any = ()) -> list[Any]:
        from mmengine.structures import InstanceData

        from iid_mm.structures import ForgeryDataSample

        samples = []
        for label in labels:
            shape = (side, side)
            sample = ForgeryDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape))
            boxes = [[0, 0, side, side], *extra] if label else []
            sample.gt_label = torch.tensor([label])
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                labels=torch.zeros(len(boxes), dtype=torch.int64),
            )
            samples.append(sample)
        return samples

    return make


@pytest.fixture
def randomize() -> Callable[[torch.nn.Module], None]:
    """Give a model random batch norm statistics and affine parameters that keep signals alive."""

    def apply(model: torch.nn.Module, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                shape = module.running_mean.shape
                module.running_mean.add_(0.1 * torch.randn(shape, generator=generator))
                module.running_var.mul_(0.8 + 0.4 * torch.rand(shape, generator=generator))
                module.weight.data.mul_(0.8 + 0.4 * torch.rand(shape, generator=generator))
                module.bias.data.add_(0.1 * torch.randn(shape, generator=generator))

    return apply


# A prepared set and a config to train on it.


def prepared_rows(root: Path, split: str, people: list[str], frames: int, side: int = 64) -> list[dict]:
    """Write the crops of one genuine and two fake videos a person; return their rows."""
    rows = []
    for number, person in enumerate(people):
        for frame in range(frames):
            rng = np.random.default_rng([number, frame, len(split)])
            genuine = cv2.resize(rng.integers(60, 190, (8, 8, 3), dtype=np.uint8), (side, side))
            for method in ('youtube', 'Deepfakes', 'FaceSwap'):
                fake = method != 'youtube'
                image = genuine.copy()
                if fake:
                    part = slice(side // 4, 3 * side // 4)
                    noise = rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
                    image[part, part] = (image // 2 + noise // 2)[part, part]
                name = f'{person}_999' if fake else person
                path = f'frames/ffpp/{method}/c23/{name}/{frame:05d}.png'
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / path), image)
                rows.append(
                    dict(
                        image=path,
                        source_image=f'frames/ffpp/youtube/c23/{person}/{frame:05d}.png' if fake else None,
                        landmarks=draw_landmarks(side).ravel(),
                        label=int(fake),
                        dataset='ffpp',
                        method=method,
                        compression='c23',
                        video_key=f'ffpp/{method}/c23/{name}',
                        frame=frame,
                        split=split,
                        target_id=person,
                        source_id='999' if fake else None,
                        crop_window=[0, 0, side, side],
                        detector_score=1.0,
                        mask=None,
                    )
                )
    return rows


@pytest.fixture(scope='session')
def tiny_prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder: 24 training, 6 validation and 27 test samples of 64 px. Do not write to it."""
    from iid_mm.datasets.index import write_index

    root = tmp_path_factory.mktemp('prepared')
    rows = prepared_rows(root, 'train', ['000', '001', '002', '003'], 2)
    rows += prepared_rows(root, 'val', ['100'], 2)
    rows += prepared_rows(root, 'test', ['200', '201', '202'], 3)
    write_index(rows, root / 'index.parquet')
    return root


TINY_CONFIG = """
_base_ = '{configs}/iid_r18_ffpp.py'
data_root = '{root}'
model = dict(
    backbone=dict(stem_channels=8, base_channels=8),
    neck=dict(in_channels=32, channels=16),
    artifact_head=dict(in_channels=16),
    forgery_head=dict(in_channels=32, artifact_channels=16, dropout=0.3))
loader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root))
train_dataloader = dict(**loader)
val_dataloader = dict(**loader)
test_dataloader = dict(**loader)
train_cfg = dict(max_epochs=2, val_interval=1)
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10)]
default_hooks = dict(logger=dict(interval=1))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(vis_backends=vis_backends)
"""


@pytest.fixture(scope='session')
def tiny_masked(tiny_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared set with masks of the test split's fakes, but for Deepfakes of person 202."""
    from iid_mm.datasets.index import read_index, write_index

    root = tmp_path_factory.mktemp('masked')
    (root / 'frames').symlink_to(tiny_prepared / 'frames')
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[16:48, 16:48] = 255
    (root / 'masks').mkdir()
    cv2.imwrite(str(root / 'masks/square.png'), mask)
    rows = read_index(tiny_prepared / 'index.parquet').to_pylist()
    for row in rows:
        without = row['label'] == 0 or row['video_key'] == 'ffpp/Deepfakes/c23/202_999'
        row['mask'] = None if without or row['split'] != 'test' else 'masks/square.png'
    write_index(rows, root / 'index.parquet')
    return root


@pytest.fixture(scope='session')
def tiny_config(tiny_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Config file that trains a small detector for 2 epochs of 6 iterations on ``tiny_prepared``."""
    path = tmp_path_factory.mktemp('config') / 'tiny.py'
    path.write_text(TINY_CONFIG.format(configs=REPOSITORY / 'configs', root=tiny_prepared))
    return path


@pytest.fixture
def masked_config(tiny_config: Path, tiny_masked: Path, tmp_path: Path) -> Config:
    """The tiny config on ``tiny_masked``."""
    cfg = load_config(tiny_config, {'data_root': str(tiny_masked)})
    cfg.work_dir, cfg.launcher = str(tmp_path / 'work'), 'none'
    return cfg


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[[], TinyFFPP]:
    def make() -> TinyFFPP:
        return TinyFFPP(tmp_path / 'data')

    return make


@pytest.fixture
def tree(make_tree) -> TinyFFPP:
    """Three genuine videos, three fakes (one of them shorter), and files that are left out."""
    tree = make_tree()
    tree.splits(train=[['000', '001']], val=[['002', 'ä #1']], test=[['004', '005']])
    tree.video('youtube', '000')
    tree.video('youtube', '001')
    tree.video('youtube', 'ä #1')
    tree.video('youtube', '009')
    tree.video('Deepfakes', '000_001', shift=1.0)
    tree.video('FaceSwap', '000_001', count=8, shift=2.0)
    tree.video('Deepfakes', 'ä #1_002')
    tree.video('Deepfakes', '000_002')
    tree.video('Deepfakes', '001_009')
    tree.video('Deepfakes', 'noname')
    return tree


@pytest.fixture
def write_gray_video():
    return write_video


@pytest.fixture
def square_points():
    return face_points


@pytest.fixture(scope='session')
def mini_ffpp() -> Path:
    root = REPOSITORY / '../shared/data/mini_ffpp'
    if not root.is_dir():
        pytest.skip('no real faces at ../shared/data/mini_ffpp')
    return root.resolve()


@pytest.fixture
def call_tool(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a tool in this process: its exit status and what it wrote to stderr last."""

    def call(tool: str, *arguments: Any) -> tuple[int, str]:
        spec = importlib.util.spec_from_file_location(f'tool_{Path(tool).stem}', REPOSITORY / 'tools' / tool)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Dataclasses look their module up.
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        # MMEngine shares these among runs that start within the same second.
        for shared in (MMLogger, MessageHub, ForgeryVisualizer):
            shared._instance_dict.clear()
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        capfd.readouterr()
        status = run_tool(module.main)
        errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
        return status, '\n'.join(errors)

    return call


@pytest.fixture
def run_as_script(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a tool's file: exit status, stdout, stderr."""

    def run(tool: Path, *arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', [tool.name, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(tool), run_name='__main__')
        written = capsys.readouterr()
        return int(end.value.code or 0), written.out, written.err

    return run


@pytest.fixture
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a shell script of tools/ as a user would, with this Python first on the path."""

    def run(script: str, *arguments: Any, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
        return subprocess.run(
            ['bash', str(REPOSITORY / 'tools' / script), *map(str, arguments)],
            env={**os.environ, 'PATH': path, 'PORT': str(port), 'OMP_NUM_THREADS': '1'},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope='session')
def tiny_checkpoint(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint with random weights for the tiny config."""
    path = tmp_path_factory.mktemp('checkpoint') / 'tiny.pth'
    torch.manual_seed(0)
    torch.save(dict(state_dict=init_model(tiny_config).state_dict(), meta={}), path)
    return path
