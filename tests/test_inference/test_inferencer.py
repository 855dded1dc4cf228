# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from av.error import FFmpegError

import iid_mm.inference.inferencer as inferencer_module
from iid_mm.apis import IIDInferencer, init_model
from iid_mm.datasets.forgery_dataset import ForgeryDataset
from iid_mm.errors import InputError
from iid_mm.faces.cropping import CropSettings
from iid_mm.inference.outputs import OutputOptions
from iid_mm.inference.sampling import Sampling, VideoStream
from iid_mm.inference.scorer import FaceScorer
from iid_mm.preparation.driver import RunOptions, prepare
from iid_mm.preparation.settings import Settings
from iid_mm.utils.files import sha256
from iid_mm.utils.sampling import evenly_spaced
from support.media import write_image
from support.paths import REPOSITORY

from .conftest import FACE_SIDE, SquareAnalyzer, draw_frame


@pytest.fixture
def inferencer(checkpoint: Path, analyzer: SquareAnalyzer) -> IIDInferencer:
    return IIDInferencer(weights=checkpoint, analyzer=analyzer, device='cpu', show_progress=False)


@pytest.fixture
def clip(make_video: Callable[..., Path]) -> Path:
    return make_video('clip.mp4', [[(60 + 3 * i, 70, FACE_SIDE)] for i in range(12)])


def test_a_video(inferencer: IIDInferencer, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / 'answers'
    answer = inferencer(clip, out_dir=out, sampling=Sampling(frames=5))
    (prediction,) = answer['predictions']
    assert prediction['status'] == 'scored'
    assert prediction['frames']['analyzed'] == 5
    (track,) = prediction['tracks']
    assert [face['frame'] for face in track['faces']] == evenly_spaced(12, 5)
    for face in track['faces']:
        x0, y0, x1, y1 = face['box']
        # The face's box reaches above the brows, where the square ends.
        assert (x0, x1, y1) == pytest.approx((60 + 3 * face['frame'], 150 + 3 * face['frame'], 160), abs=2)
        assert y0 < 70
    probabilities = [face['probability'] for face in track['faces']]
    assert prediction['verdict']['probability'] == pytest.approx(np.mean(probabilities))
    assert json.loads((out / 'clip.json').read_text()) == prediction
    assert answer['visualization'] == [prediction['outputs']]
    for name in prediction['outputs'].values():
        assert (out / name).stat().st_size > 0
    assert {path.name for path in out.iterdir()} == set(prediction['outputs'].values())


def test_scores_are_those_of_the_prepared_frames(inferencer: IIDInferencer, clip: Path) -> None:
    """Crops made, aligned and scored as in preparation and test."""
    from iid_mm.inference.faces import FaceFollower
    from iid_mm.inference.media import find_media
    from iid_mm.inference.sampling import open_stream

    (prediction,) = inferencer(clip, sampling=Sampling(frames=4), batch_size=3)['predictions']
    scores = []
    follower = FaceFollower(SquareAnalyzer(), CropSettings())
    for frame in open_stream(find_media(clip)[0], Sampling(frames=4)):
        (found,) = follower.find(frame)
        packed = inferencer.pipeline({'img': found.crop, 'landmarks': found.landmarks})
        image = packed['inputs'][None].float()
        logits, _ = inferencer.model(image, mode='tensor')
        scores.append(float(logits.softmax(1)[0, 1]))
    found_scores = [face['probability'] for face in prediction['tracks'][0]['faces']]
    assert found_scores == pytest.approx(scores, abs=1e-5)
    assert len(set(np.round(found_scores, 4))) > 1


def test_images_and_faceless_ones(inferencer: IIDInferencer, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), draw_frame([(30, 60, 80), (200, 70, 70)]))
    cv2.imwrite(str(tmp_path / 'b.png'), draw_frame([]))
    (tmp_path / 'c.png').write_bytes(b'broken')
    out = tmp_path / 'out'
    found = inferencer(tmp_path, out_dir=out)['predictions']
    assert [item['status'] for item in found] == ['scored', 'no_face', 'unreadable']
    assert len(found[0]['tracks']) == 2
    assert found[1]['verdict'] is None
    assert 'cannot be read' in found[2]['problems'][0]
    assert {path.name for path in out.iterdir()} == {
        *('a.json', 'b.json', 'c.json', 'a_annotated.jpg', 'b_annotated.jpg')
    }


