# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from iid_mm.apis import load_checkpoint_file, load_weights
from iid_mm.utils.checkpoint import check_state_dict
from iid_mm.errors import InputError


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f'touch {self.marker}',)


def test_plain_weights(tmp_path: Path) -> None:
    torch.save(dict(state_dict=OrderedDict(w=torch.ones(2)), meta=dict(epoch=1)), tmp_path / 'a.pth')
    content = load_checkpoint_file(tmp_path / 'a.pth')
    assert content['state_dict']['w'].tolist() == [1, 1]
    assert content['meta'] == dict(epoch=1)


def test_training_history_is_allowed(tmp_path: Path) -> None:
    history = HistoryBuffer([1.5, 2.5], [1, 1])
    extra = dict(loss=history, best=np.float64(0.5), n=np.int64(3), f=np.float32(2), b=np.bool_(True))
    torch.save(dict(state_dict={}, message_hub=extra), tmp_path / 'a.pth')
    hub = load_checkpoint_file(str(tmp_path / 'a.pth'))['message_hub']
    assert hub['loss'].data[0].tolist() == [1.5, 2.5]
    assert hub['best'] == 0.5
    assert (hub['n'], hub['f'], hub['b']) == (3, 2, True)


def test_arrays_of_older_numpy_are_allowed(tmp_path: Path) -> None:
    """numpy 1 wrote its functions as numpy.core..., numpy 2 writes numpy._core...; both get read."""
    for core in ('numpy.core', 'numpy._core'):
        data = pickle.dumps(dict(value=np.float64(0.25), array=np.arange(3.0)), protocol=2)
        for other in (b'numpy._core.', b'numpy.core.'):
            data = data.replace(b'c' + other, b'c' + core.encode() + b'.')
        path = tmp_path / f'{core}.pkl'
        # The file format before zip: magic number, protocol, system, content, keys of the storages.
        magic = [0x1950A86A20F9469CFC6C, 1001, dict(little_endian=True, protocol_version=1001, type_sizes={})]
        with path.open('wb') as file:
            for part in magic:
                pickle.dump(part, file, protocol=2)
            file.write(data)
            pickle.dump([], file, protocol=2)
        content = load_checkpoint_file(path)
        assert content['value'] == 0.25
        assert content['array'].tolist() == [0, 1, 2]


@pytest.mark.parametrize('zipped', [True, False])
def test_code_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    marker = tmp_path / 'ran'
    content = dict(state_dict={}, extra=Evil(marker))
    torch.save(content, tmp_path / 'evil.pth', _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r'evil.pth holds more than weights.*--trust-checkpoint'):
        load_checkpoint_file(tmp_path / 'evil.pth')
    assert not marker.exists()


class Lookup:
    """Unpickles to an attribute of a class."""

    def __init__(self, owner: Any, name: str) -> None:
        self.arguments = owner, name

    def __reduce__(self) -> Any:
        return getattr, self.arguments


@pytest.mark.parametrize(
    'arguments', [(HistoryBuffer, '__init__'), (HistoryBuffer, '__globals__'), (dict, 'min')]
)
def test_history_looks_up_its_own_methods_only(arguments: Any, tmp_path: Path) -> None:
    torch.save(dict(x=Lookup(HistoryBuffer, 'min')), tmp_path / 'a.pth')
    assert load_checkpoint_file(tmp_path / 'a.pth')['x'] is HistoryBuffer.min
    torch.save(dict(x=Lookup(*arguments)), tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r'a\.pth'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_code_in_a_bare_pickle_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / 'ran'
    (tmp_path / 'evil.pkl').write_bytes(pickle.dumps(dict(network=Evil(marker))))
    with pytest.raises(InputError, match=r'evil.pkl'):
        load_checkpoint_file(tmp_path / 'evil.pkl')
    assert not marker.exists()


def test_other_classes_need_trust(tmp_path: Path) -> None:
    torch.save(dict(state_dict={}, share=Fraction(1, 3)), tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r'fractions\.Fraction'):
        load_checkpoint_file(tmp_path / 'a.pth')
    assert load_checkpoint_file(tmp_path / 'a.pth', trust=True)['share'] == Fraction(1, 3)


def test_truncated_file(tmp_path: Path) -> None:
    torch.save(dict(state_dict=dict(w=torch.rand(1000))), tmp_path / 'a.pth')
    whole = (tmp_path / 'a.pth').read_bytes()
    for share in (0.1, 0.5, 0.95):
        (tmp_path / 'b.pth').write_bytes(whole[: int(share * len(whole))])
        for trust in (False, True):
            with pytest.raises(InputError, match=r'b\.pth is (damaged|no checkpoint)'):
                load_checkpoint_file(tmp_path / 'b.pth', trust=trust)


@pytest.mark.parametrize('content', [b'', b'hello, this is a text\n', b'\x89PNG\r\n\x1a\n' + bytes(100)])
@pytest.mark.parametrize('trust', [False, True])
def test_file_of_another_kind(content: bytes, trust: bool, tmp_path: Path) -> None:
    (tmp_path / 'a.txt').write_bytes(content)
    with pytest.raises(InputError, match=r'a\.txt is (damaged|no checkpoint)'):
        load_checkpoint_file(tmp_path / 'a.txt', trust=trust)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'nothing\.pth does not exist'):
        load_checkpoint_file(tmp_path / 'nothing.pth')


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'is a folder'):
        load_checkpoint_file(tmp_path)


def test_not_a_dictionary(tmp_path: Path) -> None:
    torch.save([torch.ones(1)], tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r'holds a list, expected a dictionary'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_weights_at_the_top_or_under_state_dict(tmp_path: Path) -> None:
    state = dict(weight=torch.ones(1, 2), bias=torch.zeros(1))
    for content in (state, dict(state_dict=state, meta={})):
        torch.save(content, tmp_path / 'a.pth')
        model = nn.Linear(2, 1)
        load_weights(model, tmp_path / 'a.pth')
        assert model.weight.tolist() == [[1, 1]]


def test_weights_of_another_model_name_the_keys(tmp_path: Path) -> None:
    state = dict(weight=torch.ones(1, 3), other=torch.zeros(1))
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    model = nn.Linear(2, 1)
    before = model.weight.clone()
    with pytest.raises(InputError) as caught:
        load_weights(model, tmp_path / 'a.pth')
    message = str(caught.value)
    for part in (
        'a.pth is of another model than the config',
        '1 missing: bias',
        '1 not of this model: other',
        '1 of another shape: weight (1, 3) instead of (1, 2)',
    ):
        assert part in message
    assert torch.equal(model.weight, before)


def test_long_lists_of_keys_are_shortened() -> None:
    model = nn.Sequential(*[nn.Linear(1, 1) for _ in range(10)])
    with pytest.raises(InputError, match=r'20 missing: 0\.weight, .*\(12 more\)'):
        check_state_dict(model, {}, 'x')


@pytest.mark.parametrize('state', [[1, 2], 'weights', None])
def test_state_dict_of_another_type(state: Any, tmp_path: Path) -> None:
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r"'state_dict' is a \w+, expected a dictionary"):
        load_weights(nn.Linear(1, 1), tmp_path / 'a.pth')
