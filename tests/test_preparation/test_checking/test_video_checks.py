# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from iid_mm.preparation.checking.facts import ANY_SPLIT, FACTS, facts_name
from iid_mm.preparation.checking.findings import FindingList
from iid_mm.preparation.checking.prepared_set import Video
from iid_mm.preparation.checking.video_checks import CountRow, check_counts, count_videos


def make(dataset, method, label, split, number, compression='native', first=0):
    """Videos with 3 frames each."""
    return [
        Video(
            key=f'{dataset}/{method}/{compression}/{index}',
            dataset=dataset,
            method=method,
            compression=compression,
            name=str(index),
            label=label,
            split=split,
            target_id=None,
            source_id=None,
            frames=3,
        )
        for index in range(first, first + number)
    ]


def texts(rows):
    return {(row.method, row.split): row.text for row in rows}


def totals(name):
    """Genuine and fake videos of the facts."""
    sums = [0, 0]
    for item in FACTS[name].expected:
        sums[item.label] += sum(item.videos.values())
    return tuple(sums)


def test_totals_are_the_published_ones():
    """From papers and project pages, not from the tables by split that the facts are made of."""
    assert totals('ffpp') == (1000, 5000)
    assert totals('dfd') == (363, 3068)
    assert totals('celebdf_v1') == (408, 795)
    assert totals('celebdf_v2') == (590 + 300, 5639)
    assert totals('dfdc') == (128154 - 104500, 104500)
    assert totals('dfdcp') == (1131, 4119)
    assert totals('deeperforensics') == (0, 11000)
    assert totals('wilddeepfake') == (3805, 3509)
    assert totals('ffiw') == (9988, 9988)


def test_test_sets_are_the_published_ones():
    def test_videos(name):
        return sum(item.videos.get('test', 0) for item in FACTS[name].expected if not item.optional)

    assert test_videos('celebdf_v1') == 100
    assert test_videos('celebdf_v2') == 518
    assert test_videos('dfdc') == 5000
    assert test_videos('wilddeepfake') == 806
    assert test_videos('ffpp') == 5 * 140


@pytest.mark.parametrize(
    ('name', 'known'),
    [
        ('ffpp', 'ffpp'),
        ('FaceForensics++', 'ffpp'),
        ('Celeb-DF-v1', 'celebdf_v1'),
        ('Celeb-DF-v2', 'celebdf_v2'),
        ('celebdf', 'celebdf_v2'),
        ('DFDCP', 'dfdcp'),
        ('DFDC', 'dfdc'),
        ('DeepFakeDetection', 'dfd'),
        ('DeeperForensics-1.0', 'deeperforensics'),
        ('WildDeepfake', 'wilddeepfake'),
        ('my_set', None),
    ],
)
def test_names(name, known):
    assert facts_name(name) == known


def test_complete_ffpp():
    videos = []
    for method in ('youtube', 'Deepfakes', 'Face2Face', 'FaceSwap', 'NeuralTextures'):
        start = 0
        for split, number in (('train', 720), ('val', 140), ('test', 140)):
            videos += make('ffpp', method, int(method != 'youtube'), split, number, 'c23', start)
            start += number
    rows = count_videos(videos)
    assert texts(rows)[('Face2Face', 'val')] == '140 of 140'
    assert len(rows) == 15
    assert not any(row.short for row in rows)
    findings = FindingList()
    check_counts(rows, findings)
    assert len(findings) == 0


def test_a_part_of_ffpp_is_a_note_and_short():
    videos = make('ffpp', 'youtube', 0, 'train', 12, 'c23') + make('ffpp', 'Deepfakes', 1, 'train', 11, 'c23')
    rows = count_videos(videos)
    assert texts(rows)[('youtube', 'train')] == '12 of 720'
    assert texts(rows)[('Deepfakes', 'test')] == '0 of 140'
    # Not downloaded, or not yet there when the set was published.
    assert texts(rows)[('FaceSwap', 'train')] == '0 of 720'
    assert not any(row.method == 'FaceShifter' for row in rows)
    findings = FindingList()
    check_counts(rows, findings)
    (finding,) = findings
    assert finding.severity == 'note'
    assert finding.count == 5 * 1000 - 23
    assert finding.examples[0] == 'youtube train: 12 of 720'


