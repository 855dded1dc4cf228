# SPDX-License-Identifier: Apache-2.0
"""What the exported detector refuses, and what it makes of batches."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from iid_mm.deployment import OnnxDetector
from iid_mm.errors import InputError, MissingExtraError

MISSING = "the extra onnx is not installed: pip install 'iid-mm[onnx]'"
pytest.importorskip('onnxruntime', reason=MISSING)
onnx = pytest.importorskip('onnx', reason=MISSING)
helper, TensorProto = onnx.helper, onnx.TensorProto


def edit_metadata(path: Path, **values: Any) -> None:
    """Change fields of the entry; a value of None removes the entry."""
    model = onnx.load(path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == 'iid_mm']
    entry.value = json.dumps(json.loads(entry.value) | values)
    onnx.save(model, path)


def move_weights(path: Path, location: str) -> None:
    """Let the largest tensor name another file."""
    model = onnx.load(path)
    tensor = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString())


def test_batches(tiny_onnx: Path, make_batch: Any) -> None:
    detector = OnnxDetector(tiny_onnx, num_threads=1)
    assert detector.input_size == (112, 112)
    assert detector.temperature is None
    together = detector.test_step(make_batch(3))
    batch = make_batch(3)
    for number, expected in enumerate(together):
        (alone,) = detector.test_step({'inputs': batch['inputs'][number : number + 1]})
        torch.testing.assert_close(alone.pred_score, expected.pred_score)
        torch.testing.assert_close(alone.pred_instances.bboxes, expected.pred_instances.bboxes)
        assert alone.metainfo['img_shape'] == (112, 112)
    stacked = detector.test_step({'inputs': torch.stack(batch['inputs']), 'data_samples': None})
    assert torch.equal(stacked[2].pred_score, together[2].pred_score)
    assert detector.test_step({'inputs': [], 'data_samples': []}) == []
    given = batch['data_samples']
    assert all(a is b for a, b in zip(detector.test_step(batch), given, strict=True))


def test_probabilities_and_boxes_are_plain(tiny_onnx: Path, make_batch: Any) -> None:
    (sample,) = OnnxDetector(tiny_onnx, heat_map='max').test_step(make_batch(1))
    assert sample.pred_score.sum() == pytest.approx(1)
    assert sample.pred_label.shape == (1,)
    assert len(sample.pred_instances) <= 10
    assert (sample.pred_instances.scores.diff() <= 0).all()
    assert sample.pred_heat.shape == (112, 112)


def test_wrong_inputs(tiny_onnx: Path, make_batch: Any) -> None:
    detector = OnnxDetector(tiny_onnx)
    with pytest.raises(
        InputError, match=r'\(3, 64, 64\).*takes \(3, 112, 112\).*AlignFace\(size=\(112, 112\)\)'
    ):
        detector.test_step(make_batch(1, side=64))
    with pytest.raises(InputError, match='2 inputs and 1 data_samples'):
        detector.test_step({'inputs': make_batch(2)['inputs'], 'data_samples': make_batch(1)['data_samples']})
    with pytest.raises(InputError, match=r'takes \(N, 3, 112, 112\)'):
        detector.run(np.zeros((3, 112, 112), np.float32))


def test_files_that_are_no_onnx(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='does not exist'):
        OnnxDetector(tmp_path / 'none.onnx')
    with pytest.raises(InputError, match='is a folder'):
        OnnxDetector(tmp_path)
    for content in (b'', b'plain text, no model at all', bytes(range(256))):
        (tmp_path / 'a.onnx').write_bytes(content)
        with pytest.raises(InputError, match=r'a\.onnx is no ONNX file, or is damaged'):
            OnnxDetector(tmp_path / 'a.onnx')


def test_truncated_file(tiny_onnx: Path) -> None:
    tiny_onnx.write_bytes(tiny_onnx.read_bytes()[:-2000])
    with pytest.raises(InputError, match='damaged'):
        OnnxDetector(tiny_onnx)


def test_onnx_of_something_else(tmp_path: Path) -> None:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in 'xy']
    graph = helper.make_graph([helper.make_node('Relu', ['x'], ['y'])], 'g', info[:1], info[1:])
    onnx.save(helper.make_model(graph), tmp_path / 'relu.onnx')
    with pytest.raises(InputError, match='an ONNX file of something else'):
        OnnxDetector(tmp_path / 'relu.onnx')


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (dict(format=2, iid_mm_version='9.0'), r'newer iid_mm \(9\.0\)'),
        (dict(input_size=[0, 112]), 'damaged.*0 is no positive number'),
        (dict(input_size=None), 'damaged'),
        (dict(surprise=1), "damaged.*'surprise'"),
        (dict(test_cfg=dict(max_per_img=10)), 'lacks nms'),
        (dict(test_cfg=dict(nms={}, max_per_img='many')), "max_per_img is 'many'"),
        (dict(calibration=dict(temperature='hot')), "'temperature' is 'hot'"),
        (dict(input_size=[224, 224]), 'does not describe'),
        (dict(level_sizes=[98, 50, 18]), 'does not describe'),
        (dict(output_names=['logits']), 'does not describe'),
    ],
)
def test_bad_metadata(values: dict[str, Any], message: str, tiny_onnx: Path) -> None:
    edit_metadata(tiny_onnx, **values)
    with pytest.raises(InputError, match=message):
        OnnxDetector(tiny_onnx)


def test_metadata_that_is_no_json(tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    model.metadata_props[-1].value = '{'
    onnx.save(model, tiny_onnx)
    with pytest.raises(InputError, match='is no JSON'):
        OnnxDetector(tiny_onnx)


@pytest.mark.parametrize(
    'location',
    ['../secret.bin', '/etc/hostname', 'a/../../secret.bin', r'..\secret.bin', r'C:\secret.bin', ''],
)
def test_weights_outside_of_the_folder(location: str, tiny_onnx: Path) -> None:
    (tiny_onnx.parent.parent / 'secret.bin').touch()
    move_weights(tiny_onnx, location)
    with pytest.raises(InputError, match='outside of its folder'):
        OnnxDetector(tiny_onnx)


def test_weights_behind_a_link(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp('elsewhere') / 'secret.bin'
    secret.write_bytes(bytes(100))
    (tiny_onnx.parent / 'weights.bin').symlink_to(secret)
    move_weights(tiny_onnx, 'weights.bin')
    with pytest.raises(InputError, match='outside of its folder'):
        OnnxDetector(tiny_onnx)


def test_weights_in_the_folder(tiny_onnx: Path, make_batch: Any) -> None:
    expected = OnnxDetector(tiny_onnx).test_step(make_batch(1))
    model = onnx.load(tiny_onnx)
    onnx.save(model, tiny_onnx, save_as_external_data=True, location='weights.bin', size_threshold=0)
    found = OnnxDetector(tiny_onnx).test_step(make_batch(1))
    assert torch.equal(found[0].pred_score, expected[0].pred_score)
    (tiny_onnx.parent / 'weights.bin').unlink()
    with pytest.raises(FileNotFoundError, match=r'needs its weights in .*weights\.bin'):
        OnnxDetector(tiny_onnx)


def test_weights_of_a_nested_graph(tiny_onnx: Path) -> None:
    tensor = helper.make_tensor('t', TensorProto.FLOAT, [1], bytes(4), raw=True)
    onnx.external_data_helper.set_external_data(tensor, '../secret.bin')
    inner = helper.make_graph([helper.make_node('Constant', [], ['c'], value=tensor)], 'inner', [], [])
    model = onnx.load(tiny_onnx)
    model.graph.node.append(helper.make_node('If', ['x'], ['y'], then_branch=inner, else_branch=inner))
    tiny_onnx.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match='outside of its folder'):
        OnnxDetector(tiny_onnx)


def test_graph_that_the_runtime_refuses(tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    model.graph.node[-1].op_type = 'NoSuchOperator'
    onnx.save(model, tiny_onnx)
    with pytest.raises(InputError, match='ONNX Runtime cannot load'):
        OnnxDetector(tiny_onnx)


def test_providers_and_threads(tiny_onnx: Path) -> None:
    with pytest.raises(InputError, match=r"'FastProvider' is not in this ONNX Runtime, which has .*CPUExec"):
        OnnxDetector(tiny_onnx, providers=['FastProvider'])
    for empty in ('CPUExecutionProvider', []):
        with pytest.raises(InputError, match='give a list'):
            OnnxDetector(tiny_onnx, providers=empty)
    with pytest.raises(InputError, match='num_threads=0'):
        OnnxDetector(tiny_onnx, num_threads=0)
    with pytest.raises(InputError, match="heat_map='warm'"):
        OnnxDetector(tiny_onnx, heat_map='warm')
    assert OnnxDetector(tiny_onnx, providers=['CPUExecutionProvider']).session.get_providers()


@pytest.mark.parametrize('package', ['onnx', 'onnxruntime'])
def test_missing_extra(package: str, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed; .*'iid-mm\[onnx\]'"):
        OnnxDetector(tiny_onnx)


def insert(path: Path, *nodes: Any, **constants: Any) -> None:
    """Put operators before all others of a file; the first output of the last is a further output."""
    model = onnx.load(path)
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    old = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *old])
    path.write_bytes(model.SerializeToString())


def loop() -> Any:
    """A loop that ends after 2**62 rounds."""
    names = [('i', TensorProto.INT64), ('c', TensorProto.BOOL)]
    inputs = [helper.make_tensor_value_info(name, kind, []) for name, kind in names]
    body = helper.make_graph(
        [helper.make_node('Identity', ['c'], ['c_out'])],
        'body',
        inputs,
        [helper.make_tensor_value_info('c_out', TensorProto.BOOL, [])],
    )
    return helper.make_node('Loop', ['rounds', 'go'], [], body=body)


def inside(node: Any) -> Any:
    """An operator in a branch of another one."""
    graph = helper.make_graph([node], 'branch', [], [])
    return helper.make_node('If', ['go'], [], then_branch=graph, else_branch=graph)


class TestFilesOfStrangers:
    @pytest.mark.parametrize('wrap', [lambda node: node, inside])
    def test_loops(self, tiny_onnx: Path, wrap: Any) -> None:
        insert(tiny_onnx, wrap(loop()), rounds=np.int64(2**62), go=np.bool_(True))
        with pytest.raises(InputError, match=r"tiny\.onnx has an operator 'Loop', which is not run here"):
            OnnxDetector(tiny_onnx)

    @pytest.mark.parametrize(
        ('domain', 'kind'),
        [('my.ops', 'Run'), ('com.microsoft', 'EPContext'), ('ai.onnx.ml', 'TreeEnsemble')],
    )
    def test_operators_of_others(self, tiny_onnx: Path, domain: str, kind: str) -> None:
        insert(tiny_onnx, helper.make_node(kind, ['images'], ['x'], domain=domain))
        with pytest.raises(InputError, match=f"an operator '{domain}:{kind}', which is not run here"):
            OnnxDetector(tiny_onnx)

    def test_functions(self, tiny_onnx: Path) -> None:
        model = onnx.load(tiny_onnx)
        opset = [helper.make_opsetid('', 17)]
        call = helper.make_node('f', ['a'], ['b'], domain='')
        model.functions.append(helper.make_function('', 'f', ['a'], ['b'], [call], opset))
        tiny_onnx.write_bytes(model.SerializeToString())
        with pytest.raises(InputError, match='functions or training of its own'):
            OnnxDetector(tiny_onnx)

    @pytest.mark.parametrize(
        ('nodes', 'constants'),
        [
            ([('ConstantOfShape', ['s'])], dict(s=np.array([2**20, 2**20]))),
            ([('Expand', ['v', 's'])], dict(v=np.float32([1]), s=np.array([2**40]))),
            ([('Tile', ['v', 's'])], dict(v=np.float32([1]), s=np.array([2**40]))),
            ([('Resize', ['images', '', '', 's'])], dict(s=np.array([1, 3, 2**16, 2**16]))),
            ([('Pad', ['images', 's'])], dict(s=np.array([0, 0, 0, 0, 0, 0, 2**20, 2**20]))),
            ([('Range', ['a', 'b', 'c'])], dict(a=np.int64(0), b=np.int64(2**40), c=np.int64(1))),
            (
                [('Reshape', ['v', 'r']), ('Reshape', ['v', 'c']), ('MatMul', ['x0', 'x1'])],
                dict(v=np.zeros(2**16, np.float32), r=np.array([-1, 1]), c=np.array([1, -1])),
            ),
        ],
    )
    def test_tensors_that_fill_the_memory(self, tiny_onnx: Path, nodes: Any, constants: Any) -> None:
        made = [helper.make_node(kind, names, [f'x{n}']) for n, (kind, names) in enumerate(nodes)]
        insert(tiny_onnx, *made, **constants)
        with pytest.raises(InputError, match=r'of an image would have the shape .* values'):
            OnnxDetector(tiny_onnx)

    @pytest.mark.parametrize('location', ['*/_ORT_MEM_ADDR_/*', 'a\0b'])
    def test_addresses_in_memory(self, tiny_onnx: Path, location: str) -> None:
        """ONNX Runtime has a location that means an address."""
        move_weights(tiny_onnx, location)
        if '\0' not in location:
            (tiny_onnx.parent / location).parent.mkdir(parents=True)
            (tiny_onnx.parent / location).write_bytes(bytes(10_000_000))
        with pytest.raises(InputError, match='outside of its folder, and was not loaded'):
            OnnxDetector(tiny_onnx)

    @pytest.mark.parametrize('kind', ["print('x')", '__import__', 'nms_match', ['nms'], None])
    def test_types_that_mmcv_would_evaluate(self, tiny_onnx: Path, kind: Any) -> None:
        model = onnx.load(tiny_onnx)
        (entry,) = [entry for entry in model.metadata_props if entry.key == 'iid_mm']
        settings = json.loads(entry.value)['test_cfg']
        settings['nms'] = {**settings['nms'], 'type': kind}
        edit_metadata(tiny_onnx, test_cfg=settings)
        with pytest.raises(InputError, match=r'test_cfg\.nms is .* its type may be nms or soft_nms'):
            OnnxDetector(tiny_onnx)

    @pytest.mark.parametrize(
        'values',
        [
            dict(config=['x']),
            dict(checkpoint=7),
            dict(output_names='logits'),
            dict(output_names=[7]),
            dict(class_names={}),
            dict(level_sizes=7),
            dict(level_sizes=[10**400]),
            dict(input_size=[10**9, 10**9]),
            dict(input_size='11'),
            dict(calibration=[1]),
            dict(calibration={'temperature': 'x'}),
            dict(checks=None),
            dict(test_cfg=[]),
            dict(unknown=1),
        ],
    )
    def test_entries_of_the_wrong_kind(self, tiny_onnx: Path, values: dict[str, Any]) -> None:
        edit_metadata(tiny_onnx, **values)
        with pytest.raises(InputError, match=r"tiny\.onnx: its entry 'iid_mm' is damaged") as caught:
            OnnxDetector(tiny_onnx)
        assert '\n' not in str(caught.value)

    @pytest.mark.parametrize('text', ['[' * 100_000, '7', '{"format": []}', ' ' * (16 * 2**20 + 1)])
    def test_an_entry_that_is_none(self, tiny_onnx: Path, text: str) -> None:
        model = onnx.load(tiny_onnx)
        (entry,) = [entry for entry in model.metadata_props if entry.key == 'iid_mm']
        entry.value = text
        onnx.save(model, tiny_onnx)
        with pytest.raises(InputError, match=r"tiny\.onnx: its entry 'iid_mm' is "):
            OnnxDetector(tiny_onnx)
