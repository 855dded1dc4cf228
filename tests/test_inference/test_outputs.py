# SPDX-License-Identifier: Apache-2.0
"""Names of outputs, replaced files, and outputs that cannot be written."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iid_mm.inference import outputs
from iid_mm.inference.annotate import VideoWriter
from iid_mm.inference.media import CAMERA, Media, find_media
from iid_mm.inference.outputs import OutputOptions, OutputWriter
from iid_mm.inference.results import SCORED, FaceScore, MediaResult, PersonTrack
from iid_mm.inference.sampling import TimedFrame
from support.media import write_image, write_video
from support.paths import REPOSITORY

ALL = OutputOptions(report=True)
PHOTO = np.full((64, 64, 3), 90, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one video and one image."""
    noise = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8)
    write_video(tmp_path / 'in' / 'cut.mp4', list(noise))
    write_image(tmp_path / 'in' / 'photo.png', PHOTO)
    return tmp_path / 'in'


def write(media: list[Media], out: Path, options: OutputOptions = ALL) -> list[MediaResult]:
    """Write results as the inferencer does, without a model."""
    writer = OutputWriter(out, options, media)
    results = []
    for item in media:
        result = MediaResult(item.source, item.name, item.kind, SCORED, (64, 64), 4, 25.0, {0: 0.0, 2: 0.08})
        faces = [FaceScore(number, number / 25, (8, 8, 40, 40), 0.9, 0.8) for number in (0, 2)]
        result.tracks = [PersonTrack(0, faces)]
        sink = writer.begin(item, 0.5)
        sink.take(TimedFrame(0, 0.0, PHOTO), [(0, faces[0])])
        sink.finish(result)
        results.append(result)
    return results


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_outputs_among_inputs_change_no_input(folder: Path) -> None:
    # Named as an output would be, but a video of its own.
    write_video(folder / 'cut_annotated.mp4', [PHOTO] * 2)
    write_image(folder / 'photo_annotated.jpg', PHOTO)
    (folder / 'photo.json').write_text('{"photoTakenTime": 1}')
    before = content(folder)
    media = find_media(folder)
    assert len(media) == 4
    for _ in range(2):
        results = write(list(media), folder)
        after = content(folder)
        assert {name: after[name] for name in before} == before
        listed = [name for result in results for name in result.outputs.values()]
        assert len(listed) == len(set(listed))
        assert {*before, *listed} == set(after)
        # What was written is no input of the next run.
        again = find_media(folder)
        assert list(again) == list(media)
    by_source = {Path(result.source).name: result for result in results}
    assert by_source['cut.mp4'].outputs['video'] == 'cut_2_annotated.mp4'
    assert 'results are named cut_2' in by_source['cut.mp4'].problems[0]


