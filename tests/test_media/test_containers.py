# SPDX-License-Identifier: Apache-2.0
"""Malicious videos: what they may open and cost; and the choice of the stream."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from iid_mm.datasets.functional.distortion import psnr
from iid_mm.errors import InputError
from iid_mm.media import containers, video_reader
from iid_mm.media.containers import (
    MAX_SAMPLES,
    ReadingStopped,
    SourceFile,
    check_sample_counts,
    open_container,
)
from iid_mm.media.video_reader import VideoReader
from support.encoded_videos import HEIGHT, WIDTH, add_stream, corner_pattern, read_frames


@pytest.fixture
def secret(tmp_path, write_gray_video):
    """A video that no other file may lead to."""
    folder = tmp_path / 'private'
    folder.mkdir()
    write_gray_video(folder / 'secret.ts', 5)
    return folder / 'secret.ts'


@pytest.fixture
def server():
    """A server on the loopback that counts who connects; its port and the list of connections."""
    listener = socket.create_server(('127.0.0.1', 0))
    listener.settimeout(0.2)
    seen, done = [], threading.Event()

    def serve():
        while not done.is_set():
            try:
                connection, address = listener.accept()
            except TimeoutError:
                continue
            seen.append(address)
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1], seen
    done.set()
    thread.join()
    listener.close()


SCRIPTS = {
    'hls': '#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n',
    'concat': 'ffconcat version 1.0\nfile {}\n',
    'dash': '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" mediaPresentationDuration="PT9S"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{}</BaseURL>'
    '</Representation></AdaptationSet></Period></MPD>',
    'sdp': 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=x:{}\n',
    'asx': '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
    'rtsp': 'rtsptext\n{}\n',
    'svg': '<svg xmlns="http://www.w3.org/2000/svg"><image href="{}"/></svg>',
}


@pytest.mark.parametrize('suffix', ['mp4', 'm3u8', 'ts', 'mkv', 'gif'])
@pytest.mark.parametrize('script', SCRIPTS)
def test_a_script_opens_neither_files_nor_addresses(tmp_path, secret, server, script, suffix, monkeypatch):
    monkeypatch.chdir(tmp_path)
    port, connections = server
    path = tmp_path / f'playlist.{suffix}'
    for target in (f'private/{secret.name}', f'file:{secret}', f'http://127.0.0.1:{port}/x.ts'):
        path.write_text(SCRIPTS[script].format(target))
        reader = VideoReader(path)
        assert dict(reader.read(range(9))) == {}
        assert 'cannot be read' in reader.problem
    assert connections == []


def test_the_scripts_of_this_test_do_open_files(tmp_path, secret, monkeypatch):
    """Without our opening they would lead somewhere; a test that cannot fail is worth nothing."""
    monkeypatch.chdir(tmp_path)
    for name, suffix in (('hls', 'm3u8'), ('concat', 'ffconcat')):
        path = tmp_path / f'a.{suffix}'
        path.write_text(SCRIPTS[name].format(f'private/{secret.name}'))
        with av.open(str(path), options={'safe': '0'} if name == 'concat' else {}) as container:
            assert container.format.name == name
            assert sum(1 for _ in container.decode(video=0)) == 5


@pytest.mark.parametrize(
    'name',
    ['12:30.mp4', 'http:a.mp4', 'file:a.mp4', 'concat:a.mp4', 'subfile,,:a.mp4', 'a%03d.mp4', '%03d.gif'],
)
def test_a_name_is_never_a_url_or_a_pattern(tmp_path, write_gray_video, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name.endswith('.gif'):
        images = [Image.new('L', (16, 16), 40 * number) for number in range(6)]
        images[0].save('plain.gif', save_all=True, append_images=images[1:], duration=100)
    else:
        write_gray_video(tmp_path / 'plain.mp4', 6)
    os.rename(f'plain{name[-4:]}', name)
    # What the pattern would fit.
    (tmp_path / '001.gif').write_bytes(b'')
    reader = VideoReader(Path(name))
    assert (reader.count, reader.problem) == (6, '')
    assert len(dict(reader.read(range(6)))) == 6


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no such names')
def test_a_name_that_is_not_utf8(tmp_path, write_gray_video):
    write_gray_video(tmp_path / 'a.mp4', 3)
    name = os.fsdecode(b'caf\xe9.mp4')
    os.rename(tmp_path / 'a.mp4', tmp_path / name)
    assert len(dict(VideoReader(tmp_path / name).read(range(3)))) == 3


def test_what_is_not_a_file(tmp_path):
    assert 'not a regular file' in VideoReader(tmp_path).problem
    if hasattr(os, 'mkfifo'):
        os.mkfifo(tmp_path / 'pipe.mp4')
        # Opening a pipe would wait for somebody to write.
        assert 'not a regular file' in VideoReader(tmp_path / 'pipe.mp4').problem


def box(kind, *parts):
    body = b''.join(parts)
    return struct.pack('>I4s', len(body) + 8, kind) + body


def full(kind, *parts):
    return box(kind, bytes(4), *parts)


def words(*values):
    return struct.pack(f'>{len(values)}I', *values)


MATRIX = words(1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def track(samples, *, size=1, chunks=(48,), per_chunk=None, stts=None, handler=b'vide', edits=()):
    entry = box(
        b'mp4v', bytes(6), struct.pack('>H', 1), bytes(16), struct.pack('>HH', 16, 16),
        words(0x480000, 0x480000, 0), struct.pack('>H', 1), bytes(32), struct.pack('>Hh', 24, -1),
    )  # fmt: skip
    sizes = words(0, samples) + words(*[1] * samples) if size is None else words(size, samples)
    table = box(
        b'stbl', full(b'stsd', words(1), entry), full(b'stts', words(1, *(stts or (samples, 512)))),
        full(b'stsc', words(1, 1, per_chunk or samples, 1)), full(b'stsz', sizes),
        full(b'stco', words(len(chunks), *chunks)),
    )  # fmt: skip
    media = box(
        b'mdia', full(b'mdhd', words(0, 0, 12800, 64000, 0)), full(b'hdlr', words(0), handler, bytes(13)),
        box(b'minf', full(b'vmhd', bytes(8)), table),
    )  # fmt: skip
    edit = [box(b'edts', full(b'elst', words(len(edits) // 3, *edits)))] if edits else []
    header = full(b'tkhd', words(0, 0, 1, 0, 5000, 0, 0, 0, 0), MATRIX, words(16 << 16, 16 << 16))
    return box(b'trak', header, *edit, media)


def mp4(*tracks, data=bytes(1000)):
    movie = full(
        b'mvhd', words(0, 0, 1000, 5000, 1 << 16), struct.pack('>HH', 256, 0), words(0, 0), MATRIX,
        bytes(24), words(2),
    )  # fmt: skip
    return box(b'ftyp', b'isom', words(512), b'isom') + box(b'mdat', data) + box(b'moov', movie, *tracks)


@pytest.mark.parametrize(
    'data',
    [
        mp4(track(500_000_000)),
        mp4(*[track(MAX_SAMPLES // 3)] * 4),
        mp4(track(100_000, edits=(5000, 0, 1 << 16) * 1000)),
        mp4(track(1 << 31, stts=(1 << 31, 1), handler=b'soun', per_chunk=1 << 31)),
        mp4(track(1), box(b'moof', full(b'mfhd', words(1)), box(b'traf', full(b'trun', words(1 << 28))))),
        mp4(track(1)) + box(b'moof', box(b'traf', full(b'trun', words(1 << 28)))),
        # FFmpeg takes tables from places where they do not belong.
        mp4(box(b'trak', box(b'udta', track(500_000_000)))),
        box(b'junk') + mp4(track(500_000_000)),
        mp4(track(500_000_000)).replace(b'moov', b'free'),
        mp4(track(1)) + track(500_000_000),
    ],
    ids=[
        'constant',
        'tracks',
        'edits',
        'sound',
        'fragment',
        'late fragment',
        'elsewhere',
        'junk',
        'free',
        'top',
    ],
)
def test_a_header_of_a_thousand_bytes_cannot_list_a_hundred_million_samples(tmp_path, data, monkeypatch):
    # Not even opened by FFmpeg, which would take gigabytes.
    monkeypatch.setattr(containers.av, 'open', lambda *_, **__: pytest.fail('opened'))
    path = tmp_path / 'a.mp4'
    path.write_bytes(data)
    reader = VideoReader(path)
    assert reader.count == 0
    assert 'samples; cut it into shorter parts' in reader.problem


def test_honest_headers_pass(tmp_path):
    for data in (
        # A day of video and sound.
        mp4(track(2_592_000), track(4_050_000, handler=b'soun')),
        # Hours of uncompressed sound.
        mp4(
            track(10),
            track(1 << 29, stts=(1 << 29, 1), handler=b'soun', chunks=range(20_000), per_chunk=24_000),
        ),
        mp4(track(216_000, edits=(5000, 0, 1 << 16) * 20)),
        b'RIFF....AVI ',
        b'',
    ):
        path = tmp_path / 'a.mp4'
        path.write_bytes(data)
        with SourceFile(path) as file:
            check_sample_counts(file, file.size)


def test_a_compressed_header_is_refused(tmp_path):
    (tmp_path / 'a.mov').write_bytes(box(b'moov', box(b'cmov', box(b'dcom', b'zlib'))))
    assert 'its header is compressed' in VideoReader(tmp_path / 'a.mov').problem


def test_parts_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, '_MAX_BOXES', 100)
    (tmp_path / 'a.mp4').write_bytes(mp4(track(1)) + box(b'free') * 200)
    assert 'more than 100 parts' in VideoReader(tmp_path / 'a.mp4').problem
    monkeypatch.setattr(containers, '_MAX_HEADER', 100)
    (tmp_path / 'a.mp4').write_bytes(mp4(track(1)))
    assert 'header has more than' in VideoReader(tmp_path / 'a.mp4').problem


def test_samples_that_lie_on_each_other_are_not_read_over_and_over(tmp_path, monkeypatch):
    # 20 000 samples of 1 MB in a file of 1 MB: 20 GB.
    path = tmp_path / 'a.mp4'
    path.write_bytes(mp4(track(20_000, size=1 << 20, chunks=[48] * 20_000, per_chunk=1), data=bytes(1 << 20)))
    read = []
    whole = SourceFile.read
    monkeypatch.setattr(SourceFile, 'read', lambda file, size=-1: read.append(size) or whole(file, size))
    reader = VideoReader(path)
    assert reader.count == 0
    assert 'refer to the same data over and over' in reader.problem
    assert sum(read) < 400 << 20


def test_samples_far_apart_are_not_read_for_ever(tmp_path, monkeypatch):
    # Each of a byte, but each time a buffer of 32 KB is read.
    monkeypatch.setattr(containers, '_LEAST_READS', 1 << 20)
    places = [48 + number * 7919 * 4096 % (4 << 20) for number in range(20_000)]
    path = tmp_path / 'a.mp4'
    path.write_bytes(mp4(track(20_000, chunks=places, per_chunk=1), data=bytes(4 << 20)))
    reader = VideoReader(path)
    assert reader.count == 0
    assert 'refer to the same data over and over' in reader.problem


def test_too_many_frames(tmp_path, monkeypatch, write_gray_video):
    monkeypatch.setattr(video_reader, 'MAX_FRAMES', 20)
    write_gray_video(tmp_path / 'a.mp4', 21)
    reader = VideoReader(tmp_path / 'a.mp4')
    assert reader.count == 0
    assert 'it has more than 20 frames or ' in reader.problem
    write_gray_video(tmp_path / 'b.mp4', 20)
    assert VideoReader(tmp_path / 'b.mp4').problem == ''


def test_a_long_video_is_opened(tmp_path):
    # Two hours: listed in full, with a size for each sample.
    path = tmp_path / 'a.mp4'
    path.write_bytes(mp4(track(200_000, size=None), data=bytes(200_000)))
    reader = VideoReader(path)
    assert (reader.count, reader.problem) == (200_000, '')
    assert reader.times[-1] == 199_999 * 512 / 12800


def test_opening_and_reading_can_be_stopped(tmp_path, write_gray_video):
    path = tmp_path / 'a.mp4'
    write_gray_video(path, 60, options={'g': '60'})
    with pytest.raises(ReadingStopped):
        VideoReader(path, should_stop=lambda: True)
    asked = []
    VideoReader(path, should_stop=lambda: bool(asked.append(1)))
    for moment in (len(asked) // 2, len(asked) - 1):
        left = iter([False] * moment)
        with pytest.raises(ReadingStopped):
            VideoReader(path, should_stop=lambda left=left: next(left, True))
    stop = False
    reader = VideoReader(path, should_stop=lambda: stop)
    images = reader.read(range(60))
    next(images)
    stop = True
    with pytest.raises(ReadingStopped):
        list(images)
    assert reader.decoded < 60


def test_counting_by_decoding_is_bounded(tmp_path, write_gray_video, monkeypatch):
    # H.264 with B frames in AVI has no usable time stamps: frames are counted as they come.
    write_gray_video(tmp_path / 'a.avi', 40)
    whole = VideoReader(tmp_path / 'a.avi')
    assert (whole.count, whole.decoded) == (40, 40)
    monkeypatch.setattr(video_reader, '_COUNTED_PIXELS', 10 * 64 * 48)
    reader = VideoReader(tmp_path / 'a.avi')
    assert reader.count == 40
    assert reader.decoded < 30
    sound = dict(whole.read(range(40)))
    for number, image in reader.read(range(40)):
        assert psnr(image, sound[number]) > 90
    np.testing.assert_allclose(reader.times, np.arange(40) / 25)


def test_an_unreadable_file_is_said_to_be(tmp_path):
    with pytest.raises(InputError, match='not a regular file'), open_container(tmp_path):
        pass


def two_streams(path, *, default):
    with av.open(str(path), 'w') as container:
        small, large = (add_stream(container, size=size) for size in ((16, 16), (WIDTH, HEIGHT)))
        for number, stream in enumerate((small, large)):
            stream.disposition = Disposition.default if number in default else Disposition(0)
        for _ in range(3):
            container.mux(small.encode(av.VideoFrame.from_ndarray(corner_pattern(16, 16), format='bgr24')))
            container.mux(large.encode(av.VideoFrame.from_ndarray(corner_pattern(), format='bgr24')))
        container.mux(small.encode())
        container.mux(large.encode())
    return path


@pytest.mark.parametrize(
    ('default', 'shape', 'number'),
    [((1,), (32, 48, 3), 2), ((0,), (16, 16, 3), 1), ((0, 1), (32, 48, 3), 2), ((), (32, 48, 3), 2)],
)
def test_the_stream_that_players_show(tmp_path, default, shape, number):
    reader, images = read_frames(two_streams(tmp_path / 'a.mkv', default=default))
    assert images[1].shape == shape
    assert reader.problem == f'holds 2 videos, of which number {number} was read'


def write_cover(path, *, video):
    with av.open(str(path), 'w') as container:
        cover = add_stream(container, 'mjpeg', fmt='yuvj420p', size=(64, 64))
        cover.disposition = Disposition.attached_pic
        film = add_stream(container) if video else None
        sound = container.add_stream('aac', rate=16_000)
        container.mux(cover.encode(av.VideoFrame.from_ndarray(corner_pattern(64, 64), format='bgr24')))
        container.mux(cover.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format='fltp', layout='mono')
        silence.sample_rate = 16_000
        container.mux(sound.encode(silence))
        for _ in range(3 if film else 0):
            container.mux(film.encode(av.VideoFrame.from_ndarray(corner_pattern(), format='bgr24')))
        for stream in (sound, film):
            if stream is not None:
                container.mux(stream.encode())
    return path


def test_a_cover_is_no_video(tmp_path):
    reader = VideoReader(write_cover(tmp_path / 'a.mp4', video=False))
    assert (reader.count, reader.problem) == (0, 'holds a cover image and no video')
    reader, images = read_frames(write_cover(tmp_path / 'b.mp4', video=True))
    assert images[1].shape == (32, 48, 3)
