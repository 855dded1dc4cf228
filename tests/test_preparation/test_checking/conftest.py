# SPDX-License-Identifier: Apache-2.0
"""Tiny prepared folders made by hand."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from iid_mm.datasets.index import write_index
from iid_mm.preparation.checking.findings import Finding
from iid_mm.preparation.checking.runner import CheckResult, check_indexes

SIDE = 40


def face_points(side: int = SIDE) -> np.ndarray:
    """68 points on a circle around the middle of the crop, half as wide as the crop."""
    turn = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1) * side / 4 + (side - 1) / 2
    return circle.astype(np.float32)


def draw_image(seed: int, side: int = SIDE) -> np.ndarray:
    """A colorful image that no other seed gives."""
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(30, 220, (5, 5, 3), dtype=np.uint8), (side, side))


class TinySet:
    """Collects the rows of a prepared folder and writes images, index and report.

    Attributes:
        root: The folder.
        rows: Rows of the index; tests change them before :meth:`write`.
    """

    def __init__(self, root: Path, dataset: str = 'ffpp', compression: str = 'c23') -> None:
        self.root = root
        self.dataset = dataset
        self.compression = compression
        self.rows: list[dict[str, Any]] = []

    def path(self, method: str, video: str, frame: int) -> str:
        return f'frames/{self.dataset}/{method}/{self.compression}/{video}/{frame:05d}.png'

    def video(
        self,
        method: str,
        video: str,
        split: str = 'train',
        *,
        target: str | None = None,
        source: str | None = None,
        pair: str | None = None,
        fake: bool | None = None,
        frames: int = 2,
        images: bool = True,
    ) -> list[dict[str, Any]]:
        """Add a video; ``pair`` is '<method>/<video>' of its genuine counterpart. Returns its rows."""
        label = int(source is not None if fake is None else fake)
        rows = []
        for frame in range(frames):
            image = self.path(method, video, frame)
            if images:
                own = draw_image(zlib.crc32(image.encode()))
                if pair:
                    # A fake differs from its genuine frame in the middle only.
                    scene = draw_image(zlib.crc32(self.path(*pair.split('/'), frame).encode()))
                    scene[10:30, 10:30] = own[10:30, 10:30]
                    own = scene
                self.draw(image, own)
            rows.append(
                dict(
                    image=image,
                    source_image=self.path(*pair.split('/'), frame) if pair else None,
                    landmarks=face_points().ravel(),
                    label=label,
                    dataset=self.dataset,
                    method=method,
                    compression=self.compression,
                    video_key=f'{self.dataset}/{method}/{self.compression}/{video}',
                    frame=frame,
                    split=split,
                    target_id=target,
                    source_id=source,
                    crop_window=[0, 0, SIDE, SIDE],
                    detector_score=1.0,
                    mask=None,
                )
            )
        self.rows += rows
        return rows

    def pair(self, target: str = '000', source: str = '001', split: str = 'train') -> None:
        """Add a genuine video and one Deepfake of it."""
        self.video('youtube', target, split, target=target)
        name = f'{target}_{source}'
        self.video('Deepfakes', name, split, target=target, source=source, pair=f'youtube/{target}')

    def draw(self, name: str, image: np.ndarray) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)

    def settings(self, **changes: Any) -> dict[str, Any]:
        settings = dict(
            layout='ffpp',
            compression=self.compression,
            methods=None,
            analyzer='mediapipe',
            analyzer_version='0.10.14',
            frames=2,
            margin=0.25,
            max_side=320,
            image_format='png',
            quality=None,
            val_fraction=0.0,
            version=2,
        )
        return {**settings, **changes}

    def report(self, **changes: Any) -> dict[str, Any]:
        """The report of an undisturbed run."""
        methods: dict[str, dict[str, int]] = {}
        for row in self.rows:
            methods.setdefault(row['method'], {'videos_without_face': 0})
        report = dict(
            settings=self.settings(),
            frames_asked=len(self.rows),
            frames_found=len(self.rows),
            methods=methods,
            left_out={},
            missing=[],
            given_up={},
            problems=[],
        )
        return {**report, **changes}

    def write(
        self, *, settings: dict[str, Any] | None = None, report: dict[str, Any] | str | None = None
    ) -> Path:
        """Write the index and, unless it is the empty text, a report."""
        path = self.root / 'index.parquet'
        notes = {'iid_mm.preparation': json.dumps(self.settings() if settings is None else settings)}
        write_index(self.rows, path, metadata=notes)
        if report != '':
            text = (
                report if isinstance(report, str) else json.dumps(self.report() if report is None else report)
            )
            (self.root / 'report.json').write_text(text)
        return path


@pytest.fixture
def tiny(tmp_path: Path) -> TinySet:
    return TinySet(tmp_path / 'set')


@pytest.fixture
def make_tiny(tmp_path: Path) -> Callable[..., TinySet]:
    def make(name: str, **kwargs: Any) -> TinySet:
        return TinySet(tmp_path / name, **kwargs)

    return make


@pytest.fixture
def check() -> Callable[..., CheckResult]:
    """Check indexes without a progress bar."""

    def run(*paths: Path, **kwargs: Any) -> CheckResult:
        return check_indexes(paths, progress=False, **kwargs)

    return run


@pytest.fixture
def find() -> Callable[[CheckResult, str], list[Finding]]:
    """Findings of one check."""

    def run(result: CheckResult, name: str) -> list[Finding]:
        return [finding for finding in result.findings if finding.check == name]

    return run
