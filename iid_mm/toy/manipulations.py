# SPDX-License-Identifier: Apache-2.0
"""Four manipulations.

Each takes a genuine clip and returns one with the same poses, background and light whose face was replaced
or re-enacted. The forged pixels are recorded by a second camera, so that sharpness and noise inside the mask
differ at random from those outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from iid_mm.datasets.functional.degradation import transfer_color
from iid_mm.errors import InputError
from iid_mm.toy.clip import Clip, Forgery, RenderedClip
from iid_mm.toy.factors import Camera, Expression, Light
from iid_mm.toy.render import render_frame
from iid_mm.toy.warp import (
    add_upsampling_pattern,
    composite,
    fit_similarity,
    hull_mask,
    move_points,
    sample_coarsely,
    warp_points,
)

if TYPE_CHECKING:
    from iid_mm.toy.identity import Identity
    from iid_mm.utils.typing import ImageArray, PointsArray

_INNER = slice(17, 68)
_LOWER_FACE = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 31, 35]


class Traces(NamedTuple):
    """Parameters of one forged video, drawn once and the same in all its frames.

    Args:
        strength: Visibility of the traces; at most 1 at scale 1.
        light: The light under which the forged face was made.
        camera: The camera that records the forged face.
        mismatch: Remaining share of the color difference.
        residue: Largest remaining color difference, gray levels.
        inset: Pixels by which the mask is smaller than the hull, in a 160 px frame.
        feather: Half width of the mask's soft edge, pixels of a 160 px frame.
        grid: Amplitude of the upsampling pattern, gray levels.
        resolution: Pixels a side of the low-resolution face.
        warp: Share of the source's own feature geometry that is kept.
        jitter: Misplacement of the face in pixels of a 160 px frame, (2,).
    """

    strength: float
    light: Light
    camera: Camera
    mismatch: float
    residue: float
    inset: float
    feather: float
    grid: float
    resolution: int
    warp: float
    jitter: tuple[float, float]


def draw_strength(rng: np.random.Generator, scale: float = 1.0) -> float:
    """The first draw of a manipulation: visibility of its traces, 0.5 to 1 times the scale."""
    return scale * float(rng.uniform(0.5, 1.0))


def _draw_traces(target: RenderedClip, rng: np.random.Generator, scale: float) -> Traces:
    strength = draw_strength(rng, scale)
    draw = rng.uniform(-1, 1, size=9)
    light, camera = target.clip.light, target.clip.camera
    return Traces(
        strength=strength,
        light=replace(
            light,
            azimuth=light.azimuth + 14 * strength * float(draw[0]),
            elevation=light.elevation + 8 * strength * float(draw[1]),
            warmth=light.warmth + 0.15 * strength * float(draw[2]),
        ),
        camera=replace(
            camera,
            blur=max(camera.blur + 0.6 * strength * float(draw[3]), 0.0),
            noise=max(camera.noise * (1 + 0.7 * strength * float(draw[4])), 0.0),
        ),
        mismatch=min(0.15 + 0.35 * strength, 1.0),
        residue=3 + 11 * strength,
        inset=1.0 + 1.5 * float(draw[5]),
        feather=max(2.0 + 0.9 * float(draw[6]) - 0.5 * strength, 0.4),
        grid=7.0 * strength,
        resolution=max(round(58 - 26 * strength), 12),
        warp=0.45 + 0.15 * float(draw[7]),
        jitter=(0.9 * strength * float(draw[7]), 0.9 * strength * float(draw[8])),
    )


def manipulate(
    name: str,
    target: RenderedClip,
    source: Identity,
    *,
    expressions: Sequence[Expression] | None = None,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> Forgery:
    """Forge a clip.

    Args:
        name: One of :data:`METHODS`.
        target: The genuine clip.
        source: The person whose face is inserted (FaceSwap, Deepfakes).
        expressions: T expressions to transfer (Face2Face, NeuralTextures); None keeps the
            target's own.
        rng: Source of all random draws.
        strength: Visibility of the traces: 1 is subtle, 2 is obvious.

    Returns:
        Frames, masks and landmarks of the forgery.

    Raises:
        InputError: The method is unknown or the number of expressions is not T.
    """
    if name not in METHODS:
        raise InputError(f'unknown manipulation {name!r}; choose from {", ".join(METHODS)}')
    wanted = target.clip.expressions if expressions is None else expressions
    if len(wanted) != len(target.frames):
        raise InputError(
            f'expressions holds {len(wanted)} entries but the target clip has '
            f'{len(target.frames)} frames; give one expression a frame'
        )
    traces = _draw_traces(target, rng, strength)
    forge, unit = METHODS[name], target.clip.size / 160
    frames, masks, landmarks = [], [], []
    for t, expression in enumerate(wanted):
        genuine = target.frames[t]
        face = forge(_Frame(target.clip, t, target.landmarks[t], unit, traces, rng), source, expression)
        weight = hull_mask(face.hull, target.clip.size, face.inset * unit, face.feather * unit)
        mismatch, residue = face.share * traces.mismatch, face.share * traces.residue
        image = transfer_color(face.image, genuine, weight, mismatch, residue)
        frame, mask = composite(genuine, image, weight)
        frames.append(frame)
        masks.append(mask)
        landmarks.append(face.landmarks)
    return Forgery(np.stack(frames), np.stack(masks), np.stack(landmarks), traces.strength)


class _Frame(NamedTuple):
    """Frame ``t`` of a clip and its (68, 2) landmarks; ``unit`` pixels are one of a 160 px frame."""

    clip: Clip
    t: int
    points: PointsArray
    unit: float
    traces: Traces
    rng: np.random.Generator

    def render(self, identity: Identity, expression: Expression) -> tuple[ImageArray, PointsArray]:
        """Render a face in the target's pose and place, under the light of the forgery."""
        clip = self.clip
        if identity != clip.identity:
            # Only skin is swapped: strands of the source's hair would reveal the hull.
            # The color correction approaches the target's skin before any blending.
            pairs = zip(identity.skin, clip.identity.skin, strict=True)
            b, g, r = (own + 0.75 * (wanted - own) for own, wanted in pairs)
            identity = replace(identity, hair_style='bald', skin=(b, g, r))
        return render_frame(
            identity, clip.poses[self.t], expression, self.traces.light, clip.background, clip.size
        )


