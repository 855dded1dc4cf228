# SPDX-License-Identifier: Apache-2.0
"""``report.md``, written from ``report.json`` alone, and its tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from iid_mm.reporting.reading import AGGREGATIONS, Metrics, reading, set_title
from iid_mm.utils.files import printable
from iid_mm.utils.tables import UNDEFINED, escaped, markdown_table, percent

UNKNOWN = '?'
LEGEND = (
    ('frame AUC, video AUC', 'area under the ROC curve of single faces and of videos; 50 is guessing'),
    ('interval', 'of the video AUC, {confidence} %, {bootstrap}'),
    ('EER', 'equal error rate of videos: the error rate where false alarms and misses are equally frequent'),
    ('AP', 'average precision of videos; depends on the share of fakes'),
    ('accuracy', 'share of correct decisions at the threshold {threshold:.4f}{abstention}'),
    ('TPR at FPR x', 'share of fakes found where at most x of the genuine videos are called fake'),
    ('log loss', 'mean of -log(probability of the true class), natural logarithm; 0.6931 is a coin toss'),
    ('calibration error', 'mean distance between score and share of fakes, 15 bins of equal width'),
    ('missing', 'videos of the index without a score'),
    ('no face', 'videos of the split in which the preparation found no face; ? = not known'),
)
ABSTENTION = {
    True: 'abstentions: wrong in the accuracy, excluded from all other metrics',
    False: 'excluded from all metrics, counted separately',
}
LOCALIZATION_TEXT = (
    'Does the detector look at the manipulated area? Boxes and heat maps against the masks, in percent.',
    "Box AP 50: average precision of boxes whose overlap (IoU) with the mask's box is at least a half. "
    'Pointing: share of fakes whose map is highest inside the mask. Energy: share of the map inside it. '
    'IoU: overlap of map and mask at the best cut. Gain: how much better the map of the fake fits the mask '
    'than the map of the genuine frame of the same scene; without a gain the detector looks at faces, not at '
    'traces.',
)
PLOTS = {
    '_roc.png': 'Receiver operating characteristic: fakes found against false alarms, for every threshold.',
    '_det.png': 'Detection error trade-off: misses against false alarms on scales that spread small rates. '
    'Rates too small for the number of videos lie on the edge.',
    '_scores.png': 'Scores of genuine and fake videos, by manipulation, with the threshold.',
    '_reliability.png': 'Share of fakes among the videos of a score. It depends on how many of the test '
    'videos are fake, so it does not apply to a single video from elsewhere.',
}


def _decimal(value: float | None) -> str:
    return UNDEFINED if value is None else f'{value:.4f}'


def _interval(row: Metrics) -> str:
    limits = row['intervals']['video_auc']
    if limits['low'] is None or limits['high'] is None:
        return UNDEFINED
    return f'{percent(limits["low"])} to {percent(limits["high"])}'


def _without_face(row: Metrics) -> str:
    counts = (row['without_face_genuine'], row['without_face_fake'])
    return UNKNOWN if None in counts else str(sum(counts))


COLUMNS: tuple[tuple[str, Callable[[Metrics], str]], ...] = (
    ('frame AUC', lambda row: percent(row['frame_auc'])),
    ('video AUC', lambda row: percent(row['video_auc'])),
    ('interval', _interval),
    ('EER', lambda row: percent(row['video_eer'])),
    ('AP', lambda row: percent(row['video_ap'])),
    ('accuracy', lambda row: percent(row['accuracy'])),
    ('TPR at FPR 1 %', lambda row: percent(row['tpr_at_fpr_1e2'])),
    ('TPR at FPR 0.1 %', lambda row: percent(row['tpr_at_fpr_1e3'])),
    ('log loss', lambda row: _decimal(row['log_loss'])),
    ('calibration error', lambda row: percent(row['calibration_error'])),
    ('videos (fake)', lambda row: f'{row["videos"]} ({row["fake_videos"]})'),
    ('missing', lambda row: str(row['unscored'])),
    ('no face', _without_face),
)
"""Header and format of every column of the main table after the first two."""
LOCALIZATION = (
    ('box AP 50', 'box_ap50'),
    ('pointing', 'pointing'),
    ('pointing gain', 'gain_pointing'),
    ('energy', 'energy'),
    ('energy gain', 'gain_energy'),
    ('IoU', 'iou_best'),
    ('IoU gain', 'gain_iou_best'),
)
"""Headers and names of the metrics in the table of localization."""
BASELINES = (('centered guess', 'center_'), ('chance', 'chance_'))


def main_table(rows: Sequence[Metrics]) -> list[list[str]]:
    """Cells of the main table, the header first; percent where not said otherwise.

    Args:
        rows: Rows of the report, as plain data.
    """
    table = [['dataset', 'manipulation', *(header for header, _ in COLUMNS)]]
    for row in rows:
        cells = [set_title(row, rows), row['manipulation'] or 'overall']
        table.append(cells + [write(row) for _, write in COLUMNS])
    return table


def localization_table(test_sets: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Cells of the table of localization in percent; empty if no set has such metrics.

    Args:
        test_sets: Records of the sets, their metrics by name under ``localization``.
    """
    table = [['dataset', 'manipulation', *(header for header, _ in LOCALIZATION), 'faces with mask']]
    for record in test_sets:
        metrics = record['localization']
        if not metrics:
            continue
        methods = sorted({name.split('/', 2)[2] for name in metrics if name.count('/') >= 2})
        rows = [(method, '', f'/{method}') for method in methods]
        rows += [('overall', '', ''), *((title, prefix, '') for title, prefix in BASELINES)]
        for title, before, after in rows:
            values = [metrics.get(f'localization/{before}{name}{after}') for _, name in LOCALIZATION]
            faces = metrics.get('localization/num_scored') if title == 'overall' else None
            cells = [*map(percent, values), UNDEFINED if faces is None else f'{faces:.0f}']
            table.append([str(record['name']), title, *cells])
    return table if len(table) > 1 else []


