# SPDX-License-Identifier: Apache-2.0
"""Appearance of faces, to tell people apart without a face recognition model.

Two looks differ by the texture of the aligned face (correlation, which brightness and contrast do not
change) and by its color (logarithms of color ratios, which brightness does not change). The thresholds were
chosen on small sets of real faces: about 1 in 100 pairs of different people who appear in one place in turn
is taken for one person (1 in 50 if nothing else changes), and none of 151 real videos of one person is
split when six frames or more are sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from iid_mm.datasets.functional import alignment, geometry
from iid_mm.errors import InputError
from iid_mm.faces.cropping import crop_image, crop_points, crop_window, face_box
from iid_mm.utils.typing import FloatArray

if TYPE_CHECKING:
    from iid_mm.faces.analyzers.base import Face
    from iid_mm.utils.typing import ImageArray

SAME_PERSON = 0.3
"""A face that differs by less from any earlier face of a person may be that person."""
SAME_AS_FIRST = 0.6
"""It must also differ by less from the person's first faces: a cross-fade must not lead to another person."""
SAME_AS_FIRST_HERE = 1.0
"""The same if the scene is still that of the first faces: heads turn, hands and light interfere."""
SAME_FOR_A_MOMENT = 0.7
"""A face between two of a person, in the same scene and place, is of that person if it differs by less."""
SAME_TEXTURE = 0.1
"""The same in another light, if textures differ by less."""
SURELY_SAME = 0.25
"""A face that differs by less is recognized as the person anywhere in the image."""
MAX_ALLOWANCE = 0.1
"""Largest tolerance added if a person's faces differ much from one sampled frame to the next."""
SAME_SCENE, OTHER_SCENE = 0.04, 0.12
"""Scenes are the same if their color histograms differ by less than the first, and not from the second on."""

_SIDE = 16
_WARP = 64
_MAX_CROP = 160
# Faces are aligned a little smaller and higher than for the detector, to include hair and chin.
_SCALE, _RAISE = 0.8, 6.0
_FIRST, _KEPT, _HISTORY = 3, 48, 15
_NOVEL = 0.1
# Channels this bright are overexposed and ignored.
_BRIGHTEST = 250
_MIN_VISIBLE = 0.25
# Texture weaker than this (lightness, 0 to 100) is noise.
_MIN_CONTRAST = 1.5
_TEXTURE_WEIGHT, _COLOR_WEIGHT = 2.0, 4.5


_UPPER_WEIGHT = 1.3
_Y, _X = (np.mgrid[:_SIDE, :_SIDE] - (_SIDE - 1) / 2) / (_SIDE / 2)
FACE_PIXELS: npt.NDArray[np.bool_] = ((_X / 0.9) ** 2 + _Y**2 < 1).ravel()
UPPER_PIXELS: npt.NDArray[np.bool_] = FACE_PIXELS & (_Y < 0.1).ravel()


@dataclass(frozen=True)
class Look:
    """Appearance of a face.

    Attributes:
        texture: (256,) float32 lightness of the aligned face without low frequencies.
        color: (256, 2) float32 log ratios of red and blue to green.
        visible: (256,) bool, pixels that are not overexposed.
        scene: (n,) float32 color histogram of the whole frame, which sums to 1.
    """

    texture: FloatArray
    color: FloatArray
    visible: npt.NDArray[np.bool_]
    scene: FloatArray


def describe(image: ImageArray, faces: Sequence[Face], scene: FloatArray | None = None) -> list[Look | None]:
    """Describe the faces of a frame.

    Args:
        image: (H, W, 3) uint8 BGR.
        faces: Its faces.
        scene: Its :func:`describe_scene` if it is already known.

    Returns:
        A look for each; None if a face cannot be aligned.
    """
    if not faces:
        return []
    scene = describe_scene(image) if scene is None else scene
    return [_describe_face(image, face, scene) for face in faces]


