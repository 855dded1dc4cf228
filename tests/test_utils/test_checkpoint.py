# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModule
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner import load_checkpoint as mmengine_load
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

import iid_mm.models  # noqa: F401  # installs the safe loader
from iid_mm.apis import load_checkpoint_file, load_weights
from iid_mm.errors import InputError
from iid_mm.utils.checkpoint import check_state_dict, load_from_source, prepare_resuming, trusted_checkpoints


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


def test_meta_of_another_type(tmp_path: Path) -> None:
    torch.save(dict(state_dict={}, meta='text'), tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r"a\.pth is damaged: 'meta' is a str"):
        load_checkpoint_file(tmp_path / 'a.pth')


# What MMEngine loads for itself.


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server on this machine that gives the files of ``tmp_path/served``."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    (tmp_path / 'served').mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / 'served'))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_address[1]}'
        server.shutdown()


def save_evil(path: Path, marker: Path) -> Path:
    torch.save(dict(state_dict=dict(weight=torch.ones(1, 2), bias=torch.ones(1)), extra=Evil(marker)), path)
    return path


@pytest.mark.parametrize('from_web', [True, False])
def test_pretrained_weights_run_nothing(from_web: bool, tmp_path: Path, address: str) -> None:
    """``init_cfg`` of any module, and everything else that asks MMEngine's loader."""
    evil = save_evil(tmp_path / 'served' / 'evil.pth', tmp_path / 'ran')
    source = f'{address}/evil.pth' if from_web else str(evil)
    module = BaseModule(init_cfg=dict(type='Pretrained', checkpoint=source))
    module.layer = nn.Linear(2, 1)
    for load in (
        module.init_weights,
        lambda: mmengine_load(nn.Linear(2, 1), source),
        lambda: CheckpointLoader.load_checkpoint(source),
        lambda: load_from_source(source),
    ):
        with pytest.raises(InputError, match=r'evil\.pth holds more than weights'):
            load()
    assert not (tmp_path / 'ran').exists()
    with trusted_checkpoints(True):
        assert 'extra' in load_from_source(source)
    assert (tmp_path / 'ran').exists()


def test_weights_from_the_web_are_fetched_once(tmp_path: Path, address: str) -> None:
    torch.save(dict(state_dict=dict(weight=torch.ones(1, 2), bias=torch.ones(1))), tmp_path / 'served/w.pth')
    layer = nn.Linear(2, 1)
    mmengine_load(layer, f'{address}/w.pth')
    assert layer.weight.tolist() == [[1, 1]]
    (tmp_path / 'served/w.pth').unlink()
    assert load_from_source(f'{address}/w.pth')['state_dict']['bias'].tolist() == [1]
    with pytest.raises(InputError, match=r'other\.pth cannot be reached .*404.*; download the file'):
        load_from_source(f'{address}/other.pth')


