# SPDX-License-Identifier: Apache-2.0
"""Made-up people for tests of tracking: drawn faces with landmarks, so that no detector is needed."""

from __future__ import annotations

import cv2
import numpy as np

from iid_mm.faces.analyzers.base import Face
from iid_mm.faces.cropping import landmarks_box

SIZE = (240, 180)


def draw_scene(seed: int) -> np.ndarray:
    """(180, 240, 3) background of colored blocks."""
    rng = np.random.default_rng(1000 + seed)
    blocks = rng.integers(30, 220, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(blocks, SIZE, interpolation=cv2.INTER_NEAREST)


def face_points(center: tuple[float, float], side: float, turn: float = 0.0) -> np.ndarray:
    """(68, 2) landmarks of an upright face; ``turn`` moves the nose to one side, as of a turning head."""
    t = np.linspace(0, np.pi, 17)
    points = np.zeros((68, 2))
    points[:17] = np.stack([-0.5 * np.cos(t), -0.1 + 0.6 * np.sin(t)], axis=1)
    points[17:27] = np.stack([np.linspace(-0.4, 0.4, 10), np.full(10, -0.3)], axis=1)
    points[27:36] = (turn, 0.08)
    points[36:42], points[42:48] = (-0.2, -0.15), (0.2, -0.15)
    points[48:68] = np.stack([np.linspace(-0.16, 0.16, 20), np.full(20, 0.28)], axis=1)
    points[48], points[54] = (-0.16, 0.28), (0.16, 0.28)
    return (points * side + center).astype(np.float32)


def draw_person(
    image: np.ndarray,
    person: int,
    center: tuple[float, float] = (120, 90),
    side: float = 80,
    turn: float = 0.0,
) -> Face:
    """Draw a person into an image; people differ in hair, skin, brows, eyes and mouth."""
    rng = np.random.default_rng(person)
    skin = np.array([130, 160, 205]) * rng.uniform(0.45, 1.1) + rng.uniform(-18, 18, 3)
    hair, lips = rng.integers(15, 190, 3), np.array([60, 60, 150]) + rng.integers(-40, 40, 3)

    def at(x: float, y: float) -> tuple[int, int]:
        return round(center[0] + x * side), round(center[1] + y * side)

    def color(values: np.ndarray) -> tuple[float, ...]:
        return tuple(float(v) for v in np.clip(values, 0, 240))

    cv2.ellipse(image, at(0, -0.15), (round(0.6 * side), round(0.65 * side)), 0, 0, 360, color(hair), -1)
    cv2.ellipse(image, at(0, 0), (round(0.5 * side), round(0.6 * side)), 0, 0, 360, color(skin), -1)
    fringe = rng.uniform(0.15, 0.35)
    cv2.rectangle(image, at(-0.5, -0.6), at(0.5, -0.6 + fringe), color(hair), -1)
    brow, eye = rng.uniform(0.02, 0.07), rng.uniform(0.04, 0.09)
    for x in (-0.2, 0.2):
        cv2.rectangle(image, at(x - 0.12, -0.27 - brow), at(x + 0.12, -0.25), color(hair * 0.7), -1)
        cv2.circle(image, at(x, -0.15), max(round(eye * side), 2), color(np.array([40, 30, 30])), -1)
    cv2.line(image, at(0, -0.1), at(turn, 0.1), color(skin * 0.7), 3)
    cv2.ellipse(
        image,
        at(0, 0.28),
        (round(0.16 * side), round(rng.uniform(0.04, 0.1) * side)),
        0,
        0,
        360,
        color(lips),
        -1,
    )
    points = face_points(center, side, turn)
    return Face(landmarks_box(points), 0.9, points)


def frame(scene: int, *people: int, **options: object) -> tuple[np.ndarray, list[Face]]:
    """A frame with people side by side; one stands in the middle."""
    image = draw_scene(scene)
    centers = [(120, 90)] if len(people) == 1 else [(60 + 120 * i, 90) for i in range(len(people))]
    faces = [draw_person(image, p, c, **options) for p, c in zip(people, centers, strict=True)]  # type: ignore[arg-type]
    return image, faces