def _describe_face(image: ImageArray, face: Face, scene: FloatArray) -> Look | None:
    window = crop_window(face_box(face.landmarks), (image.shape[1], image.shape[0]), 0.5)
    if window is None:
        return None
    points = alignment.five_points(crop_points(face.landmarks, window, _MAX_CROP))
    target = alignment.template((_WARP, _WARP), _SCALE) - (0, _RAISE)
    try:
        matrix = geometry.fit_similarity(points, target)
    except InputError:
        return None
    crop = crop_image(image, window, _MAX_CROP)
    warped = cv2.warpAffine(crop, matrix, (_WARP, _WARP), borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(warped, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    lightness = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)[..., 0]
    texture = lightness - cv2.GaussianBlur(lightness, (0, 0), 6)
    # Compression removes most color detail.
    colors = _color_ratios(cv2.GaussianBlur(small, (0, 0), 1.5))
    return Look(texture.ravel(), colors, _visible(small), scene)


def _visible(image: ImageArray) -> npt.NDArray[np.bool_]:
    """Pixels without an overexposed channel; if they are few (pale skin, flash), without all overexposed."""
    for channels in (image.max(axis=2), image.min(axis=2)):
        visible = (channels < _BRIGHTEST).ravel()
        if np.count_nonzero(visible & FACE_PIXELS) >= 2 * _MIN_VISIBLE * np.count_nonzero(FACE_PIXELS):
            break
    return visible


def _color_ratios(image: ImageArray) -> FloatArray:
    """(n, 2) float32: log of red and of blue over green, linear light; dark pixels count as gray."""
    light = np.log((image.reshape(-1, 3).astype(np.float32) / 255) ** 2.2 + 0.04)
    return np.asarray(light[:, [2, 0]] - light[:, [1]], np.float32)


def describe_scene(image: ImageArray) -> FloatArray:
    """Smoothed histogram of lightness and color ratios of a frame, (n,) float32 that sum to 1."""
    small = np.asarray(cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA), np.uint8)
    light = np.log((small.reshape(-1, 3).astype(np.float32) / 255) ** 2.2 + 0.02).mean(axis=1)
    values = np.column_stack([(light + 4) / 4.05 * 8, (_color_ratios(small) + 1.6) / 3.2 * 16])
    bins = np.clip(values.astype(np.int64), 0, (7, 15, 15))
    index = (bins[:, 0] * 16 + bins[:, 1]) * 16 + bins[:, 2]
    counts: FloatArray = np.bincount(index, minlength=8 * 16 * 16).reshape(8, 16, 16).astype(np.float32)
    for axis in range(3):
        moved = np.moveaxis(counts, axis, 0)
        padded = np.pad(moved, ((1, 1), (0, 0), (0, 0)), mode='edge')
        smooth = np.asarray(padded[:-2] / 4 + padded[1:-1] / 2 + padded[2:] / 4, np.float32)
        counts = np.moveaxis(smooth, 0, axis)
    return np.asarray(counts.ravel() / counts.sum(), np.float32)


def difference(first: Look, second: Look) -> float | None:
    """How much two faces differ; None if too little of them can be compared.

    The upper half is enough if it agrees: hands and speech change the lower one.

    Returns:
        0 for equal faces; usually below :data:`SAME_PERSON` for one person.
    """
    visible = first.visible & second.visible
    if np.count_nonzero(visible & FACE_PIXELS) < _MIN_VISIBLE * np.count_nonzero(FACE_PIXELS):
        return None
    whole = _part_difference(first, second, visible & FACE_PIXELS)
    upper = visible & UPPER_PIXELS
    if np.count_nonzero(upper) < _MIN_VISIBLE * np.count_nonzero(UPPER_PIXELS):
        return whole
    return min(whole, _UPPER_WEIGHT * _part_difference(first, second, upper))


def texture_difference(first: Look, second: Look) -> float:
    """1 - correlation of the texture of two faces, where both are not overexposed."""
    part = first.visible & second.visible & FACE_PIXELS
    return _uncorrelated(first, second, part) if part.any() else 1.0


def _part_difference(first: Look, second: Look, part: npt.NDArray[np.bool_]) -> float:
    uncorrelated = _uncorrelated(first, second, part)
    change = first.color[part] - second.color[part]
    # White balance shifts all colors alike; that shift counts half.
    colors = float(np.abs(change).mean() + np.abs(change - change.mean(axis=0)).mean()) / 2
    return _TEXTURE_WEIGHT * uncorrelated + _COLOR_WEIGHT * colors


