# SPDX-License-Identifier: Apache-2.0
"""An exported detector with the predictions of the PyTorch one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from iid_mm.deployment.box_selection import select_boxes
from iid_mm.deployment.export_graph import INPUT_NAME, OUTPUT_NAMES
from iid_mm.deployment.onnx_file import EXTRA, REMEDY, read_onnx
from iid_mm.errors import InputError
from iid_mm.models.heat_maps import box_heat_map, check_heat_map
from iid_mm.structures import ForgeryDataSample
from iid_mm.utils.dependencies import import_extra
from iid_mm.utils.files import reason_of
from iid_mm.utils.typing import Size

Provider = str | tuple[str, dict[str, Any]]
Outputs = dict[str, npt.NDArray[np.float32]]


class OnnxDetector:
    """A file of ``tools/deployment/export_onnx.py``, run by ONNX Runtime.

    It takes the batches that :class:`~iid_mm.models.IIDDetector` takes and fills the same fields. The
    probabilities are not calibrated: where the file has a ``temperature``, the caller applies it, as with the
    PyTorch model.

    Letters: N images, H and W height and width of the input, M anchors an image.

    Args:
        path: The ONNX file.
        providers: Execution providers of ONNX Runtime, best first; None takes CUDA where this ONNX Runtime
            has it, else the CPU.
        num_threads: Threads of one operator; None: all cores.
        heat_map: Kind of heat map to compute, see :mod:`iid_mm.models.heat_maps`; None: that of the exported
            test config, if any.

    Raises:
        FileNotFoundError: If the file, or one with its weights, does not exist.
        InputError: If the file is refused, see :func:`~iid_mm.deployment.onnx_file.read_onnx`, or a provider
            is not available.
        MissingExtraError: If onnx or onnxruntime is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        providers: Sequence[Provider] | None = None,
        num_threads: int | None = None,
        heat_map: str | None = None,
    ) -> None:
        if num_threads is not None and num_threads < 1:
            raise InputError(f'num_threads={num_threads}: must be at least 1, or None')
        onnxruntime = _import_onnxruntime()
        self.path = Path(path)
        self._metadata = read_onnx(self.path)[1]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if num_threads is not None:
            options.intra_op_num_threads = num_threads
        chosen = choose_providers(providers)
        try:
            self.session = onnxruntime.InferenceSession(str(self.path), options, providers=chosen)
        except _runtime_errors() as error:
            raise InputError(f'ONNX Runtime cannot load {self.path} ({reason_of(error)})') from error
        used = self.session.get_providers()[0]
        first = chosen[0] if isinstance(chosen[0], str) else chosen[0][0]
        if providers is not None and used != first:
            raise InputError(
                f'providers: ONNX Runtime cannot use {first} (its libraries are missing or of another '
                f'version) and would use {used}; fix the installation or name another'
            )
        kind = heat_map or self._metadata.test_cfg.get('heat_map')
        self._heat_map = None if kind is None else check_heat_map(kind)
        self._check_graph()

    @property
    def input_size(self) -> Size:
        """(w, h) of the input in pixels."""
        return self._metadata.input_size

    @property
    def metadata(self) -> dict[str, Any]:
        """Fields of :class:`~iid_mm.deployment.OnnxMetadata`."""
        return asdict(self._metadata)

    @property
    def temperature(self) -> float | None:
        """Divisor of the logits that calibrates the probabilities of frames; None if there is none."""
        return self._metadata.temperature

    def run(self, images: npt.NDArray[np.float32]) -> Outputs:
        """Run the graph.

        Args:
            images: (N, 3, H, W) float32, raw 0-255 BGR.

        Returns:
            ``logits`` (N, 2), column 1 = fake; with an artifact head also ``boxes`` (N, M, 4), xyxy in
            input pixels, and ``scores`` (N, M), probabilities of artifact, before any threshold, and
            ``score_factors`` (N, M) for heads that have them.

        Raises:
            InputError: If the images have another size than the file takes.
        """
        self._check_shape(images.shape, batch=True)
        names = self._metadata.output_names
        try:
            outputs = self.session.run(names, {INPUT_NAME: np.ascontiguousarray(images, np.float32)})
        except _runtime_errors() as error:
            raise InputError(f'ONNX Runtime cannot run {self.path} ({reason_of(error)})') from error
        return dict(zip(names, outputs, strict=True))

    def test_step(self, data: dict[str, Any]) -> list[ForgeryDataSample]:
        """Predict a batch.

        Args:
            data: ``inputs``, N tensors (3, H, W), raw 0-255 BGR, or one tensor (N, 3, H, W), and optionally
                ``data_samples``, N samples that are filled.

        Returns:
            The samples with ``pred_score``, ``pred_label`` and, with an artifact head, ``pred_instances``,
            and ``pred_heat`` where a ``heat_map`` is asked for.

        Raises:
            InputError: If the images have another size than the file takes.
        """
        inputs = list(data['inputs'])
        samples = data.get('data_samples')
        if samples is None:
            samples = [ForgeryDataSample() for _ in inputs]
        if len(samples) != len(inputs):
            raise InputError(f'{len(inputs)} inputs and {len(samples)} data_samples: give one each')
        if not inputs:
            return []
        for image in inputs:
            self._check_shape(image.shape)
        outputs = self.run(np.stack([image.detach().cpu().numpy().astype(np.float32) for image in inputs]))
        arrays = {name: torch.from_numpy(values) for name, values in outputs.items()}
        for number, sample in enumerate(samples):
            self._fill(sample, {name: values[number] for name, values in arrays.items()})
        return list(samples)

    def _fill(self, sample: ForgeryDataSample, outputs: dict[str, torch.Tensor]) -> None:
        """Enter the predictions for one image."""
        shape = self.input_size[::-1]
        sample.set_metainfo({'batch_input_shape': shape, 'pad_shape': shape})
        for name in ('img_shape', 'ori_shape'):
            if name not in sample.metainfo:
                sample.set_metainfo({name: shape})
        score = outputs['logits'].softmax(dim=0)
        sample.pred_score = score
        sample.pred_label = score.argmax(dim=0, keepdim=True)
        if 'boxes' not in outputs:
            return
        settings = self._metadata.test_cfg
        boxes, scores, factors = (outputs.get(name) for name in OUTPUT_NAMES[1:])
        assert boxes is not None
        assert scores is not None
        sample.pred_instances = select_boxes(boxes, scores, factors, self._metadata.level_sizes, settings)
        if self._heat_map is not None:
            joint = scores if factors is None else scores * factors
            sample.pred_heat = box_heat_map(boxes, joint, self.input_size, self._heat_map)

    def _check_shape(self, shape: Sequence[int], batch: bool = False) -> None:
        width, height = self.input_size
        if len(shape) != 3 + batch or tuple(shape[-3:]) != (3, height, width):
            raise InputError(
                f'input of shape {tuple(shape)}: {self.path} takes ({"N, " * batch}3, {height}, {width}); '
                f'align faces with AlignFace(size=({width}, {height}))'
            )

    def _check_graph(self) -> None:
        """Compare inputs and outputs of the graph with the metadata."""
        width, height = self.input_size
        inputs = {node.name: node.shape[1:] for node in self.session.get_inputs()}
        outputs = {node.name: node.shape[1:] for node in self.session.get_outputs()}
        count = sum(self._metadata.level_sizes)
        expected = dict(zip(OUTPUT_NAMES, ([2], [count, 4], [count], [count]), strict=True))
        wanted = {name: expected.get(name) for name in self._metadata.output_names}
        if inputs != {INPUT_NAME: [3, height, width]} or outputs != wanted or 'logits' not in wanted:
            raise InputError(
                f'{self.path}: the graph has inputs {inputs} and outputs {outputs}, which its metadata does '
                f'not describe; {REMEDY}'
            )


