# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from iid_mm.faces.analyzers import AnalyzerOptions
from iid_mm.preparation.driver import RunOptions, make_settings
from iid_mm.preparation.layouts import scan_layout
from iid_mm.preparation.layouts.base import LayoutOptions
from iid_mm.preparation.pool import make_batches, process_batches
from iid_mm.preparation.records import group_records
from iid_mm.structures.video_record import ArchiveImages, VideoFile, VideoRecord
from support.poison import PoisonGroup


def record(name, source):
    return VideoRecord(source, 'd', 'm', 'native', name, f'd/m/native/{name}', 0, 'test')


def test_groups_of_one_archive_go_to_one_worker():
    one, two = (ArchiveImages(Path(f'{name}.tar'), ('a.png',), (0,)) for name in 'ab')
    sources = {'0': one, '1': VideoFile(Path('x.mp4')), '2': two, '3': one, '4': VideoFile(Path('y.mp4'))}
    groups = group_records([record(name, source) for name, source in sources.items()])
    names = [[group.genuine.video for group in batch] for batch in make_batches(groups)]
    assert names == [['0', '3'], ['1'], ['2'], ['4']]


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_own_group_only(tree, tmp_path):
    settings = make_settings('ffpp', RunOptions(), analyzer='precomputed', frames=2)
    groups = group_records(scan_layout('ffpp', tree.root, LayoutOptions()).records)
    groups[1] = PoisonGroup(groups[1].name, groups[1].genuine, groups[1].fakes)
    options = AnalyzerOptions('precomputed')
    done = process_batches([[g] for g in groups], settings, options, tree.root, tmp_path / 'out', 2)
    results = {group.name: result for group, result in done}
    assert {name: result.finished for name, result in results.items()} == {
        'ffpp/youtube/c23/000': True,
        'ffpp/youtube/c23/001': False,
        'ffpp/youtube/c23/ä #1': True,
    }
    problem = results['ffpp/youtube/c23/001'].videos[0].problems[0]
    assert problem.startswith('the worker process died 2 times on it (exit status 3')
    assert len(results['ffpp/youtube/c23/000'].rows) == 6


@pytest.mark.slow
def test_a_worker_that_dies_on_one_of_an_archive_costs_that_one_only(tree, tmp_path):
    settings = make_settings('ffpp', RunOptions(), analyzer='precomputed', frames=2)
    groups = group_records(scan_layout('ffpp', tree.root, LayoutOptions()).records)
    groups[1] = PoisonGroup(groups[1].name, groups[1].genuine, groups[1].fakes)
    options = AnalyzerOptions('precomputed')
    done = process_batches([groups], settings, options, tree.root, tmp_path / 'out', 1)
    assert {group.name: result.finished for group, result in done} == {
        'ffpp/youtube/c23/000': True,
        'ffpp/youtube/c23/001': False,
        'ffpp/youtube/c23/ä #1': True,
    }