def test_methods_that_were_not_asked_for_are_not_short():
    videos = make('ffpp', 'youtube', 0, 'train', 720, 'c23') + make(
        'ffpp', 'Deepfakes', 1, 'train', 720, 'c23'
    )
    rows = count_videos(videos, {'ffpp': [{'methods': ['Deepfakes']}]})
    assert {row.method for row in rows if row.short} == {'youtube', 'Deepfakes'}
    both = {'ffpp': [{'methods': ['Deepfakes']}, {'methods': ['FaceSwap']}]}
    assert {row.method for row in count_videos(videos, both) if row.short} == {
        'youtube',
        'Deepfakes',
        'FaceSwap',
    }


def test_more_than_the_official_set_is_a_warning():
    rows = count_videos(make('dfd', 'actors', 0, 'test', 364, 'raw'))
    assert texts(rows)[('actors', ANY_SPLIT)] == '364 of 363'
    findings = FindingList()
    check_counts(rows, findings)
    more = [finding for finding in findings if finding.check == 'more-videos-than-official']
    assert [(finding.severity, finding.count) for finding in more] == [('warning', 1)]


def test_validation_videos_cut_from_the_training_videos_count_with_them():
    videos = make('celebdf_v2', 'Celeb-real', 0, 'train', 400) + make(
        'celebdf_v2', 'Celeb-real', 0, 'val', 82, first=400
    )
    rows = count_videos(videos)
    assert texts(rows)[('Celeb-real', 'train+val')] == '482 of 482'
    assert texts(rows)[('Celeb-real', 'test')] == '0 of 108'
    moved = make('ffpp', 'youtube', 0, 'train', 600, 'c23') + make(
        'ffpp', 'youtube', 0, 'val', 260, 'c23', 600
    )
    rows = count_videos(moved, {'ffpp': [{'val_fraction': 0.1}]})
    assert texts(rows)[('youtube', 'train+val')] == '860 of 860'


def test_methods_named_otherwise_are_counted_by_label():
    videos = make('Celeb-DF-v2', 'CelebDFv2_real', 0, 'test', 178) + make(
        'Celeb-DF-v2', 'CelebDFv2_fake', 1, 'test', 340
    )
    found = texts(count_videos(videos))
    assert found[('CelebDFv2_real', 'test')] == '178 of 178'
    assert found[('CelebDFv2_fake', 'test')] == '340 of 340'
    assert found[('CelebDFv2_real', 'train')] == '0 of 712'
    # One unknown manipulation of FF++ cannot be told from the others.
    assert texts(count_videos(make('FaceForensics++', 'FF-DF', 1, 'test', 140)))[('FF-DF', 'test')] == '140'


def test_spelling_of_a_method_does_not_matter():
    rows = count_videos(make('celebdf_v2', 'Youtube-real', 0, 'test', 70))
    assert texts(rows)[('Youtube-real', 'test')] == '70 of 70'


def test_unknown_sets_and_splits_are_listed_without_a_number():
    assert count_videos(make('my_set', 'real', 0, 'val', 2)) == [
        CountRow('my_set', 'native', 0, 'real', 'val', 2, 6)
    ]
    rows = count_videos(make('dfdcp', 'method_A', 1, 'test', 1) + make('dfdcp', 'method_C', 1, 'test', 4))
    assert texts(rows)[('method_C', 'test')] == '4'
    assert texts(rows)[('method_A', 'test')] == '1 of 474'


def test_compression_levels_are_counted_apart():
    rows = count_videos(
        make('ffpp', 'youtube', 0, 'val', 140, 'c23') + make('ffpp', 'youtube', 0, 'val', 1, 'raw')
    )
    found = {(row.compression, row.split): row.text for row in rows if row.method == 'youtube'}
    assert found[('c23', 'val')] == '140 of 140'
    assert found[('raw', 'val')] == '1 of 140'


# Splits


def test_identity_in_two_splits_of_ffpp_is_an_error(tiny, check, find):
    tiny.pair('000', '001', 'train')
    tiny.pair('002', '001', 'test')
    tiny.pair('004', '002', 'val')
    result = check(tiny.write(), images=False)
    (finding,) = find(result, 'identity-in-two-splits')
    assert (finding.severity, finding.where, finding.count) == ('error', 'ffpp', 2)
    assert '1 in train and test, 1 in val and test' in finding.message
    assert finding.examples == ('001: train and test', '002: val and test')
    assert result.failed()


