# SPDX-License-Identifier: Apache-2.0
"""The inferencer: images and videos in, verdicts out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from tqdm import tqdm

from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import AGGREGATIONS
from iid_mm.faces.analyzers import AnalyzerOptions, build_analyzer, check_analyzer
from iid_mm.faces.analyzers.base import FaceAnalyzer
from iid_mm.faces.cropping import CropSettings
from iid_mm.inference.analysis import MediaAnalyzer, Progress
from iid_mm.inference.calibration import calibration_of
from iid_mm.inference.faces import FaceFollower
from iid_mm.inference.media import FoundMedia, Media, MediaInput, find_media
from iid_mm.inference.outputs import MediaSink, OutputOptions, OutputWriter
from iid_mm.inference.results import MediaResult
from iid_mm.inference.sampling import FrameStream, Sampling, TimedFrame, by_content, open_stream
from iid_mm.inference.scorer import FaceScorer, face_pipeline
from iid_mm.media.containers import ReadingStopped
from iid_mm.models.build import building_stored_model, init_model
from iid_mm.models.heat_maps import DEFAULT_HEAT_MAP
from iid_mm.models.stored_config import stored_config
from iid_mm.utils.checkpoint import load_checkpoint_file
from iid_mm.utils.config import find_config, load_config, pipeline_input_size
from iid_mm.utils.files import printable, reason_of, sha256
from iid_mm.version import __version__

BACKENDS = ('pytorch', 'onnxruntime')

_Errors = type[Exception] | tuple[()]
"""Errors that end only the current input."""


class IIDInferencer:
    """Decide whether the faces in images and videos are fake.

    Faces are detected, tracked, cropped and aligned as in preparation, training and test, scored in batches,
    and aggregated for each person and each video.

    >>> from iid_mm.apis import IIDInferencer
    >>> inferencer = IIDInferencer(weights='best.pth')
    >>> answer = inferencer('holiday.mp4')['predictions'][0]
    >>> answer['verdict']['label'], answer['verdict']['probability']
    ('fake', 0.93)

    Args:
        model: Config: a path, the name of a file below ``configs``, or a config; None: the config stored in
            the checkpoint.
        weights: Checkpoint, or a ``.onnx`` file of ``tools/deployment/export_onnx.py``.
        device: ``cpu``, ``cuda``, ``cuda:1``, ...; None: a GPU if available.
        backend: ``pytorch`` or ``onnxruntime``; None: by the suffix of ``weights``.
        analyzer: Face analyzer: its name, options, or an instance.
        margin: Margin of face crops; must equal that of the training data.
        max_side: Longest side of face crops in pixels; must equal that of the training data.
        min_face: Faces smaller than this, in pixels, are ignored.
        threshold: Probability from which the verdict is "fake".
        heat_map: Whether heat maps are computed, if the model supports them.
        trust: Whether code in the checkpoint may run.
        show_progress: Whether to show a progress bar.

    Raises:
        FileNotFoundError: A config or checkpoint does not exist.
        InputError: They do not fit together, or an argument is out of range.
        MissingExtraError: The analyzer or the backend is not installed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Config | None = None,
        weights: str | os.PathLike[str] | None = None,
        device: str | None = None,
        *,
        backend: str | None = None,
        analyzer: str | AnalyzerOptions | FaceAnalyzer = 'mediapipe',
        margin: float = CropSettings.margin,
        max_side: int = CropSettings.max_side,
        min_face: int = 0,
        threshold: float = 0.5,
        heat_map: bool = True,
        trust: bool = False,
        show_progress: bool = True,
    ) -> None:
        if weights is None:
            raise InputError('weights: name a checkpoint (.pth) or an exported model (.onnx)')
        if not Path(weights).is_file():
            raise FileNotFoundError(f'checkpoint {weights} does not exist')
        backend = backend or ('onnxruntime' if Path(weights).suffix == '.onnx' else 'pytorch')
        if backend not in BACKENDS:
            raise InputError(f'backend={backend!r}: choose from {", ".join(BACKENDS)}')
        if not 0 < threshold < 1:
            raise InputError(f'threshold={threshold}: give a probability between 0 and 1')
        if min_face < 0:
            raise InputError(f'min_face={min_face}: must not be negative')
        self.threshold = threshold
        self.show_progress = show_progress
        self.analyzer, analyzer_name = _build_analyzer(analyzer)
        self.cropping = CropSettings(margin, max_side)
        self.min_face = min_face
        load = self._load_onnx if backend == 'onnxruntime' else self._load_pytorch
        self.model, self.cfg, meta = load(model, Path(weights), device, heat_map, trust)
        self.calibration = calibration_of(meta)
        with building_stored_model(str(weights), {}) if model is None else contextlib.nullcontext():
            self.pipeline = face_pipeline(self.cfg)
        self.facts = {
            'config': str(model) if isinstance(model, (str, os.PathLike)) else 'stored in the checkpoint',
            'checkpoint': Path(weights).name,
            'sha256': sha256(weights),
            'backend': backend,
            'analyzer': analyzer_name,
            'version': __version__,
            'calibration': None if self.calibration is None else self.calibration.as_dict(),
        }

    def _load_pytorch(
        self, model: Any, weights: Path, device: str | None, heat_map: bool, trust: bool
    ) -> tuple[Any, Config, dict[str, Any] | None]:
        content = load_checkpoint_file(weights, trust=trust)
        meta = content.get('meta')
        stored = model is None
        cfg = stored_config(meta, str(weights), trust) if stored else load_config(find_config(model))
        if heat_map and cfg.model.get('artifact_head') and isinstance(cfg.model.get('test_cfg'), dict):
            cfg.model.test_cfg.setdefault('heat_map', DEFAULT_HEAT_MAP)
        state = content.get('state_dict', content)
        with building_stored_model(str(weights), state) if stored else contextlib.nullcontext():
            target = 'cpu' if stored else device or get_device()
            detector = init_model(cfg, content, target, name=str(weights))
            if stored:
                detector.check_wiring(pipeline_input_size(cfg))
        return detector.to(device or get_device()), cfg, meta

    def _load_onnx(
        self, model: Any, weights: Path, device: str | None, heat_map: bool, trust: bool
    ) -> tuple[Any, Config, dict[str, Any] | None]:
        from iid_mm.deployment import OnnxDetector

        # None: what is available, a GPU first.
        providers = None
        if device is not None:
            providers = ['CUDAExecutionProvider' if device.startswith('cuda') else 'CPUExecutionProvider']
        kind = DEFAULT_HEAT_MAP if heat_map else None
        detector = OnnxDetector(weights, providers=providers, heat_map=kind)
        meta = {'cfg': detector.metadata.get('config'), 'calibration': detector.metadata.get('calibration')}
        if model is None:
            return detector, stored_config(meta, str(weights), trust, with_model=False), meta
        return detector, load_config(find_config(model)), meta

    def __call__(
        self,
        inputs: MediaInput | Iterable[MediaInput],
        return_datasamples: bool = False,
        batch_size: int = 32,
        *,
        out_dir: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Analyze images, videos, folders, patterns or cameras.

        Args:
            inputs: What to analyze, see :func:`~iid_mm.inference.media.find_media`.
            return_datasamples: Return :class:`~iid_mm.inference.results.MediaResult` objects, which hold
                face images, instead of plain data.
            batch_size: Faces scored at a time.
            out_dir: Folder for JSON, images and videos; None writes nothing.
            **options: Of :meth:`analyze`.

        Returns:
            ``predictions``: one for each input, in order; ``visualization``: the names of the files
            written for each.
        """
        found = list(self.analyze(inputs, batch_size=batch_size, out_dir=out_dir, **options))
        return {
            'predictions': found if return_datasamples else [result.as_dict() for result in found],
            'visualization': [result.outputs for result in found],
        }

    def analyze(
        self,
        inputs: MediaInput | Iterable[MediaInput] | FoundMedia,
        *,
        batch_size: int = 32,
        out_dir: str | os.PathLike[str] | None = None,
        sampling: Sampling | None = None,
        aggregation: str = 'mean',
        top_k: int = 3,
        outputs: OutputOptions | None = None,
        progress: Progress | None = None,
        keep_going: bool = True,
    ) -> Iterator[MediaResult]:
        """Analyze inputs one by one; each result is yielded and written before the next input starts.

        Args:
            inputs: See :meth:`__call__`.
            batch_size: Faces scored at a time.
            out_dir: Output folder; None writes nothing.
            sampling: Which frames of videos are analyzed; default: 32 evenly spaced ones, as in test.
            aggregation: How frame scores are aggregated for a person.
            top_k: Number of frames that ``aggregation='topk'`` averages.
            outputs: Which files are written to ``out_dir``.
            progress: Called with the number of finished and of all frames, instead of the progress bar. An
                exception that it raises ends the analysis.
            keep_going: An unexpected error ends only its input, with status ``unreadable`` and the reason in
                ``problems``. False, or the environment variable ``IID_DEBUG=1``: the error is raised.

        Yields:
            A result for each input; files that could not be written are listed in ``unwritten``.

        Raises:
            FileNotFoundError: An input does not exist; nothing is analyzed.
            InputError: An input is neither image nor video, an argument is out of range, or ``out_dir``
                cannot be written.
        """
        if aggregation not in AGGREGATIONS:
            raise InputError(f'aggregation={aggregation!r}: choose from {", ".join(AGGREGATIONS)}')
        if top_k < 1:
            raise InputError(f'top_k={top_k}: give at least 1')
        media = find_media(inputs)
        if not isinstance(inputs, FoundMedia):
            for text in (*media.notes, *media.problems):
                MMLogger.get_current_instance().warning(text)
        analyzer = MediaAnalyzer(
            lambda: FaceFollower(self.analyzer, self.cropping, self.min_face),
            FaceScorer(self.model, self.pipeline),
            batch_size,
            aggregation=aggregation,
            top_k=top_k,
            threshold=self.threshold,
        )
        writer = None if out_dir is None else OutputWriter(out_dir, outputs or OutputOptions(), media)
        errors = Exception if keep_going and os.environ.get('IID_DEBUG') != '1' else ()
        return self._analyze_all(media, analyzer, writer, sampling or Sampling(), progress, errors)

    def _analyze_all(
        self,
        media: Sequence[Media],
        analyzer: MediaAnalyzer,
        writer: OutputWriter | None,
        sampling: Sampling,
        progress: Progress | None,
        contained: _Errors,
    ) -> Iterator[MediaResult]:
        for item in map(by_content, media):
            with self._progress(item, progress) as (looked, written):
                sink = None if writer is None else writer.begin(item, self.threshold)
                result = self._analyze_one(item, analyzer, sink, sampling, looked, contained)
                result.threshold = self.threshold
                result.calibration = self.calibration
                result.model = self.facts
                if sink is not None:
                    sink.finish(result, written)
            yield result

    def _analyze_one(
        self,
        item: Media,
        analyzer: MediaAnalyzer,
        sink: MediaSink | None,
        sampling: Sampling,
        progress: Progress | None,
        contained: _Errors,
    ) -> MediaResult:
        """Analyze one input; an error becomes its result, so that the other inputs are still analyzed."""
        stop = _Stop(progress)
        try:
            stream = open_stream(item, sampling)
            if sink is not None:
                sink.rate = stream.expected / sampling.camera_seconds
            guarded: Any = _Guarded(stream, contained)
            return analyzer.analyze(
                item,
                guarded,
                on_frame=None if sink is None else sink.take,
                progress=stop,
            )
        except BaseException as error:
            if sink is not None:
                sink.abort()
            if error is stop.error or isinstance(error, ReadingStopped) or not isinstance(error, contained):
                raise
            problem = f'the analysis failed ({reason_of(error)})'
            return MediaResult(item.source, item.name, item.kind, problems=[problem])

    @contextlib.contextmanager
    def _progress(
        self, item: Media, progress: Progress | None
    ) -> Iterator[tuple[Progress | None, Progress | None]]:
        if progress is not None or not self.show_progress:
            yield progress, None
            return
        name = printable(item.name)[:32]
        with tqdm(desc=name, unit='frame', leave=False, dynamic_ncols=True) as bar:

            def show(prefix: str, done: int, total: int) -> None:
                if bar.desc.rstrip(': ') != prefix:
                    bar.set_description(prefix, refresh=False)
                    bar.n = 0
                bar.total = total
                bar.update(done - bar.n)

            yield partial(show, name), partial(show, f'{name} (writing)')


class _Guarded:
    """A stream that ends at an error of its reader; the frames before the error count."""

    def __init__(self, stream: FrameStream, contained: _Errors) -> None:
        self._stream = stream
        self._contained = contained
        self._stopped = ''

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[TimedFrame]:
        try:
            yield from self._stream
        except ReadingStopped:
            raise
        except self._contained as error:
            self._stopped = f'reading stopped ({reason_of(error)})'

    @property
    def problem(self) -> str:
        return '; '.join(text for text in (self._stream.problem, self._stopped) if text)


class _Stop:
    """Forwards progress and remembers the error with which the caller ends an analysis."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.error: Exception | None = None

    def __call__(self, done: int, total: int) -> None:
        if self._progress is None:
            return
        try:
            self._progress(done, total)
        except Exception as error:
            self.error = error
            raise


def _build_analyzer(analyzer: str | AnalyzerOptions | FaceAnalyzer) -> tuple[FaceAnalyzer, str]:
    if isinstance(analyzer, FaceAnalyzer):
        return analyzer, type(analyzer).__name__
    options = AnalyzerOptions(analyzer) if isinstance(analyzer, str) else analyzer
    if options.name == 'precomputed':
        raise InputError(
            "analyzer='precomputed' reads landmarks of datasets; choose mediapipe or insightface"
        )
    check_analyzer(options)
    return build_analyzer(options, Path()), options.name