def test_a_zipped_file_from_the_web_runs_nothing(tmp_path: Path, address: str) -> None:
    """PyTorch unpacks these and loads what is in them in full."""
    torch.save(Evil(tmp_path / 'ran'), tmp_path / 'in.pth', _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(tmp_path / 'served/x.zip', 'w') as archive:
        archive.write(tmp_path / 'in.pth', '../../escaped.pth')
    with pytest.raises(InputError, match=r'x\.zip'):
        load_from_source(f'{address}/x.zip')
    assert not (tmp_path / 'ran').exists()
    assert not list(tmp_path.rglob('escaped.pth'))


def test_names_of_published_weights(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(
        dict(state_dict={'backbone.w': torch.ones(1), 'head.w': torch.ones(1)}), tmp_path / 'served/w.pth'
    )
    known = {'known': f'{address}/w.pth', 'odd': 'file:///etc/passwd'}
    for name in ('get_mmcls_models', 'get_torchvision_models', 'get_external_models'):
        monkeypatch.setattr(mmengine_checkpoint, name, lambda: known)
    assert list(load_from_source('mmcls://known')['state_dict']) == ['w']
    for scheme in ('torchvision', 'modelzoo', 'open-mmlab', 'openmmlab'):
        assert list(load_from_source(f'{scheme}://known')['state_dict']) == ['backbone.w', 'head.w']
        for name in ('unknown', 'odd'):
            with pytest.raises(InputError, match='no weights of that name'):
                load_from_source(f'{scheme}://{name}')
    for source in (
        's3://bucket/w.pth',
        'petrel://w.pth',
        'pavi://w',
        'ftp://127.0.0.1/w.pth',
        'file:///w.pth',
    ):
        with pytest.raises(InputError, match='not supported; fetch the file'):
            CheckpointLoader.load_checkpoint(source)
    with pytest.raises(InputError, match='names no file'):
        load_from_source(address)


def resumable(**info: Any) -> dict[str, Any]:
    hub = dict(log_scalars={}, runtime_info=info, resumed_keys={})
    return dict(meta=dict(epoch=1, iter=2, config='import os'), optimizer={}, message_hub=hub)


def test_resuming_believes_no_config_and_no_path() -> None:
    """MMEngine would run the one, and delete what the other names."""
    content = resumable(
        best_ckpt='/elsewhere/best.pth', best_ckpt_auc='../x.pth', last_ckpt=5, best_score=0.5
    )
    prepare_resuming(content, 'x.pth', 'run')
    assert content['meta'] == dict(epoch=1, iter=2)
    assert content['message_hub']['runtime_info'] == dict(
        best_ckpt='run/best.pth', best_ckpt_auc='run/x.pth', last_ckpt=None, best_score=0.5
    )


@pytest.mark.parametrize(
    ('path', 'value', 'reason'),
    [
        (('optimizer',), None, 'weights only'),
        (('meta',), 'text', 'weights only'),
        (('meta', 'epoch'), None, 'weights only'),
        (('meta', 'epoch'), -1, r'epoch and iteration are \[-1, 2\]'),
        (('meta', 'iter'), 'x', r'epoch and iteration are'),
        (('message_hub',), None, 'lacks one of log_scalars'),
        (('message_hub', 'runtime_info'), 5, 'lacks one of log_scalars'),
    ],
)
def test_resuming_from_a_damaged_state(path: tuple[str, ...], value: Any, reason: str) -> None:
    content = resumable()
    *parents, last = path
    owner = content
    for parent in parents:
        owner = owner[parent]
    if value is None:
        del owner[last]
    else:
        owner[last] = value
    with pytest.raises(InputError, match=f'checkpoint x.pth .*{reason}'):
        prepare_resuming(content, 'x.pth', '.')


def endless() -> list[Any]:
    """A list of 2 ** 60 parts that takes no room, until it is written out."""
    value: list[Any] = [1]
    for _ in range(60):
        value = [value, value]
    return value


def test_messages_stay_short() -> None:
    with pytest.raises(InputError) as caught:
        check_state_dict(nn.Linear(1, 1), {'a\n\x1b[2J' + 1000 * 'x': 1, 5: 2, torch.ones(2): 3}, 'x')
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    content = resumable()
    content['meta']['epoch'] = endless()
    with pytest.raises(InputError, match=r"epoch and iteration are \['list', 2\]"):
        prepare_resuming(content, 'x.pth', '.')


def test_numbers_that_would_be_copied_in_part() -> None:
    for weight, kind in (
        (torch.ones(1, 2, dtype=torch.complex64), 'complex numbers'),
        (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), 'nested tensor'),
    ):
        with pytest.raises(InputError, match=f'weight {kind} instead of'):
            load_weights(nn.Linear(2, 1), dict(weight=weight, bias=torch.ones(1)))


def test_weights_that_are_no_tensors_or_cannot_be_copied() -> None:
    with pytest.raises(InputError, match=r'1 of another shape: bias int instead of \(1,\)'):
        load_weights(nn.Linear(2, 1), dict(weight=torch.ones(1, 2), bias=5))
    with pytest.raises(InputError, match='cannot be copied'):
        load_weights(nn.Linear(2, 1), dict(weight=torch.ones(1, 2).to_sparse(), bias=torch.ones(1)))
