# SPDX-License-Identifier: Apache-2.0
"""Embeddings of a face recognizer (ONNX, input as for ArcFace): the upper bound of an identity probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iid_mm.datasets.functional import alignment, geometry
from iid_mm.datasets.storage import read_crop
from iid_mm.errors import InputError

RECOGNIZER = 'recognizer'
SIDE = 112
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Eyes, nose and mouth corners on the 112 px input of ArcFace (Deng et al., CVPR 2019), x and y."""
_PREFERRED = ('w600k_r50.onnx', 'w600k_mbf.onnx', 'glintr100.onnx')


def find_recognizer(folder: Path | None) -> Path | str:
    """Find the model of a recognizer.

    Args:
        folder: Folder with ``w600k_r50.onnx`` (of insightface's buffalo_l), ``w600k_mbf.onnx`` or
            ``glintr100.onnx``, also below ``buffalo_l`` or ``models/buffalo_l``, or a folder with one
            ``.onnx`` file alone.

    Returns:
        The file, or the reason why there is none.

    Raises:
        FileNotFoundError: The folder is named and does not exist.
    """
    if folder is None:
        return 'no --recognizer-dir'
    if not folder.is_dir():
        raise FileNotFoundError(f'--recognizer-dir {folder} does not exist')
    if find_spec('onnxruntime') is None:
        return "onnxruntime is not installed: pip install 'iid-mm[insightface]'"
    for place in (folder, folder / 'buffalo_l', folder / 'models' / 'buffalo_l'):
        for name in _PREFERRED:
            if (place / name).is_file():
                return place / name
    others = sorted(folder.glob('*.onnx'))
    if len(others) == 1:
        return others[0]
    return f'{folder} holds none of {", ".join(_PREFERRED)}, nor a single .onnx file'


def embed(
    model: Path, datasets: Sequence[tuple[int, Any]], rows: npt.NDArray[np.int64], batch_size: int = 64
) -> npt.NDArray[np.float64]:
    """Embed faces.

    Args:
        model: ONNX file; input (N, 3, 112, 112) RGB, (x - 127.5) / 127.5, output (N, D).
        datasets: From :func:`~iid_mm.identity.extraction.face_datasets`.
        rows: (n,) numbers of the faces, counted through the datasets.
        batch_size: Faces at once.

    Returns:
        (n, D), of length 1 each.

    Raises:
        FileNotFoundError: An image is missing.
        InputError: The model cannot be read or is no recognizer, or an image cannot be read.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=['CPUExecutionProvider'])
        name = session.get_inputs()[0].name
        found = [
            np.asarray(session.run(None, {name: batch})[0]) for batch in _inputs(datasets, rows, batch_size)
        ]
    except Exception as error:
        # onnxruntime's own errors share no base class but Exception.
        foreign = type(error).__module__.startswith('onnxruntime')
        if isinstance(error, InputError) or not (foreign or isinstance(error, RuntimeError | ValueError)):
            raise
        raise InputError(f'recognizer {model} cannot be run: {error}') from error
    joined = np.concatenate(found).astype(np.float64)
    if joined.ndim != 2:
        raise InputError(f'recognizer {model} gives {joined.shape[1:]} a face, expected a vector')
    return joined / np.maximum(np.linalg.norm(joined, axis=1, keepdims=True), 1e-12)


def _inputs(
    datasets: Sequence[tuple[int, Any]], rows: npt.NDArray[np.int64], size: int
) -> Iterator[npt.NDArray[np.float32]]:
    places = [(dataset, i) for _, dataset in datasets for i in range(len(dataset))]
    for start in range(0, rows.size, size):
        faces = []
        for dataset, number in (places[row] for row in rows[start : start + size]):
            info = dataset.get_data_info(number)
            faces.append(aligned(read_crop(info['img_path'], storage=info.get('storage')), info['landmarks']))
        batch = np.stack(faces)[..., ::-1].transpose(0, 3, 1, 2)
        yield np.ascontiguousarray((batch.astype(np.float32) - 127.5) / 127.5)


def aligned(image: Any, landmarks: Any) -> npt.NDArray[np.uint8]:
    """Face on the recognizer's canvas, (112, 112, 3) uint8 BGR."""
    matrix = geometry.fit_similarity(alignment.five_points(landmarks), TEMPLATE)
    return geometry.warp_image(image, matrix, (SIDE, SIDE))
