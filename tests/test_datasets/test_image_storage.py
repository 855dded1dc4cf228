# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mmengine.fileio import BaseStorageBackend
from mmengine.fileio.backends import backends, prefix_to_backends, register_backend

from iid_mm.datasets.storage.image_storage import (
    ImageStorage,
    backend_args_for,
    is_rule,
    make_storages,
    shared_backend_args,
    shown_backend_args,
    storage_settings_for,
    without_backend_args,
)
from iid_mm.datasets.transforms import LoadForgeryPair
from iid_mm.errors import InputError


class MemoryBackend(BaseStorageBackend):
    """Stands for the client of an object storage."""

    content = {'bucket/a/0.png': b'zero', 'a/0.png': b'plain'}
    made = 0

    def __init__(self, secret: str = '') -> None:
        type(self).made += 1

    def get(self, filepath: str) -> Any:
        if filepath not in self.content:
            raise LookupError(f'no object\n{filepath}')
        return memoryview(self.content[filepath])

    def get_text(self, filepath: str) -> str:
        raise NotImplementedError


@pytest.fixture
def memory() -> Iterator[None]:
    register_backend('memory', MemoryBackend, prefixes='mem', force=True)
    MemoryBackend.made = 0
    yield
    del backends['memory'], prefix_to_backends['mem']


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('no_proxy', '127.0.0.1')


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Address of a server of ``tmp_path``."""
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(tmp_path))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{http.server_port}'
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ('args', 'key'),
    [
        ({'backend': 'memory'}, 'frames/0 %.png'),
        ({'backend': 'memory', 'prefix': 'bucket/'}, 'bucket/frames/0 %.png'),
        ({'prefix': 'mem://{name}/x'}, 'mem://ffpp/x/frames/0 %.png'),
        ({'prefix': 'cluster:s3://{name}'}, 'cluster:s3://ffpp/frames/0 %.png'),
        ({'prefix': 'https://host/sets/{name}'}, 'https://host/sets/ffpp/frames/0%20%25.png'),
        ({'backend': 'http', 'prefix': 'http://host/'}, 'http://host/frames/0%20%25.png'),
        ({'prefix': '/elsewhere'}, '/elsewhere/frames/0 %.png'),
        ({'backend': 'local'}, '/data/ffpp/frames/0 %.png'),
        ({'backend': 'local', 'prefix': '{root}/small'}, '/data/ffpp/small/frames/0 %.png'),
    ],
)
def test_keys(memory: None, args: dict[str, Any], key: str) -> None:
    assert ImageStorage(args, '/data/ffpp').key('/data/ffpp/frames/0 %.png') == key


def test_keys_of_an_index_in_the_working_directory(memory: None) -> None:
    assert ImageStorage({'backend': 'memory'}, '').key('frames/0.png') == 'frames/0.png'
    filled = ImageStorage({'backend': 'memory', 'prefix': '{root}/{name}'}, '')
    assert filled.key('0.png') == f'./{Path.cwd().name}/0.png'


def test_a_path_elsewhere_has_no_key(memory: None) -> None:
    with pytest.raises(InputError, match=r"image '/data/ffpp2/0\.png' is not below '/data/ffpp'"):
        ImageStorage({'backend': 'memory'}, '/data/ffpp').key('/data/ffpp2/0.png')


def test_read(memory: None) -> None:
    storage = ImageStorage({'prefix': 'bucket', 'backend': 'memory'}, '/data')
    assert storage.read('/data/a/0.png') == b'zero'
    assert ImageStorage({'backend': 'memory'}).read('a/0.png') == b'plain'
    with pytest.raises(
        InputError, match=r"'bucket/b\.png' cannot be read: LookupError: no object bucket/b\.png"
    ):
        storage.read('/data/b.png')


def test_connections_are_not_shared_with_copies(memory: None, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = ImageStorage({'backend': 'memory', 'prefix': 'bucket'}, '/data')
    assert MemoryBackend.made == 0
    for _ in range(3):
        storage.read('/data/a/0.png')
    assert MemoryBackend.made == 1
    # Samples are copied in some pipelines; their storage is one and the same.
    assert copy.deepcopy({'storage': storage})['storage'] is storage
    sent = pickle.loads(pickle.dumps(storage))
    assert sent.read('/data/a/0.png') == b'zero'
    assert MemoryBackend.made == 2
    storage.close()
    storage.read('/data/a/0.png')
    assert MemoryBackend.made == 3
    # In a process that was forked.
    monkeypatch.setattr('os.getpid', lambda: -2)
    storage.read('/data/a/0.png')
    assert MemoryBackend.made == 4


def test_secrets_are_not_shown(memory: None) -> None:
    args = {'backend': 'memory', 'prefix': 'bucket', 'secret': 'hush'}
    assert str(ImageStorage(args, '/data')) == "{'backend': 'memory', 'prefix': 'bucket', 'secret': '...'}"
    with pytest.raises(InputError) as caught:
        make_storages(args, ['a/index.parquet', 'b/index.parquet'])
    assert 'hush' not in str(caught.value)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (
            {'backend': 'lmbd'},
            r"there is no backend 'lmbd'; choose from http, lmdb, local, .*register_backend",
        ),
        ({'prefix': 'gs://bucket'}, r"there is no backend 'gs'"),
        ({'db_path': 'x'}, r"backend_args=\{'db_path': 'x'\}: give a backend, or a prefix"),
        ({}, 'give a backend'),
        ({'backend': 'http'}, r"http needs prefix='https://host/folder-of-the-index'"),
        ({'backend': 'http', 'prefix': 'file:///etc'}, 'http needs prefix'),
        ('lmdb', r"backend_args='lmdb': give a dictionary"),
    ],
)
def test_bad_backend_args(args: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageStorage(args, '/data')


def test_bad_arguments_of_the_backend(memory: None) -> None:
    storage = ImageStorage({'backend': 'memory', 'color': 1}, '/data')
    with pytest.raises(
        InputError, match=r"backend_args=.*unexpected keyword argument 'color'; check the values"
    ):
        storage.read('/data/0.png')
    with pytest.raises(InputError, match='Please install petrel_client'):
        ImageStorage({'prefix': 's3://bucket'}, '/data').read('/data/0.png')
    with pytest.raises(InputError, match='timeout=0: give seconds'):
        ImageStorage({'prefix': 'http://host', 'timeout': 0}, '/data').read('/data/0.png')


def test_http(server: str, tmp_path: Path) -> None:
    (tmp_path / 'set/a b').mkdir(parents=True)
    (tmp_path / 'set/a b/0#ä.png').write_bytes(b'crop')
    storage = ImageStorage({'prefix': f'{server}/{{name}}', 'timeout': 5}, '/data/set')
    assert storage.read('/data/set/a b/0#ä.png') == b'crop'
    with pytest.raises(InputError, match=r"/set/gone\.png' cannot be read: HTTPError: HTTP Error 404"):
        storage.read('/data/set/gone.png')


def test_http_host_that_is_not_there() -> None:
    storage = ImageStorage({'prefix': 'http://127.0.0.1:9'}, '/data')
    with pytest.raises(InputError, match=r'backend_args=.*127\.0\.0\.1:9.*Connection refused'):
        storage.read('/data/0.png')


def test_one_storage_for_each_index(memory: None) -> None:
    indices = ['/data/a/index.parquet', '/data/b/index.parquet']
    assert make_storages(None, indices) == [None, None]
    rule = make_storages({'backend': 'memory', 'prefix': '{name}'}, indices)
    assert [storage and storage.prefix for storage in rule] == ['a', 'b']
    listed = make_storages([None, {'backend': 'memory', 'prefix': 'x'}], indices)
    assert listed[0] is None
    assert listed[1] is not None
    assert listed[1].key('/data/b/0.png') == 'x/0.png'
    with pytest.raises(InputError, match=r'name one place for several sets; write \{root\}'):
        make_storages({'backend': 'memory', 'prefix': 'x'}, indices)
    # Two indices of one folder share their images.
    shared = make_storages({'backend': 'memory'}, ['/data/a/index.parquet', '/data/a/more.parquet'])
    assert [storage and storage.key('/data/a/0.png') for storage in shared] == ['0.png', '0.png']
    for bad in ([None], 'lmdb', [None] * 3):
        with pytest.raises(InputError, match='a list with one for each of the 2 ann_files'):
            make_storages(bad, indices)


def test_loaders_may_say_it_too() -> None:
    class Loader:
        def __init__(self, backend_args: Any) -> None:
            self.backend_args = backend_args

    args = {'backend': 'lmdb', 'db_path': 'x'}
    assert shared_backend_args(None, [Loader(None), object()]) is None
    assert shared_backend_args(args, [Loader(None)]) == args
    assert shared_backend_args(None, [object(), Loader(args)]) == args
    assert shared_backend_args(args, [Loader(dict(args)), Loader(None)]) == args
    for own, other in ((args, {'backend': 'local'}), (None, {'backend': 'local'})):
        with pytest.raises(InputError, match='give them to the dataset only'):
            shared_backend_args(own, [Loader(args), Loader(other)])


def test_backend_args_of_another_index() -> None:
    place = {'backend': 'lmdb', 'db_path': '/scratch/ffpp.lmdb'}
    rule = {'backend': 'lmdb', 'db_path': '{root}/images.lmdb'}
    assert is_rule(rule)
    assert not is_rule(place)
    own = dict(data_root='/data', ann_file='ffpp/index.parquet')
    assert backend_args_for(own, ['/data/celebdf/index.parquet']) is None
    assert backend_args_for({**own, 'backend_args': rule}, ['/data/celebdf/index.parquet']) == rule
    assert backend_args_for({**own, 'backend_args': place}, ['/data/celebdf/index.parquet']) is None
    assert backend_args_for({**own, 'backend_args': place}, [Path('/data/x/../ffpp/index.parquet')]) == place
    # The loaders may say it, as elsewhere in OpenMMLab; they must not take one set's place to another.
    loaders = {**own, 'pipeline': [dict(type='LoadForgeryPair', backend_args=place), dict(type='AlignFace')]}
    assert backend_args_for(loaders, ['/data/celebdf/index.parquet']) is None
    assert backend_args_for(loaders, ['/data/ffpp/index.parquet']) == place
    plain = [dict(type='LoadForgeryPair'), dict(type='AlignFace')]
    assert without_backend_args(loaders['pipeline']) == plain
    assert storage_settings_for(loaders, ['/data/celebdf/index.parquet']) == dict(
        backend_args=None, pipeline=plain
    )
    assert storage_settings_for(loaders, ['/data/ffpp/index.parquet']) == dict(
        backend_args=place, pipeline=plain
    )
    assert loaders['pipeline'][0]['backend_args'] == place
    several = dict(data_root='', ann_file=['/a/i.parquet', '/b/i.parquet'], backend_args=[place, None])
    assert backend_args_for(several, ['/b/i.parquet', '/a/i.parquet']) == [None, place]
    assert backend_args_for(several, ['/b/i.parquet', '/c/i.parquet']) is None


def test_users_and_queries_of_urls_are_not_shown() -> None:
    shown = shown_backend_args(dict(prefix='https://me:hush@host/a/b?token=hush', key='hush'))
    assert shown == "{'prefix': 'https://host/a/b?...', 'key': '...'}"
    storage = ImageStorage(dict(prefix='https://me:hush@host/a'), root='/data')
    assert storage.key('/data/x.png') == 'https://me:hush@host/a/x.png'
    assert storage.shown_key('/data/x.png') == 'https://host/a/x.png'
    assert 'hush' not in repr(LoadForgeryPair(backend_args=dict(prefix='https://me:hush@host/a')))


def test_local_files_of_an_index_in_the_working_directory() -> None:
    assert ImageStorage(dict(backend='local'), root='').key('frames/a.png') == './frames/a.png'
