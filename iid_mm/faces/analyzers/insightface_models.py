# SPDX-License-Identifier: Apache-2.0
"""The models of the analyzer ``insightface``: finding, downloading and loading them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.request import urlopen
from zipfile import BadZipFile, ZipFile

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.faces.analyzers.base import quiet_stderr
from iid_mm.utils.files import replacing, sha256

PACK = 'buffalo_l'
DETECTOR, LANDMARKS = 'det_10g.onnx', '1k3d68.onnx'
URL = 'https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip'
HOME_VARIABLE = 'INSIGHTFACE_HOME'
KNOWN_SHA256 = {
    DETECTOR: '5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91',
    LANDMARKS: 'df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc',
}
"""Digests of the released files; downloaded files must have them, files that the user provides need not."""
# The archive has 288 MB, the larger of the two files 144 MB.
MAX_ARCHIVE = 600_000_000
MAX_FILE = 300_000_000
TIMEOUT = 15.0


@dataclass(frozen=True)
class ModelFiles:
    """The two files of ``buffalo_l`` in use.

    Attributes:
        detector: SCRFD, boxes and five points.
        landmarks: 68 points in 3-D.
    """

    detector: Path
    landmarks: Path

    def digest(self) -> str:
        """Short digests of both, for the settings of a prepared folder."""
        return ' '.join(f'{path.stem}:{sha256(path)[:8]}' for path in (self.detector, self.landmarks))


def model_home(model_dir: Path | None) -> Path:
    """The folder of insightface: the option, else the environment variable, else ``~/.insightface``."""
    if model_dir is not None:
        return model_dir
    return Path(os.environ.get(HOME_VARIABLE) or '~/.insightface').expanduser()


def find_models(model_dir: Path | None) -> ModelFiles:
    """Find the models in ``<home>/models/buffalo_l``, ``<home>/buffalo_l`` or ``<home>`` itself.

    Args:
        model_dir: See :func:`model_home`.

    Raises:
        FileNotFoundError: If a file is missing, with instructions.
    """
    home = model_home(model_dir)
    for folder in (home / 'models' / PACK, home / PACK, home):
        files = ModelFiles(folder / DETECTOR, folder / LANDMARKS)
        if files.detector.is_file() and files.landmarks.is_file():
            return files
    raise FileNotFoundError(_instructions(home))


def fetch_models(model_dir: Path | None) -> ModelFiles:
    """Find the models, and download them if they are missing.

    To be called in one process, before others rely on the files.

    Args:
        model_dir: See :func:`model_home`; the files go to ``<home>/models/buffalo_l``.

    Raises:
        FileNotFoundError: If they are missing and cannot be downloaded, with instructions.
    """
    try:
        return find_models(model_dir)
    except FileNotFoundError:
        pass
    home = model_home(model_dir)
    # Not at the top, because it takes seconds to load and is rarely needed.
    from mmengine.logging import print_log

    print_log(f'downloading {URL} (288 MB; weights for non-commercial research only)', logger='current')
    try:
        _fetch(home / 'models' / PACK)
    except (OSError, BadZipFile, HTTPException, EOFError, NotImplementedError) as error:
        raise FileNotFoundError(_instructions(home, f'downloading them failed: {error}')) from error
    return find_models(model_dir)


def _instructions(home: Path, reason: str = '') -> str:
    folder = home / 'models' / PACK
    missing = [name for name in (DETECTOR, LANDMARKS) if not (folder / name).is_file()]
    return (
        f'models of insightface are missing: {" and ".join(missing)} in {str(folder)!r}'
        f'{f" ({reason})" if reason else ""}. Get {URL} and unpack it there, or name the folder that holds '
        f'the files, or that holds models/{PACK}, with --model-dir or the environment variable '
        f'{HOME_VARIABLE}. The weights are for non-commercial research only'
    )


def _fetch(folder: Path) -> None:
    """Download the archive and unpack the two files; each appears whole or not at all."""
    with tempfile.TemporaryFile() as archive:
        with urlopen(URL, timeout=TIMEOUT) as response:
            _copy(response, archive, MAX_ARCHIVE)
        with ZipFile(archive) as content:
            for name, digest in KNOWN_SHA256.items():
                _unpack(content, name, digest, folder)


def _unpack(content: ZipFile, name: str, digest: str, folder: Path) -> None:
    """Unpack a file by its bare name, so that no path in the archive is followed."""
    members = [info for info in content.infolist() if PurePosixPath(info.filename).name == name]
    if not members:
        raise OSError(f'{URL} holds no {name}')
    with replacing(folder / name) as temporary:
        with temporary.open('wb') as target, content.open(members[0]) as source:
            _copy(source, target, MAX_FILE)
        if sha256(temporary) != digest:
            raise OSError(f'{name} in {URL} is not the released file (its SHA-256 differs)')


def _copy(source: IO[bytes], target: IO[bytes], limit: int) -> None:
    """Copy a stream; OSError if it is longer than expected."""
    left = limit
    while block := source.read(1 << 20):
        left -= len(block)
        if left < 0:
            raise OSError(f'more data than expected from {URL}')
        target.write(block)


def import_onnxruntime() -> Any:
    """Import onnxruntime, and silence its log.

    Raises:
        MissingExtraError: If it is not installed.
    """
    with quiet_stderr():
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise MissingExtraError.of('onnxruntime', 'insightface') from error
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime


def choose_providers(device: str) -> list[Any]:
    """Choose what onnxruntime runs the models on.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        Execution providers of onnxruntime, with options, best first.

    Raises:
        InputError: If ``cuda`` is not available.
    """
    available = import_onnxruntime().get_available_providers()
    cuda = 'CUDAExecutionProvider' in available
    if device == 'cuda' and not cuda:
        raise InputError(
            f"device='cuda': this onnxruntime has {', '.join(available)} only; replace the package "
            'onnxruntime by onnxruntime-gpu (pip uninstall onnxruntime, then pip install onnxruntime-gpu), '
            'or use --device cpu'
        )
    if device == 'cpu' or not cuda:
        return ['CPUExecutionProvider']
    # The same kernels in every run, at full precision, so that two runs give equal points.
    options = {'cudnn_conv_algo_search': 'DEFAULT', 'use_tf32': '0'}
    return [('CUDAExecutionProvider', options), 'CPUExecutionProvider']


def load_models(files: ModelFiles, device: str) -> tuple[Any, Any]:
    """Load both models.

    Args:
        files: The files.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        Insightface's detector (``SCRFD``) and landmark model (``Landmark``).

    Raises:
        InputError: If a file is damaged or another model, or if the GPU cannot be used.
        MissingExtraError: If insightface or onnxruntime is not installed.
    """
    providers = choose_providers(device)
    models = [
        _load(files.detector, 'detection', providers),
        _load(files.landmarks, 'landmark_3d_68', providers),
    ]
    used = [model.session.get_providers()[0] for model in models]
    if device == 'cuda' and set(used) != {'CUDAExecutionProvider'}:
        raise InputError(
            "device='cuda': onnxruntime cannot use the GPU (CUDA or cuDNN libraries are missing or of "
            'another version; IID_DEBUG=1 shows its messages); repair the installation or use --device cpu'
        )
    return models[0], models[1]


def _load(path: Path, task: str, providers: list[Any]) -> Any:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    # The worker processes share the cores already.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    with quiet_stderr():
        try:
            from insightface.model_zoo import get_model
        except ModuleNotFoundError as error:
            raise MissingExtraError.of('insightface', 'insightface') from error
        try:
            model = get_model(str(path), providers=providers, sess_options=options)
        except tuple(_model_errors()) as error:
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(
                f'{str(path)!r} is damaged or not a model of {PACK} ({first}); delete it and get it again '
                f'from {URL}'
            ) from error
    if getattr(model, 'taskname', '') != task or (task == 'detection' and not model.use_kps):
        raise InputError(
            f'{str(path)!r} is not the model of {PACK} of that name (insightface takes it for '
            f'{getattr(model, "taskname", "nothing it knows")!r}); get it from {URL}'
        )
    return model


def _model_errors() -> Iterator[type[Exception]]:
    """What the libraries raise for damaged files."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    yield from (AssertionError, AttributeError, IndexError, OSError, RuntimeError, TypeError, ValueError)
    yield DecodeError
    for value in vars(state).values():
        if isinstance(value, type) and issubclass(value, Exception):
            yield value
