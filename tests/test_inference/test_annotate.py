# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from iid_mm.errors import InputError
from iid_mm.inference.annotate import TrackPlaces, VideoWriter, annotate_video
from iid_mm.inference.drawing import draw_faces, plot_timeline
from iid_mm.inference.results import Artifact, FaceScore, MediaResult, PersonTrack


def face(frame: int, left: float, probability: float) -> FaceScore:
    polygon = ((left, 0.0), (left + 4, 0.0), (left + 4, 4.0), (left, 4.0))
    return FaceScore(
        frame, frame / 25, (left, 10, left + 50, 60), 0.9, probability, (Artifact(polygon, 0.8),)
    )


def test_faces_are_interpolated_between_frames() -> None:
    track = PersonTrack(0, [face(10, 100, 0.2), face(20, 200, 0.6)])
    places = TrackPlaces(track, [10, 20])
    found = places.at(13, 0.52)
    assert found is not None
    assert found.box == pytest.approx((130, 10, 180, 60))
    assert found.probability == pytest.approx(0.32)
    assert found.artifacts[0].polygon[0] == pytest.approx((130, 0))
    later = places.at(18, 0.7)
    assert later is not None
    assert later.artifacts[0].polygon[0] == pytest.approx((180, 0))
    assert places.at(10, 0.4) is track.faces[0]


def test_before_the_first_and_after_the_last_analyzed_frame() -> None:
    track = PersonTrack(0, [face(10, 100, 0.2), face(20, 200, 0.6)])
    places = TrackPlaces(track, [10, 20])
    assert places.at(2, 0) is track.faces[0]
    assert places.at(99, 0) is track.faces[1]


def test_a_face_that_is_gone_is_not_drawn() -> None:
    track = PersonTrack(0, [face(10, 100, 0.2), face(30, 200, 0.6)])
    places = TrackPlaces(track, [0, 10, 20, 30, 40])
    assert [places.at(n, 0) is not None for n in (5, 10, 15, 20, 25, 30, 35, 45)] == [
        *(False, True, False, False, False, True, False, False),
    ]