def choose_providers(providers: Sequence[Provider] | None) -> list[Provider]:
    """Check execution providers: names, or names with options; None takes CUDA if available, else the CPU.

    Raises:
        InputError: If one is not in this ONNX Runtime.
    """
    available = _import_onnxruntime().get_available_providers()
    if providers is None:
        return [name for name in ('CUDAExecutionProvider', 'CPUExecutionProvider') if name in available]
    if isinstance(providers, str) or not providers:
        raise InputError(f"providers={providers!r}: give a list, e.g. ['CPUExecutionProvider']")
    for provider in providers:
        name = provider if isinstance(provider, str) else provider[0]
        if name not in available:
            raise InputError(
                f'providers: {name!r} is not in this ONNX Runtime, which has {", ".join(available)}'
            )
    return list(providers)


def _import_onnxruntime() -> Any:
    """The package onnxruntime, which then reports errors only."""
    onnxruntime = import_extra('onnxruntime', EXTRA)
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime


def _runtime_errors() -> tuple[type[Exception], ...]:
    """Errors of onnxruntime for files and inputs that it cannot use."""
    state = import_extra('onnxruntime.capi.onnxruntime_pybind11_state', EXTRA)
    own = [value for value in vars(state).values() if isinstance(value, type)]
    return (RuntimeError, ValueError, *(value for value in own if issubclass(value, Exception)))
