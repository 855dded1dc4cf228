# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest


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