class _Face(NamedTuple):
    """A forged face, the hull in which it is blended in, and the mask's edge as in :class:`Traces`.

    The color difference that remains is ``share`` of that of the traces.
    """

    image: ImageArray
    landmarks: PointsArray
    hull: PointsArray
    inset: float
    feather: float
    share: float = 1.0


def _face_swap(frame: _Frame, source: Identity, expression: Expression) -> _Face:
    """Warp the source's face into the target's hull; colors match only in part."""
    traces, points = frame.traces, frame.points
    image, own = frame.render(source, frame.clip.expressions[frame.t])
    aligned = move_points(fit_similarity(own[_INNER], points[_INNER]), own)
    goal = points.copy()
    # The outline must fit the target's head; eyes, nose and mouth partly keep the source's geometry.
    goal[27:] += np.float32(traces.warp) * (aligned[27:] - points[27:])
    goal[17:27] += np.float32(0.5 * traces.warp) * (aligned[17:27] - points[17:27])
    image = traces.camera.record(warp_points(image, own, goal), frame.rng)
    # Graphics-based: the texture is sampled coarsely, more so with stronger traces.
    image = sample_coarsely(image, max(round((1 + 1.2 * traces.strength) * frame.unit), 1))
    # Keep clear of the hair beside the cheeks.
    outline = goal[:17] + np.float32(0.08) * (goal[30] - goal[:17])
    hull = np.concatenate([outline, goal[17:27]])
    return _Face(image, goal, hull, traces.inset, traces.feather)


