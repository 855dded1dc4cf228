# SPDX-License-Identifier: Apache-2.0
"""Writing H.264 videos, landmarks and JSON atomically."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.utils.files import replacing, write_bytes, write_text

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray, PointsArray


def write_video(path: Path, frames: ImageArray | npt.NDArray[np.uint8], fps: int, crf: int) -> None:
    """Encode frames with H.264 into an .mp4 file.

    Args:
        path: The file; its folder is made.
        frames: (T, H, W, 3) uint8 BGR or (T, H, W) uint8 gray; H and W even.
        fps: Frames a second.
        crf: Constant rate factor, 0 to 51.
    """
    # Converted here, not inside FFmpeg, so that the input of the encoder is known to the bit.
    code = cv2.COLOR_BGR2YUV_I420
    with replacing(path) as temporary, av.open(os.path.abspath(temporary), 'w', format='mp4') as container:
        video = container.add_stream('libx264', rate=fps)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = 'yuv420p'
        # Equal frames must give equal bytes. x264's fast paths break that from one call to the
        # next (they depend on where buffers lie in memory) unless told to be CPU independent.
        video.options = {
            'crf': str(crf), 'preset': 'medium', 'threads': '1', 'x264-params': 'cpu-independent=1'
        }  # fmt: skip
        for frame in frames:
            color = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR) if frame.ndim == 2 else frame
            encoded = av.VideoFrame.from_ndarray(cv2.cvtColor(color, code), format='yuv420p')
            container.mux(video.encode(encoded))
        container.mux(video.encode())


def write_landmarks(path: Path, landmarks: PointsArray) -> None:
    """Write landmarks (T, K, 2) float32 as .npy."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(landmarks, np.float32), allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def write_json(path: Path, content: Any) -> None:
    """Write a value as JSON."""
    write_text(path, json.dumps(content, indent=1) + '\n')
