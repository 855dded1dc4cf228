# SPDX-License-Identifier: Apache-2.0
"""The analyzer on insightface, with models of the true signatures that find colored squares."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.faces.analyzers import AnalyzerOptions, build_analyzer, check_analyzer
from iid_mm.faces.analyzers import insightface_models as models
from support.media import write_video
from support.onnx_models import DETECTOR, LANDMARKS, draw_face, face_landmarks, write_models

pytestmark = [
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ('insightface', 'onnxruntime', 'onnx')),
        reason='insightface, onnxruntime or onnx is not installed',
    ),
]
BLUE, GREEN, RED = 0, 1, 2


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(url, timeout):
        raise URLError('no network in tests')

    monkeypatch.setattr(models, 'urlopen', refuse)
    monkeypatch.delenv(models.HOME_VARIABLE, raising=False)


@pytest.fixture(scope='session')
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('insightface')
    write_models(folder / 'models' / 'buffalo_l')
    return folder


@pytest.fixture(scope='session')
def analyzer(home):
    return build_analyzer(AnalyzerOptions('insightface', home), Path())


def gray(width=640, height=480) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def square_box(left, top, side) -> np.ndarray:
    """Outer edges of a square, where pixel centers are whole numbers."""
    return np.float32([left, top, left + side, top + side]) - np.float32(0.5)


def assert_face(face, left, top, side, tolerance=0.1):
    np.testing.assert_allclose(face.box, square_box(left, top, side), atol=tolerance)
    np.testing.assert_allclose(face.landmarks, face_landmarks(left, top, side), atol=tolerance)
    assert face.landmarks.shape == (68, 2)
    assert face.landmarks.dtype == face.box.dtype == np.float32


def test_several_faces(analyzer):
    image = gray()
    draw_face(image, 100, 200, 120, RED)
    draw_face(image, 400, 50, 60, GREEN)
    draw_face(image, 500, 300, 90, BLUE)
    red, green, blue = analyzer.analyze(image)
    assert_face(red, 100, 200, 120)
    assert_face(green, 400, 50, 60)
    assert_face(blue, 500, 300, 90)
    assert [face.score for face in (red, green, blue)] == pytest.approx([0.946, 0.893, 0.845], abs=2e-3)
    assert analyzer.seconds.keys() == {'detection', 'landmarks'}


def test_no_face(analyzer):
    assert analyzer.analyze(gray()) == []
    assert analyzer.analyze(gray(40, 30), np.float32([0, 0, 10, 10])) == []
    dim = gray()
    draw_face(dim, 100, 200, 120, RED, value=120)
    assert analyzer.analyze(dim) == []


@pytest.mark.parametrize('size', [(640, 480), (480, 640), (300, 300), (1920, 1080), (1080, 1920), (333, 517)])
def test_images_of_any_shape_fit_into_the_square_input(analyzer, size):
    image = gray(*size)
    side = min(size) // 4
    left, top = size[0] - side - 7, size[1] - side - 11
    draw_face(image, left, top, side, GREEN)
    (face,) = analyzer.analyze(image)
    # The box is known to a part of a pixel of the 640 px input.
    assert_face(face, left, top, side, tolerance=max(size) / 640)


@pytest.mark.parametrize('size', [(1, 1), (3, 2), (2000, 3), (1, 40)])
def test_images_that_show_no_face_at_all(analyzer, size):
    assert analyzer.analyze(gray(*size)) == []
    assert analyzer.analyze(gray(*size), np.float32([0, 0, 2, 2])) == []


def test_close_up(analyzer):
    """Too large for the large input of the detector, found in the small one."""
    image = gray(300, 300)
    draw_face(image, 5, 8, 285, RED)
    (face,) = analyzer.analyze(image)
    assert_face(face, 5, 8, 285, tolerance=1.5)


def test_small_face_far_from_the_origin(analyzer):
    """Seven pixels of the 640 px input, which the detector misses, but 20 of the part around it."""
    image = gray(1920, 1080)
    draw_face(image, 1700, 900, 20, GREEN)
    assert analyzer._detect(image, (128, 640), 0.5) == []
    (face,) = analyzer.analyze(image)
    assert_face(face, 1700, 900, 20)


def test_hint_chooses_the_face(analyzer):
    image = gray()
    draw_face(image, 100, 200, 60, RED)
    draw_face(image, 200, 200, 60, BLUE)
    (face,) = analyzer.analyze(image, square_box(195, 210, 66))
    assert_face(face, 200, 200, 60)
    assert face.score == pytest.approx(0.85, abs=0.01)
    (face,) = analyzer.analyze(image, square_box(110, 190, 50))
    assert_face(face, 100, 200, 60)
    assert analyzer.analyze(image, square_box(500, 20, 60)) == []
    # A face of quite another size is somebody else.
    assert analyzer.analyze(image, square_box(-500, -500, 1600)) == []
    assert analyzer.analyze(image, square_box(900, 900, 60)) == []


def test_hint_finds_what_the_search_of_the_image_misses(analyzer):
    image = gray(1920, 1080)
    draw_face(image, 1000, 500, 10, RED)
    assert analyzer.analyze(image) == []
    (face,) = analyzer.analyze(image, square_box(1004, 497, 11))
    assert_face(face, 1000, 500, 10)
    # Near a hint, less evidence is enough.
    image = gray()
    draw_face(image, 100, 200, 120, RED, value=120)
    (face,) = analyzer.analyze(image, square_box(90, 210, 110))
    assert_face(face, 100, 200, 120)
    assert face.score == pytest.approx(0.95 * 120 / 255, abs=0.02)


def test_hint_at_the_edge(analyzer):
    image = gray()
    draw_face(image, 0, 0, 50, GREEN)
    (face,) = analyzer.analyze(image, square_box(-20, -10, 60))
    assert_face(face, 0, 0, 50)


def test_results_do_not_depend_on_the_order(analyzer, home):
    rng = np.random.default_rng(0)
    images = [rng.integers(80, 100, (200 + 40 * i, 300, 3), dtype=np.uint8) for i in range(4)]
    for i, image in enumerate(images):
        draw_face(image, 20 + 30 * i, 50, 60 + i, i % 3)
    forward = [analyzer.analyze(image) for image in images]
    fresh = build_analyzer(AnalyzerOptions('insightface', home), Path())
    backward = [fresh.analyze(image) for image in images[::-1]][::-1]
    for first, second in zip(forward, backward, strict=True):
        assert len(first) == 1
        np.testing.assert_array_equal(first[0].landmarks, second[0].landmarks)
        np.testing.assert_array_equal(first[0].box, second[0].box)
        assert first[0].score == second[0].score


def test_at_most_some_faces(home):
    from iid_mm.faces.analyzers.insightface_analyzer import InsightFaceAnalyzer

    image = gray()
    draw_face(image, 100, 200, 120, BLUE)
    draw_face(image, 400, 50, 60, RED)
    (face,) = InsightFaceAnalyzer(home, 'cpu', max_faces=1).analyze(image)
    assert_face(face, 400, 50, 60)


def test_one_thread_on_the_cpu(analyzer):
    for model in (analyzer._detector, analyzer._landmarks):
        assert model.session.get_providers() == ['CPUExecutionProvider']
        options = model.session.get_session_options()
        assert options.intra_op_num_threads == options.inter_op_num_threads == 1


def test_a_video_from_end_to_end(home, tmp_path):
    from iid_mm.preparation.pool import build_processor
    from iid_mm.preparation.records import VideoGroup
    from iid_mm.preparation.settings import Settings
    from iid_mm.structures.video_record import VideoFile, VideoRecord

    frames = []
    for t in range(6):
        image = gray(320, 240)
        if t != 3:
            draw_face(image, 100 + 4 * t, 80, 64, GREEN)
        frames.append(image)
    path = write_video(tmp_path / 'data' / 'v.mp4', frames)
    key = 'set/real/native/v'
    record = VideoRecord(VideoFile(path), 'set', 'real', 'native', 'v', key, 0, 'test')
    settings = Settings('folder', 'native', None, 'insightface', '', frames=6, margin=0.5)
    options = AnalyzerOptions('insightface', home)
    processor = build_processor(settings, options, tmp_path / 'data', tmp_path / 'out')
    result = processor.process(VideoGroup(key, record))
    assert [row['frame'] for row in result.rows] == [0, 1, 2, 4, 5]
    for row in result.rows:
        x0, y0 = row['crop_window'][:2]
        points = np.reshape(row['landmarks'], (68, 2)) + np.float32([x0, y0])
        # Compression blurs colors over two pixels.
        np.testing.assert_allclose(points, face_landmarks(100 + 4 * row['frame'], 80, 64), atol=1.5)


@pytest.mark.parametrize('inner', ['models/buffalo_l', 'buffalo_l', '.'])
def test_where_models_may_lie(home, tmp_path, monkeypatch, inner):
    files = write_models(tmp_path / inner)
    found = models.find_models(tmp_path)
    assert found.detector.resolve() == (files / DETECTOR).resolve()
    monkeypatch.setenv(models.HOME_VARIABLE, str(tmp_path))
    assert models.find_models(None) == found
    assert models.find_models(home).detector == home / 'models/buffalo_l' / DETECTOR
    monkeypatch.delenv(models.HOME_VARIABLE)
    monkeypatch.setenv('HOME', str(tmp_path))
    assert models.model_home(None) == tmp_path / '.insightface'


def test_version_names_the_models(home, tmp_path):
    text = check_analyzer(AnalyzerOptions('insightface', home))
    digests = [hashlib.sha256((home / 'models/buffalo_l' / n).read_bytes()) for n in (DETECTOR, LANDMARKS)]
    first, second = (digest.hexdigest()[:8] for digest in digests)
    assert text.endswith(f' det_10g:{first} 1k3d68:{second}')


def test_missing_models(tmp_path):
    (tmp_path / 'models/buffalo_l').mkdir(parents=True)
    (tmp_path / 'models/buffalo_l' / DETECTOR).touch()
    options = AnalyzerOptions('insightface', tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        check_analyzer(options)
    text = str(caught.value)
    for part in (
        f"1k3d68.onnx in '{tmp_path}/models/buffalo_l'",
        'no network in tests',
        models.URL,
        '--model-dir',
        'INSIGHTFACE_HOME',
        'non-commercial research only',
    ):
        assert part in text
    assert 'det_10g' not in text
    # Workers do not fetch.
    with pytest.raises(FileNotFoundError) as caught:
        build_analyzer(options, Path())
    assert 'fetching' not in str(caught.value)


class Response(io.BytesIO):
    """An answer of a server."""


def serve(monkeypatch, members, known=()):
    """Answer with a zip file; members are names and contents; ``known`` are released ones."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as content:
        for name, data in members:
            content.writestr(name, data)
    calls = []

    def answer(url, timeout):
        calls.append(url)
        return Response(stream.getvalue())

    monkeypatch.setattr(models, 'urlopen', answer)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in known}
    monkeypatch.setattr(models, 'KNOWN_SHA256', digests)
    return calls


