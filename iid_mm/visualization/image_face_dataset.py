# SPDX-License-Identifier: Apache-2.0
"""Faces of images without landmarks, prepared as the test set of a config."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import Compose

from iid_mm.errors import InputError
from iid_mm.media.image_reading import decode_image, read_image_file
from iid_mm.media.suffixes import IMAGE_SUFFIXES, is_system_file
from iid_mm.utils.config import dataset_of, without_loaders
from iid_mm.utils.files import printable, reason_of


def find_images(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Images among files and folders, those of a folder in the order of their names.

    Raises:
        FileNotFoundError: A path does not exist.
        InputError: A folder has no image.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = [
                image
                for image in sorted(path.rglob('*'))
                if image.suffix.lower() in IMAGE_SUFFIXES
                and not any(map(is_system_file, image.relative_to(path).parts))
            ]
            if not inside:
                raise InputError(f'{printable(path)} has no image ({", ".join(IMAGE_SUFFIXES)})')
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise FileNotFoundError(f'image {printable(path)} does not exist')
    return found


class ImageFaceDataset:
    """Images as samples: MediaPipe finds the best face of each, which is aligned.

    Args:
        cfg: The config, whose test pipeline is used.
        paths: Files and folders.

    Attributes:
        infos: Input of the pipeline, one an image.
        faceless: Images without a face, left out.
        unreadable: Images that cannot be read, left out, each with the reason.

    Raises:
        FileNotFoundError: A path does not exist.
        InputError: No image shows a face.
        MissingExtraError: MediaPipe is not installed.
    """

    def __init__(self, cfg: Config, paths: Sequence[str | os.PathLike[str]]) -> None:
        from iid_mm.faces.analyzers.mediapipe_analyzer import MediapipeAnalyzer

        images = find_images(paths)
        steps = dataset_of(cfg).pipeline
        self.pipeline = Compose(without_loaders(steps))
        analyzer = MediapipeAnalyzer()
        self.infos: list[dict[str, Any]] = []
        self.faceless: list[str] = []
        self.unreadable: list[str] = []
        for path in images:
            try:
                faces = analyzer.analyze(decode_image(read_image_file(path)))
            except (OSError, InputError) as error:
                self.unreadable.append(f'{printable(path)} ({reason_of(error)})')
                continue
            if faces:
                self.infos.append(dict(img_path=str(path), landmarks=faces[0].landmarks))
            else:
                self.faceless.append(printable(path))
        if not self.infos:
            unreadable = f'; not read: {", ".join(self.unreadable[:5])}' if self.unreadable else ''
            raise InputError(
                f'no face was found in {len(images)} images ({", ".join(self.faceless[:5])}{unreadable}); '
                'give images that show a face from the front, at least about 50 px wide with some room '
                'around it'
            )

    def __len__(self) -> int:
        return len(self.infos)

    def __getitem__(self, index: int) -> Any:
        # Not the loader of crops, which ignores the orientation that EXIF stores.
        image = decode_image(read_image_file(Path(self.infos[index]['img_path'])))
        shape = image.shape[:2]
        return self.pipeline(dict(self.infos[index], img=image, img_shape=shape, ori_shape=shape))
