# SPDX-License-Identifier: Apache-2.0
"""What an exported file says about itself: one JSON object under one key of ONNX's ``metadata_props``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from iid_mm.errors import InputError
from iid_mm.utils.typing import Size

KEY = 'iid_mm'
"""Name of the entry."""
FORMAT = 1
"""Version of the fields below; readers refuse a newer one."""
MAX_TEXT = 16 * 2**20
"""Characters of the entry."""
MAX_SIZE = 16384
MAX_NUMBER = 2**31
NMS_TYPES = ('nms', 'soft_nms')
NMS_METHODS = ('linear', 'gaussian', 'naive')
CLASS_NAMES = ('genuine', 'fake')


@dataclass
class OnnxMetadata:
    """Fields of the JSON object.

    Attributes:
        input_size: (w, h) of the input in pixels.
        output_names: Outputs of the graph, in order.
        class_names: Meaning of the columns of ``logits``.
        level_sizes: Number of anchors of each level; empty for a plain classifier.
        test_cfg: Settings by which boxes are chosen (score threshold, NMS and so on), as in the config.
        precision: ``fp32``, ``fp16``, ``int8-dynamic`` or ``int8-static``.
        checkpoint: Name of the checkpoint file, without folder; None for random weights.
        checkpoint_sha256: Its hash.
        config: Text of the config.
        calibration: ``meta['calibration']`` of the checkpoint, as it stands; None if it has none.
        checks: What was measured at export, see :func:`~iid_mm.deployment.export_onnx`.
        iid_mm_version: Version that wrote the file.
        format: :data:`FORMAT` of the writer.
    """

    input_size: Size
    output_names: list[str]
    class_names: list[str]
    level_sizes: list[int]
    test_cfg: dict[str, Any]
    precision: str
    checkpoint: str | None
    checkpoint_sha256: str | None
    config: str
    calibration: dict[str, Any] | None
    iid_mm_version: str
    checks: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def temperature(self) -> float | None:
        """Divisor of the logits that calibrates the probabilities of frames; None if there is none."""
        return None if self.calibration is None else read_temperature(self.calibration)

    def to_json(self) -> str:
        """Text of the entry."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, name: str) -> OnnxMetadata:
        """Read the entry.

        Args:
            text: Value of the entry.
            name: What to call the file in messages.

        Returns:
            The fields.

        Raises:
            InputError: If the entry is damaged, or of a newer version.
        """
        remedy = 'export the model again with tools/deployment/export_onnx.py'
        if len(text) > MAX_TEXT:
            raise InputError(f'{name}: its entry {KEY!r} is longer than {MAX_TEXT} characters; {remedy}')
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f'{name}: its entry {KEY!r} is no JSON ({error}); {remedy}') from error
        version = content.get('format') if isinstance(content, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise InputError(
                f'{name} was written by a newer iid_mm ({content.get("iid_mm_version")}); update iid_mm'
            )
        try:
            metadata = cls(**content)
            _check_kinds(metadata)
            metadata.input_size = _size(metadata.input_size)
            metadata.level_sizes = [_count(value) for value in metadata.level_sizes]
            _check_test_cfg(metadata.test_cfg, has_boxes=bool(metadata.level_sizes))
            read_temperature(metadata.calibration or {})
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InputError(f'{name}: its entry {KEY!r} is damaged ({error}); {remedy}') from error
        return metadata


def read_temperature(calibration: dict[str, Any]) -> float | None:
    """Temperature for single frames in a checkpoint's ``meta['calibration']``; None if it names none.

    Args:
        calibration: ``temperature``, or an entry ``frame`` with it.

    Raises:
        InputError: If it is no number above 0.
    """
    entry = calibration.get('frame', calibration)
    value = entry.get('temperature') if isinstance(entry, dict) else entry
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InputError(f"calibration: 'temperature' is {value!r}, expected a number above 0")
    return float(value)


def _check_kinds(metadata: OnnxMetadata) -> None:
    """Check what has no check of its own; JSON may hold anything."""
    texts = [metadata.precision, metadata.config, metadata.iid_mm_version]
    texts += [text for text in (metadata.checkpoint, metadata.checkpoint_sha256) if text is not None]
    for names in (metadata.output_names, metadata.class_names, metadata.level_sizes, metadata.input_size):
        if not isinstance(names, (list, tuple)) or len(names) > MAX_SIZE:
            raise TypeError(f'{str(names)[:80]!r} is no list')
    for text in (*texts, *metadata.output_names, *metadata.class_names):
        if not isinstance(text, str):
            raise TypeError(f'{str(text)[:80]!r} is no text')
    if not isinstance(metadata.checks, dict) or not isinstance(metadata.calibration, (dict, type(None))):
        raise TypeError('checks or calibration is no object')
    if not isinstance(metadata.test_cfg, dict):
        raise TypeError(f'test_cfg is {str(metadata.test_cfg)[:80]!r}')
    if not isinstance(metadata.test_cfg.get('heat_map', ''), (str, type(None))):
        raise TypeError('test_cfg: heat_map is no text')


def _check_test_cfg(settings: dict[str, Any], has_boxes: bool) -> None:
    if not has_boxes:
        return
    _check_numbers(settings, ('score_thr', 'nms_pre', 'min_bbox_size', 'max_per_img'), 'test_cfg')
    nms = settings.get('nms')
    if 'max_per_img' not in settings or not isinstance(nms, dict):
        raise TypeError('test_cfg lacks nms or max_per_img')
    # mmcv evaluates the type as Python.
    if nms.get('type', 'nms') not in NMS_TYPES or nms.get('method', 'linear') not in NMS_METHODS:
        raise ValueError(f'test_cfg.nms is {str(nms)[:80]}; its type may be {" or ".join(NMS_TYPES)}')
    _check_numbers(nms, [name for name in nms if name not in ('type', 'method')], 'test_cfg.nms')


def _check_numbers(settings: dict[str, Any], names: Sequence[str], title: str) -> None:
    for name in names:
        value = settings.get(name, 0)
        is_flag = isinstance(value, bool) and name == 'class_agnostic'
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_flag and not (is_number and abs(value) < MAX_NUMBER):
            raise TypeError(f'{title}: {name} is {repr(value)[:80]}')


def _size(values: Any) -> Size:
    width, height = (_count(value) for value in values)
    if max(width, height) > MAX_SIZE:
        raise ValueError(f'input_size is {width} x {height}, more than {MAX_SIZE}')
    return width, height


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < MAX_NUMBER:
        raise ValueError(f'{str(value)[:80]} is no positive number')
    return value