@pytest.mark.parametrize('prefix', ['', 'buffalo_l/', '../../', '/'])
def test_models_are_fetched_once(home, tmp_path, monkeypatch, prefix):
    """Whatever paths the archive has, the two files end up in the folder, and nothing else is written."""
    released = [(name, (home / 'models/buffalo_l' / name).read_bytes()) for name in (DETECTOR, LANDMARKS)]
    members = [(prefix + name, data) for name, data in [*released, ('w600k_r50.onnx', b'x')]]
    calls = serve(monkeypatch, members, released)
    target = tmp_path / 'a' / 'b'
    for _ in range(2):
        check_analyzer(AnalyzerOptions('insightface', target))
    assert calls == [models.URL]
    written = sorted(path for path in tmp_path.rglob('*') if path.is_file())
    assert written == [target / 'models/buffalo_l' / name for name in (LANDMARKS, DETECTOR)]
    assert stat.S_IMODE(os.stat(written[0]).st_mode) == 0o644


def test_a_fetched_file_that_is_not_the_released_one(home, tmp_path, monkeypatch):
    released = [(name, b'released') for name in (DETECTOR, LANDMARKS)]
    serve(monkeypatch, [(DETECTOR, b'other'), (LANDMARKS, b'released')], released)
    with pytest.raises(FileNotFoundError, match=r'det_10g.onnx .* not the released file'):
        models.fetch_models(tmp_path)
    assert [path for path in tmp_path.rglob('*') if path.is_file()] == []