def test_a_changing_size_and_no_outputs(inferencer: IIDInferencer, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    options = OutputOptions(annotate=False, timeline=False)
    inferencer(clip, out_dir=out, outputs=options)
    assert [path.name for path in out.iterdir()] == ['clip.json']


def test_artifact_boxes_lie_on_the_face(inferencer: IIDInferencer, clip: Path) -> None:
    (result,) = inferencer(clip, return_datasamples=True, sampling=Sampling(frames=2))['predictions']
    boxes = [artifact.box for face in result.tracks[0].faces for artifact in face.artifacts]
    for x0, y0, x1, y1 in boxes:
        assert -100 < x0 < x1 < 420
        assert -100 < y0 < y1 < 340
    view = result.tracks[0].views[0]
    assert view.image.shape == (112, 112, 3)
    assert view.heat is not None
    assert view.heat.shape == (112, 112)


def test_the_same_with_the_config_given(
    inferencer: IIDInferencer, checkpoint: Path, tiny_config: Path, clip: Path
) -> None:
    other = IIDInferencer(tiny_config, checkpoint, 'cpu', analyzer=SquareAnalyzer(), show_progress=False)
    results = [one(clip)['predictions'][0] for one in (inferencer, other)]
    assert results[0]['tracks'] == results[1]['tracks']
    assert results[0]['model']['config'] == 'stored in the checkpoint'


def test_calibration_in_the_checkpoint(checkpoint: Path, clip: Path, tmp_path: Path) -> None:
    from iid_mm.evaluation.statistics.calibration import TemperatureFit
    from iid_mm.inference.calibration import Calibration

    fit = TemperatureFit(2.0, 4, 2, 0.5, 0.4, 0.2, 0.1)
    content = torch.load(checkpoint, weights_only=True)
    content['meta']['calibration'] = Calibration(fit, fit, 'data').as_dict()
    torch.save(content, tmp_path / 'calibrated.pth')
    made = IIDInferencer(
        weights=tmp_path / 'calibrated.pth', analyzer=SquareAnalyzer(), device='cpu', show_progress=False
    )
    verdict = made(clip)['predictions'][0]['verdict']
    odds = verdict['probability'] / (1 - verdict['probability'])
    assert verdict['calibrated_probability'] == pytest.approx(odds**0.5 / (1 + odds**0.5), abs=1e-6)


def test_bad_input(checkpoint: Path, inferencer: IIDInferencer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match='weights: name a checkpoint'):
        IIDInferencer('iid_effb4_ffpp')
    with pytest.raises(FileNotFoundError, match=r'gone\.pth does not exist'):
        IIDInferencer(weights='gone.pth')
    with pytest.raises(
        FileNotFoundError, match=r'config nothing does not exist; known names: .*iid_effb4_ffpp'
    ):
        IIDInferencer('nothing', checkpoint)
    with pytest.raises(InputError, match='threshold=1'):
        IIDInferencer(weights=checkpoint, threshold=1)
    with pytest.raises(InputError, match="backend='tensorrt'"):
        IIDInferencer(weights=checkpoint, backend='tensorrt')
    with pytest.raises(InputError, match='precomputed'):
        IIDInferencer(weights=checkpoint, analyzer='precomputed')
    with pytest.raises(FileNotFoundError, match='does not exist'):
        inferencer(tmp_path / 'gone.mp4', out_dir=tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    (tmp_path / 'file').touch()
    cv2.imwrite(str(tmp_path / 'a.png'), draw_frame([]))
    with pytest.raises(InputError, match=r'output folder .* cannot be written'):
        inferencer(tmp_path / 'a.png', out_dir=tmp_path / 'file')
    with pytest.raises(InputError, match="aggregation='sum'"):
        inferencer(tmp_path / 'a.png', aggregation='sum')


def test_an_exported_model_gives_the_same_answer(
    inferencer: IIDInferencer, checkpoint: Path, tiny_config: Path, clip: Path, tmp_path: Path
) -> None:
    pytest.importorskip('onnx', reason="needs the extra 'onnx'")
    pytest.importorskip('onnxruntime', reason="needs the extra 'onnx'")
    import runpy
    import sys

    from iid_mm.utils.cli import run_tool

    out = tmp_path / 'tiny.onnx'
    tool = runpy.run_path(str(REPOSITORY / 'tools/deployment/export_onnx.py'), run_name='tool')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['tool', str(tiny_config), str(checkpoint), str(out)])
        assert run_tool(tool['main']) == 0
    other = IIDInferencer(weights=out, device='cpu', analyzer=SquareAnalyzer(), show_progress=False)
    found, expected = (one(clip, return_datasamples=True)['predictions'][0] for one in (other, inferencer))
    assert found.probability == pytest.approx(expected.probability, abs=1e-4)
    for mine, theirs in zip(found.tracks[0].faces, expected.tracks[0].faces, strict=True):
        assert mine.probability == pytest.approx(theirs.probability, abs=1e-4)
        assert len(mine.artifacts) == len(theirs.artifacts)
    assert found.model['backend'] == 'onnxruntime'
    assert found.tracks[0].views[0].heat is not None


def test_prepared_video_gives_the_scores_of_test(
    checkpoint: Path, tiny_config: Path, tmp_path: Path, make_video: Callable[..., Path], monkeypatch: Any
) -> None:
    """A prepared video gets the same scores from the model and from the inferencer."""
    from iid_mm.preparation import driver, pool

    source = make_video('set/fake/clip.mp4', [[(60 + 3 * i, 70, FACE_SIDE)] for i in range(12)])
    make_video('set/real/other.mp4', [[(80 + 2 * i, 60, FACE_SIDE)] for i in range(12)])
    assert source.is_file()
    monkeypatch.setattr(pool, 'build_analyzer', lambda options, root: SquareAnalyzer())
    monkeypatch.setattr(driver, 'check_analyzer', lambda options: '1')
    out = tmp_path / 'prepared'
    settings = Settings('folder', 'native', None, 'mediapipe', '1', frames=6)
    prepare(tmp_path / 'set', out, settings, RunOptions(progress=False))
    dataset = ForgeryDataset(
        out / 'index.parquet', split='test', pipeline=_test_pipeline(tiny_config), test_mode=True
    )
    model = init_model(tiny_config, checkpoint)
    expected: dict[str, list[float]] = {}
    for sample in (dataset[i] for i in range(len(dataset))):
        (scored,) = model.test_step({'inputs': [sample['inputs']], 'data_samples': [sample['data_samples']]})
        expected.setdefault(Path(scored.video_key).name, []).append(float(scored.pred_score[1]))
    made = IIDInferencer(weights=checkpoint, analyzer=SquareAnalyzer(), device='cpu', show_progress=False)
    for name, path in (('clip', source), ('other', tmp_path / 'set/real/other.mp4')):
        (prediction,) = made(path, sampling=Sampling(frames=6))['predictions']
        scores = [face['probability'] for face in prediction['tracks'][0]['faces']]
        assert scores == pytest.approx(expected[name], abs=1e-4)
        assert len(scores) == 6


def _test_pipeline(config: Path) -> Any:
    from iid_mm.utils.config import load_config

    return load_config(config).test_dataloader.dataset.pipeline


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        (MemoryError(), 'not enough memory'),
        (OSError(24, 'Too many open files'), 'Too many open files'),
        (FFmpegError(5, 'Input/output error'), 'Input/output error'),
        (RuntimeError('a defect\x1b[2J'), 'RuntimeError: a defect%1B[2J'),
    ],
)
@pytest.mark.parametrize('where', ['open_stream', 'score'])
def test_an_input_that_fails_ends_only_itself(
    where: str, error: Exception, reason: str, inferencer: IIDInferencer, tmp_path: Path, monkeypatch: Any
) -> None:
    for name in ('a.png', 'b.png', 'c.png'):
        write_image(tmp_path / name, draw_frame([(30, 60, 80)]))
    calls = []
    target = {'open_stream': inferencer_module, 'score': FaceScorer}[where]
    real = getattr(target, where)

    def fail_once(*args: Any, **more: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise error
        return real(*args, **more)

    monkeypatch.setattr(target, where, fail_once)
    out = tmp_path / 'out'
    found = inferencer(tmp_path, out_dir=out)['predictions']
    assert [item['status'] for item in found] == ['scored', 'unreadable', 'scored']
    assert found[1]['problems'] == [f'the analysis failed ({reason})']
    assert json.loads((out / 'b.json').read_text()) == found[1]
    assert {path.name for path in out.iterdir()} == {
        *('a.json', 'b.json', 'c.json', 'a_annotated.jpg', 'c_annotated.jpg')
    }
    calls.clear()
    with pytest.raises(type(error)):
        inferencer(tmp_path, out_dir=out, keep_going=False)
    calls.clear()
    monkeypatch.setenv('IID_DEBUG', '1')
    with pytest.raises(type(error)):
        inferencer(tmp_path, out_dir=out)


def test_a_reader_that_fails_midway_keeps_what_was_seen(
    inferencer: IIDInferencer, clip: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    real = VideoStream.__iter__

    def fail_midway(self: VideoStream) -> Any:
        yield from itertools.islice(real(self), 3)
        raise MemoryError

    monkeypatch.setattr(VideoStream, '__iter__', fail_midway)
    (prediction,) = inferencer(clip, out_dir=tmp_path / 'out')['predictions']
    assert prediction['status'] == 'scored'
    assert prediction['frames']['analyzed'] == 3
    assert 'reading stopped (not enough memory)' in prediction['problems']
    assert any('clip_annotated.mp4 cannot be written' in text for text in prediction['problems'])


def test_the_progress_callback_may_end_an_analysis(
    inferencer: IIDInferencer, clip: Path, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        raise RuntimeError('stopped')

    with pytest.raises(RuntimeError, match='stopped'):
        inferencer(clip, out_dir=tmp_path / 'out', progress=stop)
    assert list((tmp_path / 'out').iterdir()) == []


def test_an_interruption_keeps_what_is_done(
    inferencer: IIDInferencer, tmp_path: Path, monkeypatch: Any
) -> None:
    for name in ('a.png', 'b.png'):
        write_image(tmp_path / name, draw_frame([(30, 60, 80)]))
    results = inferencer.analyze(tmp_path, out_dir=tmp_path / 'out')
    assert next(iter(results)).status == 'scored'

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FaceScorer, 'score', interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(iter(results))
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'a.json', 'a_annotated.jpg'}


def test_answers_beside_the_inputs(inferencer: IIDInferencer, clip: Path, tmp_path: Path) -> None:
    """A video named like the output of another one is analyzed and not changed."""
    write_image(tmp_path / 'face.png', draw_frame([(30, 60, 80)]))
    clip.with_name('clip_annotated.mp4').write_bytes(clip.read_bytes())
    before = {path: sha256(path) for path in tmp_path.iterdir()}
    runs = [inferencer(tmp_path, out_dir=tmp_path) for _ in range(2)]
    assert {path: sha256(path) for path in before} == before
    names = [Path(item['source']).name for item in runs[0]['predictions']]
    assert names == ['clip.mp4', 'clip_annotated.mp4', 'face.png']
    assert runs[0]['visualization'] == runs[1]['visualization']
    verdicts = [[item['verdict'] for item in run['predictions']] for run in runs]
    assert verdicts[0] == verdicts[1]
    assert verdicts[0][0] == verdicts[0][1] is not None


def test_weights_of_another_model_name_their_file(
    tiny_config: Path, analyzer: SquareAnalyzer, tmp_path: Path
) -> None:
    torch.save({'state_dict': {'w': torch.ones(1)}}, tmp_path / 'other.pth')
    with pytest.raises(InputError, match=r'other\.pth is of another model than the config'):
        IIDInferencer(tiny_config, tmp_path / 'other.pth', 'cpu', analyzer=analyzer, show_progress=False)