def report_text(report: Mapping[str, Any]) -> str:
    """Write a report out.

    Args:
        report: Content of ``report.json``.

    Returns:
        Text in Markdown; the same for the same content.
    """
    checkpoint = report['protocol']['checkpoint']
    command = printable(report['run']['command']).replace('`', "'")
    lines = [
        f'# Test report: {escaped(checkpoint["file"])}',
        '',
        # A backtick would end the code; no backslash escapes it there.
        f'Made on {escaped(report["run"]["date"])} with `{command}`.',
        '',
        'Every metric can be recomputed from the scores in this folder:',
        '`python tools/analysis_tools/verify_report.py FOLDER`.',
        '',
        '## Summary',
        '',
        *reading(report),
        '',
        '## Metrics',
        '',
        'In percent unless stated otherwise. Every manipulation is compared with all genuine videos of its '
        'dataset; all columns after the first AUC are of videos.',
        '',
        *markdown_table(main_table(report['metrics'])),
        '',
        *_legend(report),
        '',
        *_localization(report),
        *_plots(report),
        '## Protocol',
        '',
        *(f'* {name}: {escaped(value)}' for name, value in _protocol(report)),
        '',
        '### Test sets',
        '',
        *_sets(report),
        '### Files',
        '',
        *markdown_table([['file', 'SHA-256'], *map(list, report['files'].items())]),
        '',
    ]
    return '\n'.join(lines)


def _legend(report: Mapping[str, Any]) -> list[str]:
    options = report['options']
    unit = 'persons' if options['bootstrap_over'] == 'identities' else 'videos'
    values = {
        'confidence': f'{100 * options["confidence"]:g}',
        'bootstrap': f'bootstrap over {unit} (corrected for bias and skewness), '
        f'{options["resamples"]} resamples, seed {options["seed"]}{_fallback(report)}',
        'threshold': report['threshold']['value'],
        'abstention': '; videos without a face count as wrong' if options['missing_as_abstention'] else '',
    }
    return [f'* {name}: {text.format(**values)}' for name, text in LEGEND]


def _fallback(report: Mapping[str, Any]) -> str:
    methods = {row['intervals']['video_auc']['method'] for row in report['metrics']}
    unit = 'person' if report['options']['bootstrap_over'] == 'identities' else 'video'
    text = '; plain percentiles where that is not possible' if 'percentile' in methods else ''
    if 'newcombe' in methods:
        text += (
            f'; where all resamples have the same AUC (that of 100), or a class has one {unit}, method 5 of '
            'Newcombe'
        )
    return text


def _localization(report: Mapping[str, Any]) -> list[str]:
    table = localization_table(report['test_sets'])
    if not table:
        return []
    return ['## Localization', '', *LOCALIZATION_TEXT, '', *markdown_table(table), '']


def _target(name: str) -> str:
    """A file name as target of a link; names that need no quoting stay as they are."""
    return name if re.fullmatch(r'[\w./+-]+', name, re.ASCII) else quote(name)


def _plots(report: Mapping[str, Any]) -> list[str]:
    lines = []
    for ending, caption in PLOTS.items():
        names = [name for name in report['files'] if name.endswith(ending)]
        if names:
            lines += [caption, '']
        for name in names:
            title = escaped(name.rsplit('/', 1)[-1][:-4].replace('_', ' '))
            lines += [f'![{title}]({_target(name)})', '']
    return ['## Plots', '', *lines] if lines else []


def _protocol(report: Mapping[str, Any]) -> list[list[str]]:
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
        ['checkpoint chosen by', checkpoint['selection'] or 'not known'],
        ['manipulations in training', _trained_on(training)],
        ['config', f'{config["file"]}{f" with {changed}" if changed else ""}, full text in {config["text"]}'],
        ['config text SHA-256', config['sha256']],
        ['alignment', aligned],
        ['score of a video', AGGREGATIONS[options['aggregation']].format(k=options['top_k'])],
        ['threshold', f'{threshold["value"]:.6f}, {threshold["text"]}{_chosen_on(report)}'],
        ['videos without a face', ABSTENTION[bool(options['missing_as_abstention'])]],
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
            ['face analyzer', _joined(faces)],
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
        parts.append(f'at most {record["frames_per_video"]} used')
    if 'frames_a_video' in record:
        found = record['frames_a_video']
        parts.append(f'scored {found["least"]} to {found["most"]}, median {found["median"]:g}')
    return ', '.join(parts)


def _on_disk(coverage: Mapping[str, Any]) -> str:
    """Videos that the preparation of the whole set, all splits, left out."""
    absent, left_out = coverage['listed_but_absent'], coverage['left_out']
    parts = ['listed but absent: not known' if absent is None else f'{absent} listed videos were absent']
    if left_out:
        reasons = ', '.join(f'{count} {reason}' for reason, count in left_out.items())
        parts.append(f'left out: {reasons}')
    if coverage['without_face'] is None and coverage['without_face_any_split']:
        parts.append(f'{coverage["without_face_any_split"]} without a face in all splits')
    return '; '.join(parts)
