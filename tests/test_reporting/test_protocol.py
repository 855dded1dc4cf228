# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import Config

from iid_mm.reporting.protocol import _training_manipulations, command_line, config_text, without_paths


def test_manipulations_in_training() -> None:
    def found(dataset: Any) -> Any:
        return _training_manipulations(Config(dict(train_dataloader=dict(dataset=dataset))))

    one = dict(type='ForgeryDataset', ann_file='a', methods=('FaceSwap', 'Deepfakes'))
    assert found(one) == ['Deepfakes', 'FaceSwap']
    assert found(dict(type='RepeatDataset', times=2, dataset=one)) == ['Deepfakes', 'FaceSwap']
    several = [one, dict(one, methods=['Face2Face'])]
    assert found(dict(type='ConcatDataset', datasets=several)) == ['Deepfakes', 'Face2Face', 'FaceSwap']
    assert found(dict(type='ForgeryDataset', ann_file='a')) is None
    assert found(dict(type='Foreign')) == []
    assert _training_manipulations(Config(dict())) == []


class TestProvenance:
    @pytest.mark.parametrize(
        ('text', 'expected'),
        [
            ('/home/someone/data', 'data'),
            ('/home/some one/my data/', 'my data'),
            ('name=/data/my set', 'name=my set'),
            ('data/ffpp', 'data/ffpp'),
            ("x=('/a/b','/c/d')", "x=('b','d')"),
            (r'C:\Users\someone\data', 'data'),
            ('~/data', 'data'),
            ('3 / 4 of https://example.org/a', '3 / 4 of https://example.org/a'),
        ],
    )
    def test_paths_of_the_machine_are_removed(self, text: str, expected: str) -> None:
        assert without_paths(text) == expected

    def test_command_line(self) -> None:
        arguments = ['/x/tools/test.py', 'configs/a.py', '/y/z.pth', '--test-sets', 'a=/b/c d']
        assert command_line(arguments) == "tools/test.py configs/a.py z.pth --test-sets 'a=c d'"
        secret = ['test.py', 'a.py', '--cfg-options', 'backend_args.key=hush', 'b=1', 'backend_args={"a":1}']
        assert command_line(secret) == 'test.py a.py --cfg-options backend_args.key=... b=1 backend_args=...'

    def test_config_text_says_what_and_not_where(self) -> None:
        loader = dict(dataset=dict(data_root='/data/a', ann_file='index.parquet'))
        one = Config(dict(work_dir='w', launcher='none', data_root='/data/a', test_dataloader=loader))
        other = dict(dataset=dict(data_root='b', ann_file='index.parquet'))
        two = Config(dict(work_dir='v', launcher='pytorch', data_root='b', test_dataloader=other))
        assert config_text(one) == config_text(two)
        assert 'DATA_ROOT' in config_text(one)
        # Nor is it said what images are read from, which may hold secrets.
        stored = dict(other['dataset'], backend_args=dict(backend='mine', key='hush'))
        two = Config(dict(data_root='b', backend_args={}, test_dataloader=dict(dataset=stored)))
        assert config_text(one) == config_text(two)
        three = Config(dict(data_root='b', test_dataloader=dict(other, batch_size=2)))
        assert config_text(three) != config_text(one)
