# SPDX-License-Identifier: Apache-2.0
"""Read a face crop and the genuine crop it was made from."""

from __future__ import annotations

from typing import Any

from iid_mm.datasets.storage import LmdbStorage, read_crop
from iid_mm.datasets.transforms.face_transform import FaceTransform
from iid_mm.errors import InputError
from iid_mm.registry import TRANSFORMS
from iid_mm.utils.typing import ImageArray, Results


@TRANSFORMS.register_module()
class LoadForgeryPair(FaceTransform):
    """Read the image of a sample and, for a fake with a pair, the genuine image.

    Required Keys:

    - img_path
    - source_img_path (optional; None: no pair)
    - gt_label (optional; absent for images without annotation)
    - storage (optional; database to read from, absent: files)

    Added Keys:

    - img
    - source_img (fakes with a pair)
    - img_shape
    - ori_shape

    Args:
        with_source: Read the genuine image of fakes; pipelines without
            :class:`~iid_mm.datasets.transforms.MultiScaleFacialSwap` save the time.
        cache_mib: Keep decoded images in memory, up to this many MiB in each worker of the data loader. It
            pays where a worker can keep its share of the set, and only with ``persistent_workers=True``.
    """

    def __init__(self, with_source: bool = True, cache_mib: int = 0) -> None:
        if cache_mib < 0:
            raise InputError(f'cache_mib={cache_mib}: must not be negative')
        self.with_source = with_source
        self.cache_mib = cache_mib
        self._cache: dict[str, ImageArray] = {}
        self._room = cache_mib * 2**20

    def transform(self, results: Results) -> Results:
        """Read the images.

        Raises:
            FileNotFoundError: If an image is missing.
            InputError: If an image cannot be read or decoded, or the two images differ in size.
        """
        path, source_path = results['img_path'], results.get('source_img_path')
        storage = results.get('storage')
        results['img'] = self._read(path, storage)
        if self.with_source and results.get('gt_label') == 1 and source_path is not None:
            source = results['source_img'] = self._read(source_path, storage)
            if source.shape != results['img'].shape:
                raise InputError(
                    f'image {path!r} is {results["img"].shape[:2]} (h, w) and its genuine pair '
                    f'{source_path!r} is {source.shape[:2]}: both need one crop window; '
                    'prepare the set again'
                )
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results

    def _read(self, path: str, storage: LmdbStorage | None) -> ImageArray:
        if (image := self._cache.get(path)) is None:
            image = read_crop(path, storage=storage)
            if image.nbytes <= self._room:
                self._room -= image.nbytes
                self._cache[path] = image
        # Later transforms may change it in place.
        return image.copy() if path in self._cache else image

    def __getstate__(self) -> dict[str, Any]:
        # Copies, e.g. those in worker processes, begin with an empty cache.
        return {**self.__dict__, '_cache': {}, '_room': self.cache_mib * 2**20}