@pytest.mark.parametrize(
    ('name', 'limit', 'message'),
    [
        ('MAX_ARCHIVE', 50, 'more data than expected'),
        ('MAX_FILE', 50, 'more data than expected'),
        ('KNOWN_SHA256', {'c.onnx': ''}, 'holds no c.onnx'),
    ],
)
def test_archives_that_are_refused(tmp_path, monkeypatch, name, limit, message):
    released = [(file, bytes(1000)) for file in (DETECTOR, LANDMARKS)]
    serve(monkeypatch, released, released)
    monkeypatch.setattr(models, name, limit)
    with pytest.raises(FileNotFoundError, match=message):
        models.fetch_models(tmp_path)
    assert [path for path in tmp_path.rglob('*') if path.is_file()] == []


def test_an_answer_that_is_no_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(models, 'urlopen', lambda url, timeout: Response(b'<html>log in first</html>'))
    with pytest.raises(FileNotFoundError, match='not a zip file'):
        models.fetch_models(tmp_path)


@pytest.mark.parametrize('name', [DETECTOR, LANDMARKS])
@pytest.mark.parametrize('content', ['empty', 'text', 'half', 'other'])
def test_damaged_models(home, tmp_path, name, content):
    files = write_models(tmp_path)
    other = LANDMARKS if name == DETECTOR else DETECTOR
    whole = (files / name).read_bytes()
    data = {'empty': b'', 'text': b'version https', 'half': whole[: len(whole) // 2]}
    data['other'] = (files / other).read_bytes()
    (files / name).write_bytes(data[content])
    with pytest.raises(InputError, match=rf"{name}' is (damaged or )?not ") as caught:
        check_analyzer(AnalyzerOptions('insightface', tmp_path))
    assert models.URL in str(caught.value)
    assert '\n' not in str(caught.value)


def test_random_damage_is_told_or_harmless(tmp_path):
    """The libraries read protocol buffers: flipped bytes end in an error message, not in a traceback."""
    files = write_models(tmp_path)
    whole = (files / DETECTOR).read_bytes()
    rng = np.random.default_rng(1)
    texts = []
    for _ in range(25):
        data = bytearray(whole)
        for position in rng.integers(0, len(data), 5):
            data[position] = rng.integers(256)
        (files / DETECTOR).write_bytes(bytes(data))
        try:
            models.load_models(models.find_models(tmp_path), 'cpu')
        except InputError as error:
            texts.append(str(error))
    assert len(texts) > 5
    assert all('det_10g.onnx' in text for text in texts)


def test_devices(home, monkeypatch):
    class Runtime:
        providers = ['CPUExecutionProvider']

        def get_available_providers(self):
            return self.providers

    monkeypatch.setattr(models, 'import_onnxruntime', Runtime)
    assert models.choose_providers('auto') == models.choose_providers('cpu') == ['CPUExecutionProvider']
    with pytest.raises(InputError, match=r"device='cuda': .*CPUExecutionProvider only.*onnxruntime-gpu"):
        check_analyzer(AnalyzerOptions('insightface', home, 'cuda'))
    Runtime.providers = ['TensorrtExecutionProvider', 'CUDAExecutionProvider', 'CPUExecutionProvider']
    for device in ('auto', 'cuda'):
        (name, options), last = models.choose_providers(device)
        assert (name, last) == ('CUDAExecutionProvider', 'CPUExecutionProvider')
        assert options['cudnn_conv_algo_search'] == 'DEFAULT'
    assert models.choose_providers('cpu') == ['CPUExecutionProvider']


def test_cuda_that_does_not_start(home, monkeypatch):
    """Onnxruntime falls back to the CPU by itself, which somebody who asked for the GPU must know."""
    monkeypatch.setattr(models, 'choose_providers', lambda device: ['CPUExecutionProvider'])
    with pytest.raises(InputError, match="device='cuda': onnxruntime cannot use the GPU"):
        models.load_models(models.find_models(home), 'cuda')


@pytest.mark.parametrize('package', ['onnxruntime', 'insightface.model_zoo'])
def test_missing_package(home, monkeypatch, package):
    monkeypatch.setitem(__import__('sys').modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'iid-mm\[insightface\]'"):
        build_analyzer(AnalyzerOptions('insightface', home), Path())


def test_stand_ins_need_onnx(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__('sys').modules, 'onnx', None)
    with pytest.raises(MissingExtraError, match=r'iid-mm\[dev\]'):
        write_models(tmp_path)


def test_stand_ins_have_the_signatures_of_the_true_models(home):
    import onnxruntime

    folder = home / 'models/buffalo_l'
    session = onnxruntime.InferenceSession(folder / DETECTOR, providers=['CPUExecutionProvider'])
    assert [(i.name, i.shape) for i in session.get_inputs()] == [('input.1', [1, 3, '?', '?'])]
    shapes = [output.shape for output in session.get_outputs()]
    assert shapes == [[n, width] for width in (1, 4, 10) for n in (12800, 3200, 800)]
    session = onnxruntime.InferenceSession(folder / LANDMARKS, providers=['CPUExecutionProvider'])
    assert [(i.name, i.shape) for i in session.get_inputs()] == [('data', ['None', 3, 192, 192])]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [('fc1', [1, 3309])]