def test_an_annotated_video_has_every_frame(make_video: Callable[..., Path], tmp_path: Path) -> None:
    source = make_video('a.mp4', [[(60 + 4 * i, 80, 60)] for i in range(9)])
    faces = [FaceScore(i, i / 25, (60 + 4 * i, 80, 120 + 4 * i, 140), 0.9, 0.9) for i in (0, 4, 8)]
    result = MediaResult('a', 'a', 'video', 'scored', (320, 240), 9, 25.0, {0: 0, 4: 0.2, 8: 0.3})
    result.tracks = [PersonTrack(0, faces)]
    calls: list[tuple[int, int]] = []
    out = tmp_path / 'out.mp4'
    annotate_video(source, out, result, lambda *now: calls.append(now))
    with av.open(str(out)) as container:
        frames = [frame.to_ndarray(format='bgr24') for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 25
    assert len(frames) == 9
    assert calls[-1] == (9, 9)
    # The left edge of the box is vermilion (B, G, R = 0, 94, 213) where the square begins.
    for number, frame in enumerate(frames):
        assert np.abs(frame[110, 60 + 4 * number].astype(int) - (0, 94, 213)).max() < 60, number
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.mp4', 'out.mp4']


def write_uneven(path: Path, times: list[float], **options: Any) -> Path:
    """A video whose frames are shown at the given seconds."""
    with av.open(str(path), 'w') as container:
        stream: Any = container.add_stream('libx264', rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in options.items():
            setattr(stream, name, value)
        for number, time in enumerate(times):
            image = np.full((48, 64, 3), 30 * number, np.uint8)
            frame: Any = av.VideoFrame.from_ndarray(image, format='bgr24')
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


def empty_result(source: Path) -> MediaResult:
    return MediaResult(source.stem, str(source), 'video', 'no_face', (64, 48), 6, 25.0, {0: 0})


def test_an_annotated_video_keeps_the_times(tmp_path: Path) -> None:
    uneven = [0, 0.04, 0.08, 0.12, 2.12, 4.12]
    source = write_uneven(tmp_path / 'a.mp4', uneven)
    annotate_video(source, tmp_path / 'b.mp4', empty_result(source))
    assert times_of(tmp_path / 'b.mp4') == pytest.approx(uneven, abs=1e-4)


def test_an_annotated_video_has_square_pixels(tmp_path: Path) -> None:
    source = write_uneven(tmp_path / 'a.mp4', [0, 0.04], sample_aspect_ratio=Fraction(2))
    annotate_video(source, tmp_path / 'b.mp4', empty_result(source))
    with av.open(str(tmp_path / 'b.mp4')) as container:
        video = container.streams.video[0]
        assert (video.width, video.height) == (128, 48)
        assert (video.sample_aspect_ratio or 1) == 1


def test_an_annotated_animation(tmp_path: Path) -> None:
    images = [Image.new('RGB', (64, 48), (value, 0, 0)) for value in (0, 120, 240)]
    source = tmp_path / 'a.webp'
    images[0].save(source, save_all=True, append_images=images[1:], duration=[100, 400, 100])
    annotate_video(source, tmp_path / 'b.mp4', empty_result(source))
    assert times_of(tmp_path / 'b.mp4') == pytest.approx([0, 0.1, 0.5], abs=1e-4)


def test_frames_of_another_size_are_not_left_out(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / 'x.mp4', 25)
    for size, time in (((48, 64), 0.0), ((96, 128), 0.04), ((49, 65), 0.04), ((48, 64), 0.08)):
        writer.write(np.full((*size, 3), 100, np.uint8), time)
    writer.close()
    with av.open(str(tmp_path / 'x.mp4')) as container:
        frames = list(container.decode(video=0))
    assert [(frame.width, frame.height) for frame in frames] == [(64, 48)] * 4
    stamps = [frame.pts for frame in frames]
    # A frame with the time of the one before is shown after it.
    assert stamps == sorted(set(stamps))


@pytest.mark.parametrize(
    'name', ['12:30.mp4', 'http:x.mp4', 'a%03d.mp4', 'x' * 251 + '.mp4', 'ä' * 120 + '.mp4']
)
def test_names_of_annotated_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    writer = VideoWriter(Path(name), 25)
    writer.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_video_that_cannot_be_finished(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / ('x' * 300 + '.mp4'), 25)
    writer.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    with pytest.raises(InputError, match='cannot be written'):
        writer.close()
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_video_leaves_nothing(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / 'x.mp4', 25)
    writer.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    writer.close(keep=False)
    assert list(tmp_path.iterdir()) == []
    VideoWriter(tmp_path / 'y.mp4', 25).close()
    assert list(tmp_path.iterdir()) == []


def test_odd_sizes_and_folders_that_are_not_there(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / 'x.mp4', 29.97)
    writer.write(np.zeros((49, 65, 3), np.uint8), 0.0)
    writer.close()
    with av.open(str(tmp_path / 'x.mp4')) as container:
        video = container.streams.video[0]
        assert (video.width, video.height) == (64, 48)
    with pytest.raises(InputError, match=r'gone/x\.mp4 cannot be written'):
        VideoWriter(tmp_path / 'gone' / 'x.mp4', 25)


def test_faces_are_drawn_in_the_color_of_the_verdict() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    for probability, color in ((0.9, (0, 94, 213)), (0.1, (178, 114, 0))):
        drawn = draw_faces(image, [(0, FaceScore(0, 0, (100, 80, 200, 180), 0.9, probability))])
        assert drawn[130, 100].tolist() == list(color)
        assert drawn[130, 150].tolist() == [90] * 3
    assert (image == 90).all()
    # Partly outside of the frame, without a crash, and the tag stays inside.
    drawn = draw_faces(image, [(0, FaceScore(0, 0, (-50, -30, 60, 400), 0.9, 0.9))], name_people=True)
    assert drawn.shape == image.shape


def test_the_most_suspicious_face_of_a_group_is_never_covered() -> None:
    image = np.full((240, 320, 3), 200, np.uint8)
    faces = [(n, FaceScore(0, 0, (60 + 20 * n, 80, 140 + 20 * n, 180), 0.9, 0.9 - 0.4 * n)) for n in range(3)]
    drawn = draw_faces(image, faces, name_people=True)
    np.testing.assert_array_equal(drawn, draw_faces(image, faces[::-1], name_people=True))
    assert not np.array_equal(drawn, draw_faces(drawn, [faces[1]], name_people=True))
    np.testing.assert_array_equal(drawn, draw_faces(drawn, [faces[0]], name_people=True))


def test_artifacts_of_genuine_faces_and_whole_faces_are_not_drawn() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    small = Artifact(((120.0, 100.0), (160.0, 100.0), (160.0, 140.0), (120.0, 140.0)), 0.9)
    whole = Artifact(((100.0, 80.0), (200.0, 80.0), (200.0, 180.0), (100.0, 180.0)), 0.9)
    orange = [0, 159, 230]
    for probability, artifacts, expected in (
        (0.9, (whole, small), orange),
        (0.2, (small,), [90] * 3),
        (0.9, (whole,), [90] * 3),
    ):
        drawn = draw_faces(image, [(0, FaceScore(0, 0, (100, 80, 200, 180), 0.9, probability, artifacts))])
        assert drawn[120, 120].tolist() == expected


def test_timeline_breaks_where_nobody_was_seen() -> None:
    times = [0, 1, 2, 3, 20, 21, 22]
    faces = [FaceScore(i, t, (0, 0, 9, 9), 0.9, 0.4) for i, t in enumerate(times)]
    result = MediaResult('a', 'a', 'video', 'scored', tracks=[PersonTrack(0, faces)])
    axes = plot_timeline(result).axes[1]
    lines = [np.asarray(line.get_xdata()).tolist() for line in axes.lines]
    assert lines[:2] == [[0, 1, 2, 3], [20, 21, 22]]
    assert lines[2] == times
