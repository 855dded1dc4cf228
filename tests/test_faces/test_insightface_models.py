# SPDX-License-Identifier: Apache-2.0
"""Finding, downloading and loading the models of insightface, with stand-ins of the true signatures."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.faces.analyzers import AnalyzerOptions, build_analyzer, check_analyzer
from iid_mm.faces.analyzers import insightface_models as models
from support.onnx_models import DETECTOR, LANDMARKS, write_models

pytestmark = [
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ('insightface', 'onnxruntime', 'onnx')),
        reason='insightface, onnxruntime or onnx is not installed',
    ),
    pytest.mark.usefixtures('no_network'),
]


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


def serve(monkeypatch, members, known=()):
    """Answer with a zip file; members are names and contents; ``known`` are released ones."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as content:
        for name, data in members:
            content.writestr(name, data)
    calls = []

    def answer(url, timeout):
        calls.append(url)
        return io.BytesIO(stream.getvalue())

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
    monkeypatch.setattr(models, 'urlopen', lambda url, timeout: io.BytesIO(b'<html>log in first</html>'))
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


def test_random_damage_is_reported_or_harmless(tmp_path):
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
