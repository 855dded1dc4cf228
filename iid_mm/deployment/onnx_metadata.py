# SPDX-License-Identifier: Apache-2.0
"""What an exported file says about itself: one JSON object under one key of ONNX's ``metadata_props``."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from iid_mm.errors import InputError
from iid_mm.utils.typing import Size

KEY = 'iid_mm'
"""Name of the entry."""
FORMAT = 1
"""Version of the fields below; readers refuse a newer one."""
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
        try:
            content = json.loads(text)
        except ValueError as error:
            raise InputError(f'{name}: its entry {KEY!r} is no JSON ({error}); {remedy}') from error
        version = content.get('format') if isinstance(content, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise InputError(
                f'{name} was written by a newer iid_mm ({content.get("iid_mm_version")}); update iid_mm'
            )
        try:
            metadata = cls(**content)
            metadata.input_size = _size(metadata.input_size)
            metadata.level_sizes = [_count(value) for value in metadata.level_sizes]
            _check_test_cfg(metadata.test_cfg, has_boxes=bool(metadata.level_sizes))
            read_temperature(metadata.calibration or {})
        except (TypeError, ValueError) as error:
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


def _check_test_cfg(settings: Any, has_boxes: bool) -> None:
    if not isinstance(settings, dict):
        raise TypeError(f'test_cfg is {settings!r}')
    names = ('score_thr', 'nms_pre', 'min_bbox_size', 'max_per_img') if has_boxes else ()
    for name in names:
        value = settings.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f'test_cfg: {name} is {value!r}')
    if has_boxes and not ({'nms', 'max_per_img'} <= settings.keys() and isinstance(settings['nms'], dict)):
        raise TypeError('test_cfg lacks nms or max_per_img')


def _size(values: Any) -> Size:
    width, height = (_count(value) for value in values)
    return width, height


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f'{value!r} is no positive number')
    return value
