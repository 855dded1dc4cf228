# SPDX-License-Identifier: Apache-2.0
"""``report.md``: the report for people, made from ``report.json`` and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from iid_mm.reporting.reading import AGGREGATIONS, reading
from iid_mm.reporting.tables import localization_table, main_table
from iid_mm.utils.files import printable
from iid_mm.utils.tables import escaped, markdown_table, percent

METHODS = {'percentile': 'percentiles', 'bca': 'corrected for bias and skewness'}
LEGEND = (
    ('frame AUC, video AUC', 'area under the ROC curve of single faces and of videos; 50 is guessing'),
    ('interval', 'of the video AUC, {confidence} %, {bootstrap}'),
    ('EER', 'equal error rate of videos: the error where false alarms and misses are equally frequent'),
    ('AP', 'average precision of videos; depends on the share of fakes'),
    ('accuracy', 'share of right decisions at the threshold {threshold:.4f}{abstention}'),
    ('TPR at FPR x', 'share of fakes found where at most x of the genuine videos are called fake'),
    ('log loss', 'mean of -log(probability given to the truth), natural logarithm; 0.6931 is a coin'),
    ('calibration error', 'mean distance of score and share of fakes, 15 bins of equal width'),
    ('missing', 'videos of the index that have no score'),
    ('no face', 'videos of the split in which the preparation found no face; ? = not known'),
)


LOCALIZATION_TEXT = (
    'Does the detector look at the manipulated area? Boxes and heat maps against the masks, in percent.',
    "Box AP 50: average precision of boxes that overlap the mask's box by a half. Pointing: share of fakes "
    'whose map is highest inside the mask. Energy: part of the map inside the mask. IoU: overlap of map and '
    "mask at the best cut. Gain: by how much the fake's map fits the mask better than the map of the genuine "
    'frame of the same scene; without a gain the detector looks at faces, not at traces.',
)


def report_text(report: Mapping[str, Any]) -> str:
    """Write a report out.

    Args:
        report: Content of ``report.json``.

    Returns:
        Text in Markdown; the same for the same content.
    """
    checkpoint = report['protocol']['checkpoint']
    lines = [
        f'# Test report: {escaped(checkpoint["file"])}',
        '',
        # A backtick would end the code; no backslash escapes it there.
        f'Made on {escaped(report["run"]["date"])} with `{_code(report["run"]["command"])}`.',
        '',
        'Every metric can be computed again from the scores that are stored beside this text:',
        '`python tools/analysis_tools/verify_report.py FOLDER`.',
        '',
        '## What the test says',
        '',
        *reading(report),
        '',
        '## Metrics',
        '',
        'Percent where not said otherwise. Every manipulation is compared with all genuine videos of its '
        'dataset; AUC, EER, AP and what follows are of videos.',
        '',
        *markdown_table(main_table(report['metrics'])),
        '',
        *_legend(report),
        '',
        *_localization(report),
        *_pictures(report),
        '## Protocol',
        '',
        *(f'* {name}: {escaped(value)}' for name, value in protocol_rows(report)),
        '',
        '### Test sets',
        '',
        *_sets(report),
        '### Files',
        '',
        *markdown_table([['file', 'SHA-256'], *_files(report)]),
        '',
    ]
    return '\n'.join(lines)


def _legend(report: Mapping[str, Any]) -> list[str]:
    options = report['options']
    unit = 'persons' if options['bootstrap_over'] == 'identities' else 'videos'
    values = {
        'confidence': f'{100 * options["confidence"]:g}',
        'bootstrap': f'bootstrap over {unit} ({METHODS[options["interval_method"]]}), '
        f'{options["resamples"]} resamples, seed {options["seed"]}{_fallback(report)}',
        'threshold': report['threshold']['value'],
        'abstention': '; videos without a face count as wrong' if options['missing_as_abstention'] else '',
    }
    return [f'* {name}: {text.format(**values)}' for name, text in LEGEND]


def _fallback(report: Mapping[str, Any]) -> str:
    wanted = report['options']['interval_method']
    methods = {row['intervals']['video_auc']['method'] for row in report['metrics']}
    unit = 'person' if report['options']['bootstrap_over'] == 'identities' else 'video'
    text = '; plain percentiles where that is not possible' if 'percentile' in methods - {wanted} else ''
    if 'newcombe' in methods:
        text += (
            f"; where every resample gives the same AUC (that of 100), or a class has one {unit}, Newcombe's "
            'method 5'
        )
    return text


def _localization(report: Mapping[str, Any]) -> list[str]:
    table = localization_table(report['test_sets'])
    if not table:
        return []
    return ['## Localization', '', *LOCALIZATION_TEXT, '', *markdown_table(table), '']


def _code(text: Any) -> str:
    return printable(text).replace('`', "'")


def _target(name: str) -> str:
    """A file name as target of an image; names that Markdown can hold stay as they are."""
    return name if re.fullmatch(r'[\w./+-]+', name, re.ASCII) else quote(name)


PICTURES = {
    '_roc.png': 'Receiver operating characteristic: fakes found against false alarms, for every threshold.',
    '_det.png': 'Error trade-off: misses against false alarms on scales that spread small rates. Rates too '
    'small for the number of videos lie on the edge.',
    '_scores.png': 'Scores of genuine and fake videos, by manipulation, with the threshold.',
    '_reliability.png': 'Share of fakes among the videos of a score. It depends on how many of the test '
    'videos are fake, so it says nothing on a single video from elsewhere.',
}


def _pictures(report: Mapping[str, Any]) -> list[str]:
    lines = []
    for ending, caption in PICTURES.items():
        names = [name for name in report['files'] if name.endswith(ending)]
        if names:
            lines += [caption, '']
        for name in names:
            title = escaped(name.rsplit('/', 1)[-1][:-4].replace('_', ' '))
            lines += [f'![{title}]({_target(name)})', '']
    return ['## Pictures', '', *lines] if lines else []


def protocol_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The protocol card as name and value."""
    protocol, options, threshold = report['protocol'], report['options'], report['threshold']
    checkpoint, config = protocol['checkpoint'], protocol['config']
    trained = f', epoch {checkpoint["epoch"]}' if checkpoint['epoch'] is not None else ''
    changed = ', '.join(f'{name}={value}' for name, value in config['options'].items())
    alignment = protocol['alignment']
    aligned = 'not known'
    if alignment is not None:
        width, height = alignment['size']
        aligned = f'similarity on 5 points to {width} x {height} px, scale {alignment["scale"]}'
    training = protocol['training_manipulations']
    return [
        ['checkpoint', f'{checkpoint["file"]}{trained}'],
        ['checkpoint SHA-256', checkpoint['sha256']],
        ['checkpoints were chosen by', checkpoint['selection'] or 'not known'],
        ['manipulations in training', _trained_on(training)],
        ['config', f'{config["file"]}{f" with {changed}" if changed else ""}, full text in {config["text"]}'],
        ['config text SHA-256', config['sha256']],
        ['alignment', aligned],
        ['score of a video', AGGREGATIONS[options['aggregation']].format(k=options['top_k'])],
        ['threshold', f'{threshold["value"]:.6f}, {threshold["text"]}{_chosen_on(report)}'],
        ['videos without a face', _abstention(options['missing_as_abstention'])],
        ['seed', str(protocol['seed'])],
        ['device', protocol['device']],
        ['git', protocol['git'] or 'not a checkout'],
        ['versions', ', '.join(f'{name} {found}' for name, found in protocol['libraries'].items())],
    ]


