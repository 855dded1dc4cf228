# SPDX-License-Identifier: Apache-2.0
"""Tiny copies of datasets that come as images, with their true folders, names and lists.

Every video has 12 frames of 64 x 48 px, and landmarks for the analyzer ``precomputed``: those that the set
brings, or side files. A fake differs from its genuine video in the middle of the image. Each tree holds
something that its layout leaves out.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from support.media import SIZE, face_points, make_frames, write_image, write_landmarks, write_video

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray, PointsArray

FRAMES = 12
FFPP_SPLITS = {'train': [['071', '054']], 'val': [['720', '672']], 'test': [['953', '974']]}


def add_frames(folder: Path, names: Sequence[str], *, seed: int, fake: bool = False) -> None:
    """Write the frames of a video.

    Args:
        folder: Folder of the images.
        names: File name of each frame.
        seed: Image content; a fake takes the seed of its genuine video.
        fake: Whether it is a fake.
    """
    for name, image in zip(names, make_frames(len(names), seed=seed, fake=fake), strict=True):
        write_image(folder / name, image)


def points_of(position: int) -> PointsArray:
    """(81, 2) landmarks of a frame in whole pixels, as dlib gives them: a face that moves to the right."""
    return np.rint(face_points(10 + position, 14, count=81))


def write_json(path: Path, data: Any) -> None:
    """Write a list file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(data, indent=1).encode())


