# SPDX-License-Identifier: Apache-2.0
"""A genuine clip: freely chosen factors in, recorded frames and landmarks out.

Letters: T frames, H, W size of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from iid_mm.toy.factors import Camera, Expression, Light, Pose, draw_expressions, draw_poses
from iid_mm.toy.identity import Identity
from iid_mm.toy.render import render_frame
from iid_mm.toy.scene import Background
from iid_mm.toy.streams import stream

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray, PointsArray


@dataclass(frozen=True)
class Factors:
    """The draw of every factor of a clip; each number can be chosen freely.

    Args:
        identity: Number of the person.
        pose: Number of the pose track.
        expression: Number of the expression track.
        light: Number of the light.
        background: Number of the background, clothes included.
        camera: Number of the camera and of its sensor noise.
    """

    identity: int
    pose: int
    expression: int
    light: int
    background: int
    camera: int

    @classmethod
    def same(cls, index: int) -> Factors:
        """Draw ``index`` of every factor."""
        return cls(index, index, index, index, index, index)


@dataclass(frozen=True)
class Clip:
    """The drawn factors of a clip.

    Args:
        identity: The person.
        poses: T poses.
        expressions: T expressions.
        light: The light.
        background: The background.
        camera: The camera.
        size: Width and height of the frames in pixels.
        noise_key: Seed of the set and number of the sensor noise's stream.
    """

    identity: Identity
    poses: Sequence[Pose]
    expressions: Sequence[Expression]
    light: Light
    background: Background
    camera: Camera
    size: int
    noise_key: tuple[int, int]

    @classmethod
    def draw(cls, seed: int, factors: Factors, num_frames: int, size: int, fps: float) -> Clip:
        """Draw a clip.

        Args:
            seed: Seed of the set.
            factors: Which draw of every factor.
            num_frames: Number of frames T.
            size: Width and height of the frames in pixels.
            fps: Frames a second.

        Returns:
            The clip, not yet rendered.
        """
        return cls(
            identity=Identity.draw(seed, factors.identity),
            poses=draw_poses(seed, factors.pose, num_frames, fps),
            expressions=draw_expressions(seed, factors.expression, num_frames, fps),
            light=Light.draw(seed, factors.light),
            background=Background.draw(seed, factors.background),
            camera=Camera.draw(seed, factors.camera),
            size=size,
            noise_key=(seed, factors.camera),
        )

    def render(self) -> RenderedClip:
        """Render and record every frame."""
        ideal, landmarks = [], []
        for pose, expression in zip(self.poses, self.expressions, strict=True):
            image, points = render_frame(
                self.identity, pose, expression, self.light, self.background, self.size
            )
            ideal.append(image)
            landmarks.append(points)
        seed, number = self.noise_key
        frames = [
            self.camera.record(image, stream(seed, 'sensor noise', number, t))
            for t, image in enumerate(ideal)
        ]
        return RenderedClip(self, np.stack(frames), np.stack(landmarks))


@dataclass(frozen=True)
class RenderedClip:
    """A genuine clip as the camera recorded it.

    Args:
        clip: The factors.
        frames: (T, H, W, 3) uint8, BGR.
        landmarks: (T, 68, 2) float32, pixels (x, y).
    """

    clip: Clip
    frames: ImageArray
    landmarks: PointsArray


@dataclass(frozen=True)
class Forgery:
    """A manipulated clip, aligned frame by frame with its target.

    Args:
        frames: (T, H, W, 3) uint8, BGR; equal to the target's frames where the mask is 0.
        masks: (T, H, W) uint8, 255 where the frame was manipulated, else 0.
        landmarks: (T, 68, 2) float32, pixels (x, y) of the face that the frames show.
        strength: Visibility of the traces.
    """

    frames: ImageArray
    masks: npt.NDArray[np.uint8]
    landmarks: PointsArray
    strength: float