def _deepfakes(frame: _Frame, source: Identity, expression: Expression) -> _Face:
    """Decode the source's face at low resolution and blend it in through a soft mask."""
    traces, points, unit, size = frame.traces, frame.points, frame.unit, frame.clip.size
    image, own = frame.render(source, frame.clip.expressions[frame.t])
    matrix = fit_similarity(own[_INNER], points[_INNER])
    matrix[:, 2] += np.array(traces.jitter, np.float32) * np.float32(0.5 * unit)
    # Crop the aligned face at the resolution of the decoder and paste it back enlarged.
    low, high = points.min(0) - 4 * unit, points.max(0) + 4 * unit
    factor = np.float32(traces.resolution / float((high - low).max()))
    center = (low + high) / 2
    shrink = np.array([[factor, 0, 0], [0, factor, 0]], np.float32)
    shrink[:, 2] = traces.resolution / 2 - factor * center
    to_low = shrink[:, :2] @ matrix
    to_low[:, 2] += shrink[:, 2]
    smooth = cv2.GaussianBlur(image, (0, 0), max(0.45 / float(factor), 0.3))
    decoded = cv2.warpAffine(
        smooth, to_low, (traces.resolution, traces.resolution), borderMode=cv2.BORDER_REPLICATE
    )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    pasted = cv2.warpAffine(decoded, shrink, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    pasted = replace(traces.camera, blur=0.0).record(pasted, frame.rng)
    goal = points.copy()
    goal[_INNER] = move_points(matrix, own[_INNER])
    return _Face(
        image=add_upsampling_pattern(pasted, traces.grid),
        landmarks=goal,
        hull=np.concatenate([goal[17:], points[2:15]]),
        inset=3.5 + traces.inset,
        feather=3.5 + traces.feather,
        share=0.8,
    )


def _face2face(frame: _Frame, source: Identity, expression: Expression) -> _Face:
    """Render the target again with the source's expression; paste it slightly misplaced."""
    traces, size = frame.traces, frame.clip.size
    image, own = frame.render(frame.clip.identity, expression)
    goal = own + np.array(traces.jitter, np.float32) * np.float32(frame.unit)
    stretch = 1 + 0.012 * np.float32(traces.strength * np.sign(traces.jitter[0]))
    goal = ((goal - goal.mean(0)) * stretch + goal.mean(0)).astype(np.float32)
    matrix = fit_similarity(own, goal)
    image = cv2.warpAffine(
        image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    image = add_upsampling_pattern(traces.camera.record(image, frame.rng), traces.grid)
    hull = np.concatenate([frame.points[:27], goal[:27]])
    return _Face(image, goal, hull, traces.inset - 1, traces.feather)


def _neural_textures(frame: _Frame, source: Identity, expression: Expression) -> _Face:
    """Replace the region around the mouth only; its texture comes out too smooth."""
    traces, points = frame.traces, frame.points
    mine = frame.clip.expressions[frame.t]
    wanted = replace(mine, mouth_open=expression.mouth_open, smile=expression.smile)
    image, own = frame.render(frame.clip.identity, wanted)
    image = traces.camera.record(image, frame.rng)
    spread = float((5 + 9 * traces.strength) * frame.unit)
    smooth = cv2.bilateralFilter(image, 5, 18 + 30 * traces.strength, spread / 2)
    smooth = add_upsampling_pattern(smooth, 1.2 * traces.grid)
    hull = np.concatenate([points[_LOWER_FACE], own[48:60], points[48:60]])
    goal = points.copy()
    goal[48:] = own[48:]
    return _Face(smooth, goal, hull, 1.5, 1.0 + traces.feather, 0.6)


METHODS: dict[str, Callable[[_Frame, Identity, Expression], _Face]] = {
    'Deepfakes': _deepfakes,
    'Face2Face': _face2face,
    'FaceSwap': _face_swap,
    'NeuralTextures': _neural_textures,
}
"""The manipulations by the name of their folder."""
