# SPDX-License-Identifier: Apache-2.0
"""Factors of a video other than the identity: pose, expression, light and camera.

Letters: T frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.toy.streams import stream

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray


@dataclass(frozen=True)
class Pose:
    """Position and orientation of the head.

    Args:
        yaw: Degrees, positive turns the face to the right side of the image.
        pitch: Degrees, positive looks down.
        roll: Degrees, positive turns clockwise in the image.
        x: Horizontal position of the head's center as a fraction of the image size.
        y: Vertical position of the head's center as a fraction of the image size.
        scale: Half the height of the skull as a fraction of the image size.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.5
    y: float = 0.5
    scale: float = 0.36


@dataclass(frozen=True)
class Expression:
    """The facial expression; 0 everywhere is neutral.

    Args:
        mouth_open: Parting of the lips, 0 to 1.
        jaw: Drop of the jaw, 0 to 1.
        smile: -0.5 (sad) to 1 (wide smile).
        blink: 0 (eyes open) to 1 (closed).
        brow: -1 (frown) to 1 (raised).
        gaze_x: -1 to 1, positive looks to the right side of the image.
        gaze_y: -1 to 1, positive looks down.
    """

    mouth_open: float = 0.0
    jaw: float = 0.0
    smile: float = 0.0
    blink: float = 0.0
    brow: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0


@dataclass(frozen=True)
class Light:
    """One soft lamp and ambient light.

    Args:
        azimuth: Degrees, positive: the lamp stands on the right side of the image.
        elevation: Degrees above the camera.
        strength: Weight of the lamp.
        ambient: Weight of the ambient light.
        warmth: -1 (blue) to 1 (orange).
    """

    azimuth: float = 20.0
    elevation: float = 30.0
    strength: float = 0.6
    ambient: float = 0.5
    warmth: float = 0.0

    @classmethod
    def draw(cls, seed: int, index: int) -> Light:
        """Draw light number ``index`` from the stream ``light``."""
        rng = stream(seed, 'light', index)
        return cls(
            azimuth=float(rng.uniform(-60, 60)),
            elevation=float(rng.uniform(5, 55)),
            strength=float(rng.uniform(0.4, 0.75)),
            ambient=float(rng.uniform(0.38, 0.58)),
            warmth=float(rng.uniform(-0.8, 0.8)),
        )


@dataclass(frozen=True)
class Camera:
    """How the camera records the scene.

    Args:
        exposure: Gain of all channels.
        gamma: Exponent of the tone curve.
        saturation: 0 is gray, 1 leaves the colors.
        blur: Standard deviation of the Gaussian defocus in pixels of a 160 px frame.
        noise: Standard deviation of the sensor noise in gray levels.
    """

    exposure: float = 1.0
    gamma: float = 1.0
    saturation: float = 1.0
    blur: float = 0.0
    noise: float = 0.0

    @classmethod
    def draw(cls, seed: int, index: int) -> Camera:
        """Draw camera number ``index`` from the stream ``camera``."""
        rng = stream(seed, 'camera', index)
        return cls(
            exposure=float(rng.uniform(0.85, 1.15)),
            gamma=float(rng.uniform(0.85, 1.2)),
            saturation=float(rng.uniform(0.75, 1.15)),
            blur=float(rng.uniform(0.0, 0.85)),
            noise=float(rng.uniform(0.5, 5.0)),
        )

    def record(self, image: ImageArray, rng: np.random.Generator) -> ImageArray:
        """Apply the camera to a rendered frame.

        Args:
            image: (H, W, 3) uint8, BGR.
            rng: Source of the sensor noise.

        Returns:
            (H, W, 3) uint8, BGR.
        """
        height, width = image.shape[:2]
        sigma = self.blur * height / 160
        if sigma > 0.15:
            image = cv2.GaussianBlur(image, (0, 0), sigma)
        tone = np.linspace(0, 1, 256, dtype=np.float32) ** np.float32(self.gamma)
        curve = (tone * np.float32(255 * self.exposure)).astype(np.float32)
        frame = curve[image]
        if self.saturation != 1:
            gray = frame.mean(axis=2, keepdims=True)
            frame = gray + (frame - gray) * np.float32(self.saturation)
        if self.noise > 0:
            luma = rng.standard_normal((height, width, 1), dtype=np.float32)
            chroma = rng.standard_normal((height, width, 3), dtype=np.float32)
            frame += (luma + np.float32(0.5) * chroma) * np.float32(self.noise)
        return np.clip(np.rint(frame), 0, 255).astype(np.uint8)