def write_archive(path: Path, members: Iterable[tuple[str, bytes]], *, mode: str = 'w') -> Path:
    """Write a tar archive.

    Args:
        path: The archive.
        members: Name and content of each.
        mode: ``w`` for a plain archive, ``w:gz`` for a compressed one.

    Returns:
        ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def _encode(image: ImageArray) -> bytes:
    return bytes(cv2.imencode('.png', image)[1])


def _sequence(folder: str, first: int, *, seed: int, fake: bool) -> list[tuple[str, bytes]]:
    """Members of a sequence whose frames are numbered from ``first`` in steps of 5, in no order."""
    images = make_frames(FRAMES, seed=seed, fake=fake)
    members = [(f'{folder}/{first + 5 * number}.png', _encode(image)) for number, image in enumerate(images)]
    return members[1::2] + members[::2]


def write_wilddeepfake_tree(root: Path) -> None:
    """Archives of WildDeepfake, plain and compressed, one extracted, one hostile, and one cut off."""
    for label, fake in (('real', False), ('fake', True)):
        for seed, split in enumerate(('train', 'test')):
            folder = root / f'{label}_{split}'
            members = [
                *_sequence(f'./1/{label}/35', 0, seed=seed, fake=fake),
                *_sequence(f'./1/{label}/7', 100, seed=seed + 10, fake=fake),
            ]
            write_archive(folder / '1.tar.gz', members, mode='w:gz' if split == 'test' else 'w')
            for sequence in ('35', '7'):
                write_landmarks(root, folder / '1' / '1' / label / sequence, FRAMES)
    extracted = root / 'fake_train/2/2/fake/35'
    add_frames(extracted, [f'{number}.png' for number in range(FRAMES)], seed=20, fake=True)
    write_landmarks(root, extracted, FRAMES)
    write_archive(root / 'fake_train/3.tar.gz', [('3/fake/1/../../../evil.png', b'x')])
    whole = write_archive(root / 'real_test/2.tar.gz', _sequence('./2/real/1', 0, seed=30, fake=False))
    whole.write_bytes(whole.read_bytes()[:-20_000])
    write_landmarks(root, root / 'real_test/2/2/real/1', FRAMES)


def write_folder_tree(root: Path) -> None:
    """Videos, frames and images below ``train`` and ``test``, with pairs."""
    for seed, split in enumerate(('train', 'test')):
        video = write_video(root / split / 'real/talk.mp4', make_frames(FRAMES, seed=seed))
        write_landmarks(root, video, FRAMES)
        for path, fake in (('real/clip', False), ('fake/FaceSwap/clip', True)):
            names = [f'frame_{number}.png' for number in range(FRAMES)]
            add_frames(root / split / path, names, seed=seed + 10, fake=fake)
            write_landmarks(root, root / split / path, FRAMES)
        for path, fake in (('real/still.png', False), ('fake/still.png', True)):
            photo = write_image(root / split / path, make_frames(1, seed=seed + 20, fake=fake)[0])
            write_landmarks(root, photo, 1)
    (root / 'train/fake/notes.txt').write_text('neither a video nor an image')
    pairs = [
        ('train/fake/FaceSwap/clip', 'train/real/clip'),
        ('test/fake/FaceSwap/clip', 'test/real/clip'),
        ('train/fake/still.png', 'train/real/still.png'),
        # Left out: a test video must not be the pair of a training fake.
        ('test/fake/still.png', 'train/real/still.png'),
        ('train/fake/lost.mp4', 'train/real/talk.mp4'),
    ]
    lines = ['fake,genuine', *(','.join(pair) for pair in pairs)]
    (root / 'pairs.csv').write_bytes('\r\n'.join(lines).encode())


def _mask() -> ImageArray:
    """White where a fake was changed."""
    width, height = SIZE
    mask: ImageArray = np.zeros((height, width, 3), np.uint8)
    mask[height // 5 : -height // 5, width // 5 : -width // 5] = 255
    return mask


def write_deepfakebench_tree(root: Path) -> None:
    """FaceForensics++ c23 as DeepfakeBench lists it: paths of Windows, frames in no order, a folder lost."""
    numbers = [27 * position for position in range(FRAMES)]
    names = [f'{number:03d}.png' for number in numbers]
    listed: dict[str, Any] = {
        label: {split: {'c23': {}} for split in ('train', 'val', 'test')} for label in ('FF-real', 'FF-DF')
    }
    for split, video in ((s, v) for s, (pair,) in FFPP_SPLITS.items() for v in (pair[0], '_'.join(pair))):
        fake = '_' in video
        label = 'FF-DF' if fake else 'FF-real'
        tree = 'manipulated_sequences/Deepfakes' if fake else 'original_sequences/youtube'
        inside = f'FaceForensics++/{tree}/c23'
        paths = [f'{inside}/frames/{video}/{name}' for name in names]
        entry = {'label': label, 'frames': [path.replace('/', '\\') for path in paths[1::2] + paths[::2]]}
        listed[label][split]['c23'][video] = entry
        if fake:
            masks = [f'{inside}/masks/{video}/{name}' for name in names]
            entry['masks'] = [path.replace('/', '\\') for path in masks]
        if video == '720_672':
            continue
        base = root / 'datasets/rgb' / inside
        add_frames(base / 'frames' / video, names, seed=int(video[:3]), fake=fake)
        for position, number in enumerate(numbers):
            path = base / 'landmarks' / video / f'{number:03d}.npy'
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, points_of(position).astype(np.int64))
            if fake:
                write_image(base / 'masks' / video / f'{number:03d}.png', _mask())
    # The face of one frame was not found.
    (root / 'datasets/rgb/FaceForensics++/original_sequences/youtube/c23/landmarks/071/000.npy').unlink()
    # A copy in another split, as the lists of Celeb-DF and others have them.
    listed['FF-real']['val']['c23']['953'] = listed['FF-real']['test']['c23']['953']
    write_json(root / 'preprocessing/dataset_json/FaceForensics++.json', {'FaceForensics++': listed})


def write_caddm_tree(root: Path) -> None:
    """``train_images`` and ``test_images`` of CADDM; one video with the shared entry, one frame lost."""
    for split, (target, source) in (('train', ('071', '054')), ('test', ('953', '974'))):
        base, listed = f'./{split}_images', {}
        for video in (target, source, f'{target}_{source}'):
            fake = '_' in video
            genuine = f'{base}/original_sequences/youtube/raw/frames/{video[:3]}'
            folder = f'{base}/manipulated_sequences/Deepfakes/raw/frames/{video}' if fake else genuine
            names = [f'frame_{9 * position}' for position in range(FRAMES)]
            add_frames(root / folder, [f'{name}.png' for name in names], seed=int(video[:3]), fake=fake)
            for position, name in enumerate(names):
                listed[f'{folder}/{name}'] = {
                    'landmark': points_of(position).astype(int).tolist(),
                    'source_path': f'{genuine}/{name}',
                    'label': int(fake),
                }
            if video == '974':
                # The script of CADDM with several frames a video: one entry for all of them.
                listed.update({f'{folder}/{name}': listed[f'{folder}/{names[-1]}'] for name in names})
        write_json(root / base / 'ldm.json', listed)
    (root / 'train_images/manipulated_sequences/Deepfakes/raw/frames/071_054/frame_9.png').unlink()


def write_sbi_tree(root: Path) -> None:
    """The FaceForensics++ tree with frames and landmarks of SBI; a frame without a face, a video too many."""
    for split, pairs in FFPP_SPLITS.items():
        write_json(root / f'{split}.json', pairs)
    videos = [f'original_sequences/youtube/raw/frames/{video}' for video in ('071', '953', '1000')]
    videos += [f'manipulated_sequences/Deepfakes/raw/frames/{video}' for video in ('071_054', '953_974')]
    names = [f'{31 * position:03d}' for position in range(FRAMES)]
    for video in videos:
        folder = root / video
        fake = '_' in folder.name
        add_frames(folder, [f'{name}.png' for name in names], seed=int(folder.name[:3]), fake=fake)
        for position, name in enumerate(names):
            largest = points_of(position)
            # A second, smaller face in every frame.
            faces = np.stack([largest, np.rint(largest / 4)]).astype(np.int64)
            retina = np.array([[[10 + position, 14], [30 + position, 34], *[[20, 20]] * 5]], np.float64)
            for kind, array in (('landmarks', faces), ('retina', retina)):
                path = folder.parent.parent / kind / folder.name / f'{name}.npy'
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, array)
    (root / 'original_sequences/youtube/raw/landmarks/071/000.npy').unlink()
    masks = root / 'manipulated_sequences/Deepfakes/masks/videos'
    write_video(masks / '071_054.mp4', [_mask()] * (31 * FRAMES))