def _trained_on(manipulations: Sequence[str] | None) -> str:
    if manipulations is None:
        return 'all of its index'
    return ', '.join(manipulations) or 'not known'


def _chosen_on(report: Mapping[str, Any]) -> str:
    facts = report['threshold']['validation']
    if facts is None:
        return ''
    return (
        f' ({facts["videos"]} videos, {facts["fake_videos"]} fake; there '
        f'{percent(facts["false_positive_rate"])} % false alarms and '
        f'{percent(facts["false_negative_rate"])} % misses)'
    )


def _abstention(counted: bool) -> str:
    if counted:
        return 'abstentions: wrong in the accuracy, left out of all other metrics'
    return 'left out of all metrics, counted beside them'


def _sets(report: Mapping[str, Any]) -> list[str]:
    lines = []
    validation = [report['validation']] if report['validation'] else []
    for record in [*report['test_sets'], *validation]:
        made = [index['preparation'] or {} for index in record['indices']]
        coverage = record['coverage']
        faces = (f'{m["analyzer"]} {m["analyzer_version"]}' for m in made if 'analyzer' in m)
        crops = (f'margin {m["margin"]}, at most {m["max_side"]} px' for m in made if 'margin' in m)
        facts = [
            ['split', record['split']],
            ['index SHA-256', ', '.join(index['sha256'] for index in record['indices'])],
            ['faces by', _joined(faces)],
            ['crops', _joined(crops)],
            ['compression', ', '.join(coverage['compressions'])],
            ['frames a video', _frames(record, made)],
            ['not prepared (all splits)', _on_disk(coverage)],
        ]
        if record['methods'] is not None:
            facts.insert(1, ['manipulations chosen', ', '.join(record['methods'])])
        lines += [f'**{escaped(record["name"])}**', '']
        lines += [*(f'* {name}: {escaped(value)}' for name, value in facts), '']
    return lines


def _joined(values: Any) -> str:
    return '; '.join(dict.fromkeys(values)) or 'not known'


def _frames(record: Mapping[str, Any], made: Sequence[Mapping[str, Any]]) -> str:
    parts = [f'prepared {_joined(str(m["frames"]) for m in made if "frames" in m)}']
    if record['frames_per_video'] is not None:
        parts.append(f'at most {record["frames_per_video"]} taken')
    if 'frames_a_video' in record:
        found = record['frames_a_video']
        parts.append(f'scored {found["least"]} to {found["most"]}, median {found["median"]:g}')
    return ', '.join(parts)


def _on_disk(coverage: Mapping[str, Any]) -> str:
    """What the preparation of the whole set, all splits, could not take."""
    absent, left_out = coverage['listed_but_absent'], coverage['left_out']
    parts = ['listed but absent: not known' if absent is None else f'{absent} listed videos were absent']
    if left_out:
        reasons = ', '.join(f'{count} {reason}' for reason, count in left_out.items())
        parts.append(f'left out: {reasons}')
    if coverage['without_face'] is None and coverage['without_face_any_split']:
        parts.append(f'{coverage["without_face_any_split"]} without a face in all splits')
    return '; '.join(parts)


def _files(report: Mapping[str, Any]) -> list[list[str]]:
    return [[name, digest] for name, digest in report['files'].items()]