def _wave(rng: np.random.Generator, num_frames: int, fps: float) -> npt.NDArray[np.float64]:
    """Draw a smooth track of T values, within about [-1, 1]: three slow sines."""
    time = np.arange(num_frames) / fps
    frequency = rng.uniform(0.15, 1.3, size=(3, 1))
    phase = rng.uniform(0, 2 * np.pi, size=(3, 1))
    weight = np.array([[0.6], [0.3], [0.2]])
    return (weight * np.sin(2 * np.pi * frequency * time + phase)).sum(axis=0)


def draw_poses(seed: int, index: int, num_frames: int, fps: float) -> list[Pose]:
    """Draw pose track number ``index`` from the stream ``pose``.

    Args:
        seed: Seed of the set.
        index: Number of the track.
        num_frames: Number of frames T.
        fps: Frames a second.

    Returns:
        T poses.
    """
    rng = stream(seed, 'pose', index)
    base = rng.uniform(-1, 1, size=6)
    wave = [_wave(rng, num_frames, fps) for _ in range(6)]
    return [
        Pose(
            yaw=float(16 * base[0] + 10 * wave[0][t]),
            pitch=float(6 * base[1] + 6 * wave[1][t]),
            roll=float(5 * base[2] + 4 * wave[2][t]),
            x=float(0.5 + 0.05 * base[3] + 0.02 * wave[3][t]),
            y=float(0.47 + 0.03 * base[4] + 0.015 * wave[4][t]),
            scale=float(0.355 + 0.02 * base[5] + 0.006 * wave[5][t]),
        )
        for t in range(num_frames)
    ]


def draw_expressions(seed: int, index: int, num_frames: int, fps: float) -> list[Expression]:
    """Draw expression track number ``index`` from the stream ``expression``.

    Args:
        seed: Seed of the set.
        index: Number of the track.
        num_frames: Number of frames T.
        fps: Frames a second.

    Returns:
        T expressions: talking, a mood, and occasional blinks.
    """
    rng = stream(seed, 'expression', index)
    talk, mood, brow = rng.uniform(0.1, 1.0), rng.uniform(-0.3, 0.8), rng.uniform(-0.5, 0.5)
    gaze = rng.uniform(-0.5, 0.5, size=2)
    speech_rate, speech_phase = rng.uniform(1.5, 3.5), rng.uniform(0, 2 * np.pi)
    blink_at = rng.uniform(0, 2.5)
    wave = [_wave(rng, num_frames, fps) for _ in range(5)]
    track = []
    for t in range(num_frames):
        time = t / fps
        speech = 0.5 + 0.5 * np.sin(2 * np.pi * speech_rate * time + speech_phase)
        mouth = float(np.clip(talk * speech * (0.6 + 0.4 * wave[0][t]), 0, 1))
        blink = float(np.exp(-((((time - blink_at) % 3.0) / 0.06) ** 2)))
        track.append(
            Expression(
                mouth_open=mouth,
                jaw=0.8 * mouth,
                smile=float(np.clip(mood + 0.3 * wave[1][t], -0.5, 1)),
                blink=float(np.clip(0.06 + 0.06 * wave[4][t] + blink, 0, 1)),
                brow=float(np.clip(brow + 0.5 * wave[2][t], -1, 1)),
                gaze_x=float(np.clip(gaze[0] + 0.4 * wave[3][t], -1, 1)),
                gaze_y=float(np.clip(gaze[1] * 0.5 + 0.2 * wave[4][t], -1, 1)),
            )
        )
    return track