def test_identities_kept_apart(tiny, check, find):
    tiny.pair('000', '001', 'train')
    tiny.pair('002', '003', 'test')
    assert not find(check(tiny.write(), images=False), 'identity-in-two-splits')


@pytest.mark.parametrize(
    ('dataset', 'words'),
    [
        ('celebdf_v2', 'known and by design of the official split: the official test list chooses videos'),
        ('dfdc', '1 identity in more than one split (1 in train and test)'),
        ('my_set', '1 identity in more than one split (1 in train and test)'),
    ],
)
def test_identity_in_two_splits_of_other_sets_is_a_warning(make_tiny, check, find, dataset, words):
    tiny = make_tiny(dataset, dataset=dataset, compression='native')
    tiny.video('Celeb-real', 'id0_0000', 'train', target='id0')
    tiny.video('Celeb-real', 'id0_0001', 'test', target='id0')
    result = check(tiny.write(), images=False)
    (finding,) = find(result, 'identity-in-two-splits')
    assert (finding.severity, finding.count) == ('warning', 1)
    assert words in finding.message
    assert not result.failed()


def test_identities_across_indexes_of_one_set(make_tiny, check, find):
    train, test = make_tiny('train'), make_tiny('test')
    train.pair('000', '001', 'train')
    test.pair('001', '000', 'test')
    result = check(train.write(), test.write(), images=False)
    assert find(result, 'identity-in-two-splits')[0].count == 2
    assert not find(check(train.root, images=False), 'identity-in-two-splits')


def test_identities_of_different_sets_are_different_people(make_tiny, check, find):
    first, second = make_tiny('first', dataset='first'), make_tiny('second', dataset='second')
    first.pair('000', '001', 'train')
    second.pair('000', '001', 'test')
    assert not find(check(first.write(), second.write(), images=False), 'identity-in-two-splits')


def test_video_in_two_indexes(make_tiny, check, find):
    first, second = make_tiny('first'), make_tiny('second')
    first.pair('000', '001', 'train')
    second.pair('000', '001', 'train')
    result = check(first.write(), second.write(), images=False)
    (finding,) = find(result, 'video-in-two-indexes')
    assert (finding.severity, finding.count) == ('warning', 2)
    assert not find(result, 'video-in-two-splits')
    # Counted once.
    assert [row.found for row in result.counts if row.method == 'youtube'] == [1, 0, 0]


def test_test_video_in_the_training_split_of_another_index(make_tiny, check, find):
    first, second = make_tiny('first'), make_tiny('second')
    first.pair('000', '001', 'train')
    second.pair('000', '001', 'test')
    result = check(first.write(), second.write(), images=False)
    (finding,) = find(result, 'video-in-two-splits')
    assert (finding.severity, finding.count) == ('error', 2)
    assert finding.examples[0] == 'ffpp/Deepfakes/c23/000_001: train and test'
    assert not find(result, 'video-in-two-indexes')
    assert not find(result, 'compressions-in-two-splits')


def test_compression_levels_in_different_splits(make_tiny, check, find):
    first, second = make_tiny('first'), make_tiny('second', compression='c40')
    first.pair('000', '001', 'train')
    second.pair('000', '001', 'val')
    (finding,) = find(check(first.write(), second.write(), images=False), 'compressions-in-two-splits')
    assert (finding.severity, finding.count) == ('error', 2)
    assert finding.examples[1] == 'ffpp/youtube/000: c23 in train, c40 in val'


def test_compression_levels_in_one_split(make_tiny, check, find):
    first, second = make_tiny('first'), make_tiny('second', compression='c40')
    first.pair('000', '001', 'train')
    second.pair('000', '001', 'train')
    result = check(first.write(), second.write(), images=False)
    assert not find(result, 'compressions-in-two-splits')
    assert not find(result, 'identity-in-two-splits')


def test_targets_of_ffpp_in_deeperforensics(make_tiny, check, find):
    first = make_tiny('first')
    second = make_tiny('second', dataset='deeperforensics', compression='native')
    first.pair('000', '001', 'train')
    first.pair('002', '003', 'test')
    second.video('end_to_end', '000_M101', 'test', target='000', source='M101')
    second.video('end_to_end', '002_M101', 'test', target='002', source='M101')
    (finding,) = find(check(first.write(), second.write(), images=False), 'targets-of-other-set')
    assert (finding.severity, finding.count, finding.examples) == ('warning', 1, ('000',))
    assert not find(check(second.root, images=False), 'targets-of-other-set')
