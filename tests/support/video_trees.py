# SPDX-License-Identifier: Apache-2.0
"""Tiny copies of public datasets that come as videos, with their true folders, names and lists.

Every video has 12 frames of 64 x 48 px and landmarks for the analyzer ``precomputed``. A fake differs from
its genuine video in the middle of the image. Each tree holds something that its layout leaves out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.media import make_frames, make_mask, write_landmarks, write_video

if TYPE_CHECKING:
    pass

FRAMES = 12


def add_video(root: Path, name: str, *, seed: int, fake: bool = False) -> Path:
    """Write a video and its landmarks.

    Args:
        root: Folder of the dataset.
        name: Path of the video in it.
        seed: Image content; a fake takes the seed of its genuine video.
        fake: Whether it is a fake.

    Returns:
        Path of the video.
    """
    path = write_video(root / name, make_frames(FRAMES, seed=seed, fake=fake))
    write_landmarks(root, path, FRAMES)
    return path


def add_mask(root: Path, name: str) -> Path:
    """Write a video of the mask of every fake: white where a fake was changed."""
    return write_video(root / name, [make_mask(number) for number in range(FRAMES)])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def _write_json(path: Path, data: Any) -> None:
    _write(path, json.dumps(data, indent=2))


def write_ffpp_tree(root: Path) -> None:
    """FaceForensics++ c23 with ``dataset/splits``; pairs from the official splits."""
    pairs = {'train': [['071', '054']], 'val': [['720', '672']], 'test': [['953', '974']]}
    for split, ids in pairs.items():
        _write_json(root / f'dataset/splits/{split}.json', ids)
    genuine = 'original_sequences/youtube/c23/videos'
    for video in ('071', '054', '720', '953', '1000'):
        add_video(root, f'{genuine}/{video}.mp4', seed=int(video))
    for video in ('071_054', '720_672', '953_974'):
        seed = int(video[:3])
        folder = 'manipulated_sequences/Deepfakes'
        add_video(root, f'{folder}/c23/videos/{video}.mp4', seed=seed, fake=True)
        add_mask(root, f'{folder}/masks/videos/{video}.mp4')
    add_video(root, 'manipulated_sequences/FaceShifter/c23/videos/071_054.mp4', seed=71, fake=True)


def write_dfd_tree(root: Path) -> None:
    """DeepFakeDetection c23; one fake has no genuine video."""
    for seed, video in enumerate(('01__hugging_happy', '02__hugging_happy')):
        add_video(root, f'original_sequences/actors/c23/videos/{video}.mp4', seed=seed)
    folder = 'manipulated_sequences/DeepFakeDetection'
    fakes = {
        '01_02__hugging_happy__YVGY8LOK': 0,
        '02_06__hugging_happy__U6MDWIHG': 1,
        '01_02__walk_down_hall_angry__YVGY8LOK': 2,
    }
    for video, seed in fakes.items():
        add_video(root, f'{folder}/c23/videos/{video}.mp4', seed=seed, fake=True)
    add_mask(root, f'{folder}/masks/videos/01_02__hugging_happy__YVGY8LOK.mp4')
    add_video(root, f'{folder}/c23/videos/01_02__hugging_happy.mp4', seed=3, fake=True)


def _write_celebdf(root: Path, length: int) -> None:
    for seed, video in enumerate(('id0_0000', 'id1_0000', 'id2_0001')):
        add_video(root, f'Celeb-real/{video}.mp4', seed=seed)
    for video in ('00170', '00208'):
        add_video(root, f'YouTube-real/{video}.mp4', seed=int(video))
    # The genuine video of the last one is a test video, it itself is not.
    for video, seed in {'id0_id1_0000': 0, 'id1_id0_0000': 1, 'id2_id0_0001': 2, 'id1_id2_0000': 1}.items():
        add_video(root, f'Celeb-synthesis/{video}.mp4', seed=seed, fake=True)
    add_video(root, 'Celeb-synthesis/copy of id0_id1_0000.mp4', seed=0, fake=True)
    lines = ['1 YouTube-real/00170.mp4', '1 Celeb-real/id1_0000.mp4', '0 Celeb-synthesis/id1_id0_0000.mp4']
    # As long as the official list, but the rest of its videos is not there.
    lines += [f'0 Celeb-synthesis/id30_id31_{number:04d}.mp4' for number in range(length - len(lines))]
    _write(root / 'List_of_testing_videos.txt', '\n'.join(lines) + '\n')


def write_celebdf_v1_tree(root: Path) -> None:
    """Celeb-DF version 1: 100 test videos, most of them not there."""
    _write_celebdf(root, 100)


def write_celebdf_v2_tree(root: Path) -> None:
    """Celeb-DF version 2: 518 test videos, most of them not there."""
    _write_celebdf(root, 518)


def write_dfdc_tree(root: Path) -> None:
    """DFDC: two training parts (one in a folder of its archive), validation and test set."""
    parts = {
        'dfdc_train_part_0': {'owxbbpjpch': 'wynotylpnm', 'wynotylpnm': None, 'zzzzzzzzzz': None},
        'dfdc_train_part_01/dfdc_train_part_1': {'aagfhgtpmv': 'vudstovrck', 'abarnvbtwb': None},
    }
    for part, videos in parts.items():
        _write_json(root / part / 'metadata.json', _dfdc_metadata(videos))
    part, nested = parts
    add_video(root, f'{part}/wynotylpnm.mp4', seed=0)
    add_video(root, f'{part}/owxbbpjpch.mp4', seed=0, fake=True)
    add_video(root, f'{nested}/aagfhgtpmv.mp4', seed=1, fake=True)
    add_video(root, f'{nested}/abarnvbtwb.mp4', seed=2)
    add_video(root, f'{nested}/unlisted.mp4', seed=3)
    for seed, (video, label) in enumerate({'4000': 0, '4001': 1}.items(), 4):
        add_video(root, f'validation/{video}.mp4', seed=seed, fake=bool(label))
    _write(root / 'validation/labels.csv', 'filename,label\r\n4000.mp4,0\r\n4001.mp4,1\r\n')
    for seed, (video, label) in enumerate({'aalscayrfi': 1, 'aamrozxzsq': 0}.items(), 6):
        add_video(root, f'test/{video}.mp4', seed=seed, fake=bool(label))
    held_out = {'aalscayrfi.mp4': 1, 'aamrozxzsq.mp4': 0}
    entries = {name: {'augmentations': {}, 'is_fake': label} for name, label in held_out.items()}
    _write_json(root / 'test/metadata.json', entries)


def _dfdc_metadata(videos: dict[str, str | None]) -> dict[str, Any]:
    return {
        f'{video}.mp4': {
            'label': 'FAKE' if original else 'REAL',
            'split': 'train',
            'original': f'{original}.mp4' if original else None,
        }
        for video, original in videos.items()
    }


def write_dfdcp_tree(root: Path) -> None:
    """DFDC preview; of two test fakes one was augmented."""
    genuine = {'643049_A_001': 'train', '1260311_C_001': 'test'}
    fakes = {
        'method_A/643049/643049_A/1003254_643049_A_001': ('train', []),
        'method_B/1260311/1260311_C/1255229_1260311_C_001': ('test', []),
        'method_A/1260311/1260311_C/1224068_1260311_C_001': ('test', ['fps:15']),
    }
    entries: dict[str, Any] = {}
    for seed, (video, split) in enumerate(genuine.items()):
        actor = video.partition('_')[0]
        name = f'original_videos/{actor}/{video}.mp4'
        add_video(root, name, seed=seed)
        entries[name] = _dfdcp_entry('real', split, actor, None, [])
    for path, (split, augmentations) in fakes.items():
        swapped, target, *_ = path.rpartition('/')[2].split('_')
        add_video(root, f'{path}.mp4', seed=int(split == 'test'), fake=True)
        entries[f'{path}.mp4'] = _dfdcp_entry('fake', split, target, swapped, augmentations)
    add_video(root, 'original_videos/643049/643049_B_001.mp4', seed=2)
    _write_json(root / 'dataset.json', entries)


def _dfdcp_entry(
    label: str, split: str, target: str, swapped: str | None, augmentations: list[str]
) -> dict[str, Any]:
    return {
        'label': label,
        'set': split,
        'target_id': target,
        'swapped_id': swapped,
        'augmentations': augmentations,
    }


def write_deeperforensics_tree(root: Path) -> None:
    """DeeperForensics-1.0 in two variants, with genuine videos of FaceForensics++."""
    splits = {'train': ['000_M101', '003_M101'], 'val': ['001_W006'], 'test': ['002_M004']}
    for split, videos in splits.items():
        _write(root / f'lists/splits/{split}.txt', ''.join(f'{video}.mp4\n' for video in videos))
        for video in videos:
            _add_variants(root, video)
    add_video(root, 'manipulated_videos/end_to_end/004_M004.mp4', seed=4, fake=True)
    # The genuine video of 003_M101 was not copied.
    for target in ('000', '001', '002'):
        add_video(root, f'original_sequences/youtube/c23/videos/{target}.mp4', seed=int(target))
    actor = 'source_videos/M101/light_down/contempt/camera_front'
    add_video(root, f'{actor}/M101_light_down_contempt_camera_front.mp4', seed=9)


def _add_variants(root: Path, video: str) -> None:
    for variant in ('end_to_end', 'end_to_end_mix_2_distortions'):
        add_video(root, f'manipulated_videos/{variant}/{video}.mp4', seed=int(video[:3]), fake=True)


def write_ffiw_tree(root: Path) -> None:
    """FFIW10K in the two folders of its downloads, with masks; a test video lies among the training ones."""
    splits = {'train': 'FFIW10K-v1-release', 'val': 'FFIW10K-v1-release', 'test': 'FFIW10K-v1-release-test'}
    for seed, (split, release) in enumerate(splits.items()):
        name = f'{split}/{split}_00000000.mp4'
        add_video(root, f'{release}/source/{name}', seed=seed)
        add_video(root, f'{release}/target/{name}', seed=seed, fake=True)
        add_mask(root, f'{release}/target_mask/{name}')
    add_video(root, 'FFIW10K-v1-release/source/train/test_00000001.mp4', seed=9)


VIDEO_TREES: dict[str, Callable[[Path], None]] = {
    'ffpp': write_ffpp_tree,
    'dfd': write_dfd_tree,
    'celebdf_v1': write_celebdf_v1_tree,
    'celebdf_v2': write_celebdf_v2_tree,
    'dfdc': write_dfdc_tree,
    'dfdcp': write_dfdcp_tree,
    'deeperforensics': write_deeperforensics_tree,
    'ffiw': write_ffiw_tree,
}
"""Name of a dataset -> function that writes a tiny copy of it under a root."""


def touch_videos(root: Path, names: Iterable[str]) -> None:
    """Write empty files, for tests of listings alone."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