@pytest.mark.parametrize('link', ['symlink_to', 'hardlink_to'])
def test_a_link_to_an_input_is_not_replaced(link: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    out.mkdir()
    getattr(out / 'photo_annotated.jpg', link)(folder / 'cut.mp4')
    before = content(folder)
    (result,) = write(list(find_media(folder / 'photo.png')), out)
    assert result.outputs['image'] == 'photo_2_annotated.jpg'
    assert (out / 'photo_annotated.jpg').read_bytes() == before['cut.mp4']
    assert content(folder) == before


def test_results_of_other_inputs_are_kept(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    out = tmp_path / 'out'
    other = write_image(tmp_path / 'other' / 'photo.png', PHOTO)
    # One name in two working directories: the text the user typed is no identity.
    monkeypatch.chdir(folder)
    write(list(find_media('photo.png')), out)
    first = (out / 'photo.json').read_bytes()
    monkeypatch.chdir(other.parent)
    (result,) = write(list(find_media('photo.png')), out)
    assert result.outputs['json'] == 'photo_2.json'
    assert (out / 'photo.json').read_bytes() == first
    # Both again, in the other order: each finds its own.
    results = write([*find_media(other), *find_media(folder / 'photo.png')], out)
    assert [result.outputs['json'] for result in results] == ['photo_2.json', 'photo.json']
    assert len(list(out.glob('*.json'))) == 2


def test_what_an_earlier_run_has_left_is_replaced_as_a_whole(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    media = list(find_media(folder / 'cut.mp4'))
    write(media, out)
    assert len(list(out.iterdir())) == 4
    write(media, out, OutputOptions(annotate=False, timeline=False))
    # An annotated video that no result lists any more would pass for a video of the user.
    assert [path.name for path in out.iterdir()] == ['cut.json']


def test_a_file_put_in_place_of_an_output_stays(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    media = list(find_media(folder / 'photo.png'))
    write(media, out)
    (out / 'photo_annotated.jpg').write_bytes(b'mine')
    (result,) = write(media, out)
    assert (out / 'photo_annotated.jpg').read_bytes() == b'mine'
    assert result.outputs['image'] == 'photo_2_annotated.jpg'


@pytest.mark.parametrize(
    ('function', 'kind'),
    [
        ('annotate_video', 'video'),
        ('save_figure', 'timeline'),
        ('encode_image', 'image'),
        ('draw_faces', 'image'),
    ],
)
@pytest.mark.parametrize(
    'error', [OSError(28, 'No space left on device'), MemoryError(), RuntimeError('a defect')]
)
def test_one_output_that_cannot_be_written_leaves_the_others(
    function: str, kind: str, error: Exception, folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    def fail(*args: Any, **more: Any) -> None:
        raise error

    monkeypatch.setattr(outputs, function, fail)
    results = write(list(find_media(folder)), tmp_path / 'out')
    (broken,) = [result for result in results if result.unwritten]
    assert kind not in broken.outputs
    assert {'json', 'report'} <= set(broken.outputs)
    reason = {
        OSError: 'No space left',
        MemoryError: 'not enough memory',
        RuntimeError: 'RuntimeError: a defect',
    }
    (line,) = broken.unwritten
    assert reason[type(error)] in line
    assert line in broken.problems
    stored = json.loads((tmp_path / 'out' / broken.outputs['json']).read_text())
    assert stored['problems'] == [line]
    assert kind not in stored['outputs']
    assert line in (tmp_path / 'out' / broken.outputs['report']).read_text().replace('&#39;', "'")


@pytest.fixture
def small_files() -> Iterator[None]:
    """Files end at 3000 bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_nothing_half_written(folder: Path, tmp_path: Path, small_files: None) -> None:
    out = tmp_path / 'out'
    (result,) = write(list(find_media(folder / 'cut.mp4')), out)
    assert len(result.unwritten) == 3
    assert [path.name for path in out.iterdir()] == ['cut.json']
    assert len(json.loads((out / 'cut.json').read_text())['problems']) == 3


def test_a_result_that_cannot_be_written_is_reported(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def fail(path: Path, content: object) -> None:
        raise OSError(30, 'Read-only file system')

    monkeypatch.setattr(outputs, 'write_json', fail)
    (result,) = write(list(find_media(folder / 'photo.png')), tmp_path / 'out')
    assert result.unwritten == ['photo.json cannot be written (Read-only file system)']
    assert set(result.outputs) == {'image', 'report'}


def test_an_interruption_keeps_what_is_there(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    out = tmp_path / 'out'
    media = list(find_media(folder / 'cut.mp4'))
    write(media, out)

    def interrupt(*args: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, 'save_figure', interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(media, out)
    listed = json.loads((out / 'cut.json').read_text())['outputs']
    assert listed == {'json': 'cut.json', 'video': 'cut_annotated.mp4'}
    assert {path.name for path in out.iterdir()} == set(listed.values())


def test_a_killed_run_leaves_no_evidence(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """The JSON comes first and lists the files that will follow."""
    seen: list[list[str]] = []

    def look(source: Path, out: Path, *more: Any) -> None:
        write_video(out, [PHOTO])
        write_image(out.with_name('genuine.png'), PHOTO)
        seen.append([media.path.name for media in find_media(out.parent) if media.path])

    monkeypatch.setattr(outputs, 'annotate_video', look)
    write(list(find_media(folder / 'cut.mp4')), tmp_path / 'out')
    assert seen == [['genuine.png']]


def test_the_video_of_a_camera_that_cannot_be_written(tmp_path: Path, monkeypatch: Any) -> None:
    def fail(self: VideoWriter, *args: Any) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(VideoWriter, 'write', fail)
    (result,) = write([Media(CAMERA, 'camera_0', 'camera 0', camera=0)], tmp_path)
    assert result.unwritten == ['camera_0_annotated.mp4 cannot be written (No space left on device)']
    assert {path.name for path in tmp_path.iterdir()} == set(result.outputs.values())


def test_folders_that_take_short_names_only(tmp_path: Path, monkeypatch: Any) -> None:
    write_image(tmp_path / 'in' / f'{"x" * 200}.png', PHOTO)
    write_image(tmp_path / 'in' / f'{"x" * 201}.png', PHOTO)
    monkeypatch.setattr(os, 'pathconf', lambda path, name: 143)
    results = write(list(find_media(tmp_path / 'in')), tmp_path / 'out')
    names = os.listdir(tmp_path / 'out')
    assert len(names) == 6
    assert max(map(len, names)) <= 143
    assert not any(result.unwritten for result in results)


def test_results_of_a_camera_replace_their_own(tmp_path: Path) -> None:
    for _ in range(2):
        (result,) = write([Media(CAMERA, 'camera_0', 'camera 0', camera=0)], tmp_path)
        assert result.outputs['video'] == 'camera_0_annotated.mp4'
        assert len(list(tmp_path.iterdir())) == 4


def test_hostile_results_remove_and_replace_nothing(folder: Path, tmp_path: Path) -> None:
    """A result may list files elsewhere."""
    victim = tmp_path / 'victim.txt'
    victim.write_text('precious')
    out = tmp_path / 'out'
    out.mkdir()
    source = str(folder / 'photo.png')
    listed = {'json': 'photo.json', 'image': '../victim.txt', 'video': 'other.mp4', 'report': str(victim)}
    text = {'format': 1, 'kind': 'image', 'source': source, 'path': source, 'outputs': listed}
    (out / 'photo.json').write_text(json.dumps(text))
    (out / 'other.mp4').write_text('precious')
    (result,) = write(list(find_media(source)), out)
    assert result.outputs['json'] == 'photo.json'
    assert victim.read_text() == (out / 'other.mp4').read_text() == 'precious'
    (out / 'photo.json').write_text(json.dumps({**text, 'source': 'a\0b', 'path': 'a\0b'}))
    (result,) = write(list(find_media(source)), out)
    assert result.outputs['json'] == 'photo_2.json'


SCRIPT = """
import os, sys
from pathlib import Path
from iid_mm.inference.media import find_media
sys.path.insert(0, os.environ['TESTS'])
from test_inference.test_outputs import write
results = write(list(find_media(sys.argv[1])), Path(sys.argv[2]))
assert not any(result.unwritten for result in results), [result.unwritten for result in results]
print(len(results), [len(result.outputs) for result in results])
"""


@pytest.mark.slow
def test_names_that_are_no_text(tmp_path: Path) -> None:
    """In its own process: OpenCV would crash on such names, and the encoding is chosen at the start."""
    source = tmp_path / os.fsdecode(b'in \xe9')
    clip = write_video(tmp_path / 'x.mp4', [PHOTO] * 3).read_bytes()
    image = write_image(tmp_path / 'x.png', PHOTO).read_bytes()
    source.mkdir()
    for name in (b'caf\xe9', b'12:30', b'x' * 250, '\u89c6'.encode() * 83, b'\xff\xfe\x1b[31m'):
        for suffix, data in ((b'.mp4', clip), (b'.png', image)):
            with open(os.path.join(os.fsencode(source), name + suffix), 'wb') as file:
                file.write(data)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(('LC_', 'PYTHON'))},
        'LC_ALL': 'C',
        'PYTHONUTF8': '0',
        'PYTHONCOERCECLOCALE': '0',
        'OMP_NUM_THREADS': '1',
        'TESTS': str(REPOSITORY / 'tests'),
        'PYTHONPATH': str(REPOSITORY),
    }
    command = [sys.executable, '-c', SCRIPT, str(source), str(source)]
    done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr.decode(errors='replace')[-2000:]
    assert done.stdout == b'10 [4, 3, 4, 3, 4, 3, 4, 3, 4, 3]\n'
    for page in source.glob('*_report.html'):
        page.read_text(encoding='utf-8')
