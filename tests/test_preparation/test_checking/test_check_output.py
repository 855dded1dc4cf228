# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.preparation.checking.findings import Finding, FindingList, plural
from iid_mm.preparation.checking.output import _choose, draw_sheet, print_result, summarize
from iid_mm.preparation.checking.prepared_set import load_set
from iid_mm.visualization.contact_sheet import SheetRow, SheetSample, contact_sheet, draw_landmarks
from iid_mm.visualization.drawing import BLUE, VERMILION
from support.paths import REPOSITORY


@pytest.fixture
def good(tiny):
    tiny.pair('000', '003', 'train')
    tiny.pair('001', '004', 'test')
    return tiny


def run_tool(*arguments):
    return subprocess.run(
        [sys.executable, str(REPOSITORY / 'tools/check_data.py'), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# Findings


def test_findings_are_sorted_and_shortened():
    findings = FindingList()
    findings.add('no-report', 'w', count=1, problem='gone')
    findings.add('copy-in-two-splits', 'w', range(9))
    findings.add('genuine-with-pair', 'w')
    findings.add('frames-given-up', 'w', count=1, severity='error', share='')
    error, other, note = findings
    assert (error.severity, error.message) == (
        'error',
        '9 pairs of byte-identical images in different splits',
    )
    assert (error.count, error.examples) == (9, ('0', '1', '2', '3', '4'))
    assert error.remedy.startswith('a test image is seen in training')
    assert (other.severity, other.message) == ('error', '1 frame given up')
    message = 'gone: what was left out is unknown'
    remedy = 'keep report.json with the index, or prepare the set again'
    assert note == Finding('note', 'no-report', 'w', message, 1, (), remedy)


def test_plural():
    assert [plural(n, w) for n, w in ((1, 'row'), (2, 'row'), (0, 'identity'))] == [
        '1 row',
        '2 rows',
        '0 identities',
    ]


# Text


def text_of(result, **kwargs):
    stream = io.StringIO()
    print_result(result, file=stream, **kwargs)
    return stream.getvalue()


def test_log_is_plain_text(good, check):
    (good.root / good.rows[0]['image']).unlink()
    text = text_of(check(good.write()))
    assert '\x1b' not in text
    assert text.isascii()
    assert '| youtube        | genuine | 1 of 720 | 0 of 140 | 1 of 140 |      4 |' in text.splitlines()
    (line,) = [line for line in text.splitlines() if line.startswith('error: ') and 'missing-image' in line]
    assert line.endswith('1 row with an image that is missing [missing-image]')
    assert '    frames/ffpp/youtube/c23/000/00000.png: there is no such file' in text.splitlines()
    end = '8 rows of 4 videos, images of 8 rows decoded: 2 errors, 0 warnings, 1 note: FAILED'
    assert text.splitlines()[-1] == end


def test_long_names_are_not_cut_in_logs(make_tiny, check):
    tiny = make_tiny('long', dataset='deeperforensics', compression='native')
    name = 'end_to_end_mix_2_distortions'
    tiny.video(name, '000_M101', 'test', target='000', source='M101', images=False)
    text = text_of(check(tiny.write(), images=False))
    line = f'| {name} | fake  | 0 of 703 | 0 of 96 | 1 of 201 |      2 |'
    assert line in text.splitlines()


def test_names_are_not_taken_for_markup(make_tiny, check):
    tiny = make_tiny('odd', dataset='[bold]set[/nothing]', compression='native')
    tiny.video(':smile:', 'a', 'train', images=False)
    text = text_of(check(tiny.write(), images=False))
    assert '[bold]set[/nothing] (native)' in text
    assert '| :smile: | genuine' in text
    assert ': videos found\n' in text


def test_names_cannot_steer_a_terminal_or_break_a_table(make_tiny, check):
    tiny = make_tiny('odd', dataset='se\nt', compression='native')
    (row, *_) = tiny.video('re\x1b[2Jal', 'a', 'train', images=False)
    row['image'] = 'frames/\x1b]0;title\x07.png'
    result = check(tiny.write())
    for text in (text_of(result), summarize(result.sets, result.counts)):
        assert '\x1b' not in text
        assert '\x07' not in text
        assert 'se\nt' not in text
    assert 'frames/%1B]0;title%07.png' in text_of(result)


def test_strict_verdict(good, check):
    result = check(good.write(), images=False)
    assert text_of(result).splitlines()[-1].endswith('1 note: passed')
    assert (
        text_of(result, strict=True)
        .splitlines()[-1]
        .endswith('FAILED (--strict: videos of an official set are missing)')
    )


# Summary


def cells(table):
    """Cells of a Markdown table without its rule."""
    lines = [[cell.strip() for cell in line[1:-1].split(' | ')] for line in table.splitlines()]
    return [lines[0], *lines[2:]]


def test_summary(good, check):
    good.video('Deepfakes', '005_006', 'train', target='005', source='006', frames=1)
    good.rows[0]['crop_window'] = [3, 0, 43, 40]
    report = good.report(
        frames_asked=10, left_out={'x.mp4': 'no split'}, missing=['y.mp4'], settings=good.settings(frames=2)
    )
    result = check(good.write(report=report), images=False)
    datasets, methods, text = summarize(result.sets, result.counts).split('\n\n')
    assert cells(datasets) == [
        [
            *('Dataset', 'Split', 'Genuine videos', 'Fake videos', 'Genuine frames', 'Fake frames'),
            *(
                'Identities',
                'Faces by',
                'Frames a video',
                'Crop margin',
                'Stored as',
                'Frames found',
                'Left out',
            ),
        ],
        [
            *('ffpp (c23)', 'train', '1', '2', '2', '3', '4', 'mediapipe 0.10.14', '1-2 (median 2)', '25 %'),
            *('PNG, up to 320 px', '90.00 %', '1 not used, 1 missing'),
        ],
        [
            *('ffpp (c23)', 'test', '1', '1', '2', '2', '2', 'mediapipe 0.10.14', '2', '25 %'),
            *('PNG, up to 320 px', '90.00 %', '1 not used, 1 missing'),
        ],
    ]
    assert cells(methods) == [
        ['Dataset', 'Compression', 'Method', 'Label', 'Videos, train', 'Videos, val', 'Videos, test'],
        ['ffpp', 'c23', 'youtube', 'genuine', '1 of 720', '0 of 140', '1 of 140'],
        ['ffpp', 'c23', 'Deepfakes', 'fake', '2 of 720', '0 of 140', '1 of 140'],
    ]
    assert text == (
        '**FaceForensics++ (c23).** '
        'Face crops were prepared with iid_mm (layout ffpp, preparation version 2). '
        'Up to 2 evenly spaced frames were taken from each video. '
        'Faces and landmarks were found with mediapipe 0.10.14. '
        'A crop is a square around the face from chin to hairline with 25 % of its longer side added on each '
        'side, clipped to the frame and stored as PNG, up to 320 px. '
        'A face was found in 9 of 10 frames (90.00 %). '
        '4 of 5 fake frames have the genuine frame they were made from as a counterpart. '
        'Videos left out: 1 not used, 1 missing. Videos by split: train 3, test 2. '
        'No identity in more than one split, by the target and source ids of the dataset.\n'
    )


def test_summary_without_settings_and_report(make_tiny, check):
    tiny = make_tiny('set', dataset='my|set', compression='native')
    tiny.video('real', 'a', 'test', images=False)
    result = check(tiny.write(settings={}, report=''), images=False)
    text = summarize(result.sets, result.counts)
    assert cells(text.split('\n\n')[0])[1] == [
        *('my\\|set', 'test', '1', '0', '2', '0', 'unknown', 'not recorded', '2'),
        *['not recorded'] * 4,
    ]
    assert 'is not recorded in the index. Videos by split: test 1. Who is shown is not recorded.' in text


def test_summary_says_what_settings_say(good, check):
    settings = good.settings(
        image_format='jpg', quality=95, val_fraction=0.1, analyzer='precomputed', stills=True
    )
    result = check(good.write(settings=settings), images=False)
    text = summarize(result.sets, result.counts)
    assert 'JPEG quality 95, up to 320 px' in text
    assert '10 % of the training identities were moved to the validation split.' in text
    assert 'The landmarks came with the dataset.' in text
    assert 'Every image counts as a still, not as a frame of a video.' in text


def test_summary_counts_shared_identities(make_tiny, check):
    tiny = make_tiny('set', dataset='celebdf_v2', compression='native')
    tiny.video('Celeb-real', 'id0_0000', 'train', target='id0', images=False)
    tiny.video('Celeb-real', 'id0_0001', 'test', target='id0', images=False)
    result = check(tiny.write(), images=False)
    assert '1 identity in more than one split, by' in summarize(result.sets, result.counts)


def test_summary_of_images_that_were_crops_already(good, check):
    result = check(good.write(), images=False)
    text = summarize(result.sets, result.counts)
    assert cells(text.split('\n\n')[0])[1][7:11] == ['mediapipe 0.10.14', '2', 'none', 'PNG, up to 320 px']
    assert 'The images were face crops already; they were kept whole and stored as PNG, up to 320 px.' in text
    assert 'hairline' not in text


# Sheet


def test_samples_are_spread_over_splits_and_videos(tiny):
    for number in range(9):
        split = 'train' if number < 6 else 'val' if number < 8 else 'test'
        tiny.video('youtube', f'{number:03}', split, target=str(number), frames=4, images=False)
    prepared = load_set(tiny.write())
    rows = _choose(prepared, list(range(9)), 8)
    videos = [prepared.videos[code].name for code in prepared.video_codes[rows]]
    assert videos == ['000', '002', '005', '006', '006', '007', '008', '008']
    assert len(set(rows)) == 8


def test_sheet(good, check):
    result = check(good.write())
    sheet = draw_sheet(result.sets)
    again = draw_sheet([load_set(good.root / 'index.parquet')])
    np.testing.assert_array_equal(sheet, again)
    # Two rows of tiles (genuine, Deepfakes), each with a stripe in the color of its class.
    stripes = [
        [int(np.flatnonzero((sheet == color).all(axis=2).sum(axis=1) > 300)[0])]
        for color in (BLUE, VERMILION)
    ]
    assert stripes[0] < stripes[1]


def test_sheet_shows_unreadable_images(good):
    path = good.write()
    for row in good.rows:
        (good.root / row['image']).unlink()
    assert draw_sheet([load_set(path)]).shape[2] == 3


def test_sheet_of_nothing(tiny):
    prepared = load_set(tiny.write(report=''))
    with pytest.raises(InputError, match='nothing to draw'):
        draw_sheet([prepared])
    with pytest.raises(InputError, match='at least one row'):
        contact_sheet([], 'title')


def test_sheet_leaves_out_what_does_not_fit():
    image = np.zeros((30, 20, 3), np.uint8)
    points = np.full((68, 2), 5, np.float32)
    sample = SheetSample(image, points, ['a', 'b'], image)
    narrow = contact_sheet([SheetRow('t', 'n', True, [sample] * 5)], 'title', columns=5, cell=50)
    # Two pairs of tiles fit into five columns; the fifth stays white.
    assert narrow.shape[1] == 5 * 56 + 6
    assert (narrow[:, 4 * 56 + 6 :][-60:] == 255).all()
    assert not (narrow[:, : 4 * 56][-60:] == 255).all()


def test_landmarks_are_drawn_where_they_are():
    image = np.zeros((60, 60, 3), np.uint8)
    points = np.full((81, 2), 10, np.float32)
    points[80] = (40, 30)
    drawn = draw_landmarks(image, points)
    assert not image.any()
    assert (drawn[30, 40] == 255).all()
    assert (drawn[10, 10] == 255).all()
    assert not drawn[50:, 50:].any()
    points[0] = (1e9, -1e9)
    draw_landmarks(image, points)


# Tool


def test_tool(good, tmp_path):
    path = good.write()
    out = {name: tmp_path / 'out' / name for name in ('sheet.png', 'summary.md', 'result.json')}
    done = run_tool(
        path, '--deep', '--num-workers', '2', '--sheet', out['sheet.png'], '--summary', out['summary.md'],
        '--json', out['result.json'],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'error' not in done.stderr
    assert ': passed' in done.stdout
    assert out['summary.md'].read_text() in done.stdout
    assert cv2.imread(str(out['sheet.png'])) is not None
    result = json.loads(out['result.json'].read_text())
    assert result['numbers'] == {'error': 0, 'warning': 0, 'note': 1}
    assert result['indexes'][0]['splits'] == {'train': 4, 'test': 4}
    assert result['indexes'][0]['settings']['analyzer'] == 'mediapipe'
    assert result['rows_decoded'] == 8
    assert result['findings'][0]['check'] == 'fewer-videos-than-official'
    assert {'method': 'youtube', 'split': 'train', 'found': 1, 'expected': 720}.items() <= result['counts'][
        0
    ].items()


def test_exit_status(good, tmp_path, monkeypatch, capsys):
    sys.path.insert(0, str(REPOSITORY / 'tools'))
    try:
        import check_data
    finally:
        sys.path.pop(0)

    def status(*arguments):
        monkeypatch.setattr(sys, 'argv', ['check_data.py', *map(str, arguments), '--no-progress'])
        code = check_data.start()
        return code, capsys.readouterr()

    path = good.write()
    assert status(path, '--no-images')[0] == 0
    assert status(path, '--no-images', '--strict')[0] == 1
    code, output = status(tmp_path / 'nothing.parquet')
    assert code == 1
    assert output.err.startswith('error: index ')
    (good.root / good.rows[0]['image']).unlink()
    assert status(path)[0] == 1
    assert status(path, '--no-images')[0] == 0
    broken = tmp_path / 'broken.parquet'
    broken.write_bytes(b'PAR1')
    code, output = status(broken, '--sheet', tmp_path / 'sheet.png', '--json', tmp_path / 'result.json')
    assert code == 1
    assert '[invalid-index]' in output.out
    assert not (tmp_path / 'sheet.png').exists()
    assert json.loads((tmp_path / 'result.json').read_text())['numbers']['error'] == 1


def test_workers_load_neither_torch_nor_the_index():
    code = (
        'import runpy, sys\n'
        f'runpy.run_path({str(REPOSITORY / "tools/check_data.py")!r}, run_name="__mp_main__")\n'
        'import iid_mm.preparation.checking.image_decoding\n'
        'print([name for name in ("torch", "mmengine", "pyarrow") if name in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