def _uncorrelated(first: Look, second: Look, part: npt.NDArray[np.bool_]) -> float:
    count = np.count_nonzero(part)
    textures = []
    for look in (first, second):
        texture = look.texture[part]
        texture = texture - texture.mean()
        textures.append(texture / max(float(np.linalg.norm(texture)), _MIN_CONTRAST * float(np.sqrt(count))))
    return float(((textures[0] - textures[1]) ** 2).sum()) / 2


def scene_difference(first: FloatArray, second: FloatArray) -> float:
    """How much two scenes of :func:`describe_scene` differ, 0 to 1, whatever moved in them."""
    return 1 - float(np.minimum(first, second).sum())


@dataclass
class KnownPerson:
    """The looks of a person so far.

    Attributes:
        looks: Of the first faces, and of later ones that were different enough.
        firsts: Number of looks that are those of the first faces.
        steps: Differences of the latest faces from all before them.
        count: Number of faces.
        scene: Histogram of the frame of the last one.
    """

    looks: list[Look] = field(default_factory=list)
    firsts: int = 0
    steps: list[float] = field(default_factory=list)
    count: int = 0
    scene: FloatArray | None = None

    def differs(self, look: Look) -> float | None:
        """Smallest difference from a face of this person; None if nothing can be compared."""
        found = [d for known in self.looks if (d := difference(known, look)) is not None]
        return min(found, default=None)

    def agrees(self, look: Look) -> bool:
        """Whether a face in the place of this person can be this person."""
        changes = [difference(known, look) for known in self.looks]
        comparable = [change for change in changes if change is not None]
        if not comparable:
            return True
        # More is allowed for people who move a lot, and for frames that are far apart.
        allowance = min(float(np.median(self.steps)), MAX_ALLOWANCE) if self.steps else 0.0
        if min(comparable) > SAME_PERSON + allowance:
            return False
        familiar = max(self._familiarity(known, look) for known in self.looks)
        limit = SAME_AS_FIRST + (SAME_AS_FIRST_HERE - SAME_AS_FIRST) * familiar + allowance
        return any(change is None or change <= limit for change in changes[: self.firsts])

    @staticmethod
    def _familiarity(known: Look, look: Look) -> float:
        """1 in the same scene, 0 in another one."""
        change = scene_difference(known.scene, look.scene)
        return float(np.clip((OTHER_SCENE - change) / (OTHER_SCENE - SAME_SCENE), 0, 1))

    def is_surely(self, other: KnownPerson) -> bool:
        """Whether another track is this person after all, now that both are known better."""
        for known in self.looks[: self.firsts]:
            for look in other.looks:
                change = difference(known, look)
                if change is not None and change <= SURELY_SAME:
                    return True
        return 2 * sum(self.agrees(look) for look in other.looks) >= len(other.looks)

    def join(self, other: KnownPerson) -> None:
        """Take over the looks of a track that is this person."""
        mine, theirs = self.firsts, other.firsts
        self.looks = self.looks[:mine] + other.looks[:theirs] + self.looks[mine:] + other.looks[theirs:]
        self.firsts += theirs
        self.count += other.count

    def is_here(self, look: Look) -> bool:
        """Whether the scene is still the one in which this person was last seen."""
        return self.scene is not None and scene_difference(self.scene, look.scene) < OTHER_SCENE

    def takes_back(self, look: Look) -> bool:
        """Whether a face between two of this person is theirs, too.

        It is in the same scene unless it looks quite different, and in another light (a flash) if only its
        color does.
        """
        alike = [known for known in self.looks if (difference(known, look) or 0.0) <= SAME_FOR_A_MOMENT]
        if any(scene_difference(known.scene, look.scene) <= SAME_SCENE for known in alike):
            return True
        return any(texture_difference(known, look) <= SAME_TEXTURE for known in self.looks)

    def add(self, look: Look) -> None:
        """Add a face of this person."""
        self.count += 1
        self.scene = look.scene
        nearest = self.differs(look)
        if nearest is None and self.looks:
            return
        if nearest is not None:
            self.steps = [*self.steps, nearest][-_HISTORY:]
        if self.firsts < _FIRST:
            self.firsts += 1
            self.looks.append(look)
        elif nearest is not None and nearest > _NOVEL:
            self.looks.append(look)
        if len(self.looks) > _KEPT:
            del self.looks[self.firsts]
