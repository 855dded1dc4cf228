# SPDX-License-Identifier: Apache-2.0
"""Which of several people in a video is meant: the one under a mask, or in whose place two videos differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iid_mm.faces.cropping import crop_image, face_box
from iid_mm.faces.tracking import box_distance
from iid_mm.preparation.faces import FaceCrop, Frames, Track, VideoFaces


def main_candidates(faces: VideoFaces) -> list[Track]:
    """The people who are seen in at least a quarter as many frames as the weightiest one.

    Detectors see faces in wallpaper for a frame or two; no manipulation is looked for there.
    """
    if not faces.tracks:
        return []
    least = len(faces.tracks[0].faces) / 4
    return [track for track in faces.tracks if len(track.faces) >= least]


def mask_overlaps(tracks: Sequence[Track], masks: Frames) -> list[float]:
    """How well each person's face covers a manipulation mask.

    Args:
        tracks: The people.
        masks: Frame number and (H, W, 3) mask of some frames, of the size of the frames.

    Returns:
        Mean intersection over union of face box and mask a person; 0 where nothing is masked.
    """
    scores: list[list[float]] = [[] for _ in tracks]
    for number, mask in masks:
        region = mask.max(axis=2) > 127
        for values, track in zip(scores, tracks, strict=True):
            values.append(_mask_iou(region, track.faces.get(number)))
    return [float(np.mean(values)) if values else 0.0 for values in scores]


def _mask_iou(region: np.ndarray, face: FaceCrop | None) -> float:
    if face is None or face.size != (region.shape[1], region.shape[0]) or not region.any():
        return 0.0
    box = face_box(face.face.landmarks)
    x0, y0, x1, y1 = (max(round(float(value)), 0) for value in box)
    inside = region[y0:y1, x0:x1]
    return float(inside.sum() / (region.sum() + inside.size - inside.sum()))


def differences(tracks: Sequence[Track], frames: Frames, max_side: int) -> list[float]:
    """How much a fake differs from its genuine video in the place of each person.

    Args:
        tracks: The people in the genuine video.
        frames: Frame number and image of some frames of the fake.
        max_side: Longest side of crops.

    Returns:
        Mean absolute difference a person, gray values; 0 where there is nothing to compare.
    """
    scores: list[list[float]] = [[] for _ in tracks]
    for number, image in frames:
        for values, track in zip(scores, tracks, strict=True):
            genuine = track.faces.get(number)
            if genuine is not None and genuine.size == (image.shape[1], image.shape[0]):
                fake = crop_image(image, genuine.window, max_side)
                values.append(float(np.abs(fake.astype(np.int16) - genuine.crop).mean()))
    return [float(np.mean(values)) if values else 0.0 for values in scores]


def apart(track: Track, other: Track) -> float:
    """How far apart two people are in the frames that show both."""
    both = track.faces.keys() & other.faces.keys()
    gaps = [box_distance(track.faces[n].face.box, other.faces[n].face.box) for n in both]
    return float(np.mean(gaps)) if gaps else float('inf')
