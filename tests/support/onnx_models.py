# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the ONNX models of insightface's ``buffalo_l``: same names, inputs and outputs, no weights.

Their faces are upright squares of pure red, green or blue on a gray background (:func:`draw_face`), at
most one of each color in an image. All places come out exactly, whatever the image is resized to, because
the graphs work on sums of how much of each column and row is covered. Like the true detector, the stand-in
misses what is too small or too large in its input.

They need the package ``onnx``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iid_mm.errors import MissingExtraError
from support.media import face_points

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray, PointsArray

DETECTOR = 'det_10g.onnx'
LANDMARKS = '1k3d68.onnx'
SMALLEST, LARGEST = 12.0, 520.0
"""Sides of the faces that the detector finds, in pixels of its input."""
STRIDES = (8, 16, 32)
FIVE_POINTS = ((0.3, 0.3), (0.7, 0.3), (0.5, 0.5), (0.35, 0.75), (0.65, 0.75))
"""Eyes, nose and mouth corners (x, y) in units of the square."""
_SMALL = 0.1
"""Coverage that does not count: noise of the compression."""
_FAINT = 0.2
"""Brightness, as part of the full one, below which a color is noise."""


def draw_face(image: ImageArray, left: int, top: int, side: int, color: int, value: int = 255) -> None:
    """Draw a face of the stand-in models.

    Args:
        image: (H, W, 3) uint8 BGR, changed in place.
        left: First column of the square.
        top: First row.
        side: Side in pixels.
        color: Channel: 0 blue, 1 green, 2 red. Red scores best, blue least.
        value: Brightness, 0-255; the score is proportional to it, and a bit lower for small faces.
    """
    image[top : top + side, left : left + side] = np.eye(3, dtype=np.uint8)[color] * np.uint8(value)


def face_landmarks(left: float, top: float, side: float) -> PointsArray:
    """The 68 points that the stand-in models find in a square.

    Args:
        left: Left edge, as in :func:`draw_face`.
        top: Top edge.
        side: Its side.

    Returns:
        (68, 2) float32, pixels.
    """
    # From pixel edges to pixel centers.
    return face_points(left - 0.5, top - 0.5, side)


def write_models(folder: Path) -> Path:
    """Write both models.

    Args:
        folder: Where to; made if it is missing.

    Returns:
        ``folder``.

    Raises:
        MissingExtraError: If ``onnx`` is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DETECTOR).write_bytes(build_detector())
    (folder / LANDMARKS).write_bytes(build_landmark_model())
    return folder


def build_detector() -> bytes:
    """The stand-in of ``det_10g``.

    Returns:
        A model with the input (1, 3, H, W) of RGB (x - 127.5) / 128, H and W multiples of 32, and nine
        outputs: for the strides 8, 16, 32 scores (A, 1), then distances of the box's sides (A, 4), then
        those of five points (A, 10), in strides, A = 2 anchors a cell.
    """
    graph = _Graph()
    faces = [_find_square(graph, channel, scale=128 / 255) for channel in range(3)]
    outputs: dict[str, list[str]] = {'score': [], 'bbox': [], 'kps': []}
    for stride in STRIDES:
        for kind, name in _detect_at(graph, faces, stride).items():
            outputs[kind].append(name)
    # The true model declares the sizes of an input of 640 x 640 while it takes others, too.
    names = [
        (name, (2 * (640 // stride) ** 2, width))
        for kind, width in (('score', 1), ('bbox', 4), ('kps', 10))
        for name, stride in zip(outputs[kind], STRIDES, strict=True)
    ]
    return graph.build('input.1', (1, 3, '?', '?'), names)


def build_landmark_model() -> bytes:
    """The stand-in of ``1k3d68``.

    Returns:
        A model with the input (1, 3, 192, 192) of RGB 0-255 and the output (1, 3309): 1103 points x, y, z,
        the last 68 of which are the iBUG points, in units of 96 px around the middle.
    """
    graph = _Graph()
    # Insightface looks for a first node of this name to know that the input is not normalized.
    graph.nodes.append(graph.helper.make_node('Identity', ['data'], ['input.1'], name='bn_data'))
    squares = [_find_square(graph, channel, scale=1 / 255) for channel in range(3)]
    # The square in the middle is the one that is asked for; others may show at the edge.
    middle = [graph.add('Gather', square['cover'], graph.ints([96]), axis=2) for square in squares]
    middle = [graph.add('Gather', value, graph.ints([96]), axis=3) for value in middle]
    weights = [graph.add('Cast', graph.add('Greater', value, graph.real(0.5)), to=1) for value in middle]
    places = {
        key: graph.sum([graph.add('Mul', w, s[key]) for w, s in zip(weights, squares, strict=True)])
        for key in ('x0', 'y0', 'x1', 'y1')
    }
    points = np.zeros((1103, 2))
    points[-68:] = face_points(0, 0, 1)
    axes = []
    for axis, (low, high) in enumerate((('x0', 'x1'), ('y0', 'y1'))):
        side = graph.add('Sub', places[high], places[low])
        moved = graph.add('Mul', graph.reals(points[:, axis].reshape(1, 1, -1, 1)), side)
        # From edges to centers, then to the units of the output.
        centers = graph.add('Sub', graph.add('Add', moved, places[low]), graph.real(0.5))
        axes.append(graph.add('Sub', graph.add('Mul', centers, graph.real(1 / 96)), graph.real(1.0)))
    depth = graph.reals(np.sin(np.arange(1103.0)).reshape(1, 1, -1, 1) * 0.1)
    joined = graph.add('Concat', *axes, depth, axis=3)
    flat = graph.add('Reshape', joined, graph.ints([1, 3309]))
    return graph.build('data', ('None', 3, 192, 192), [(flat, (1, 3309))], renamed=['fc1'])


def _detect_at(graph: _Graph, faces: list[dict[str, str]], stride: int) -> dict[str, str]:
    """Outputs of one level: scores, boxes and points of the anchors at multiples of the stride."""
    height = graph.add('Gather', graph.add('Shape', 'input.1'), graph.ints([2]))
    width = graph.add('Gather', graph.add('Shape', 'input.1'), graph.ints([3]))
    ax = graph.steps(width, stride, (1, 1, 1, -1))
    ay = graph.steps(height, stride, (1, 1, -1, 1))
    scores, values = [], []
    for channel, face in enumerate(faces):
        inside = []
        for start, low, high in ((ax, 'x0', 'x1'), (ay, 'y0', 'y1')):
            center = graph.add('Mul', graph.add('Add', face[low], face[high]), graph.real(0.5))
            offset = graph.add('Sub', center, start)
            # The one cell that holds the center.
            inside.append(graph.add('GreaterOrEqual', offset, graph.real(0.0)))
            inside.append(graph.add('Less', offset, graph.real(float(stride))))
        side = graph.add('Sub', face['x1'], face['x0'])
        inside.append(graph.add('Greater', side, graph.real(SMALLEST)))
        inside.append(graph.add('Less', side, graph.real(LARGEST)))
        inside.append(graph.add('Greater', face['peak'], graph.real(_FAINT)))
        cell = inside[0]
        for other in inside[1:]:
            cell = graph.add('And', cell, other)
        cell = graph.add('Cast', cell, to=1)
        best = graph.add('Mul', face['peak'], graph.real(0.95 - 0.05 * channel))
        # Of two sizes of the input, the larger one gives the better box.
        blur = graph.add('Div', graph.real(0.5), graph.add('Max', side, graph.real(1.0)))
        sharp = graph.add('Sub', graph.real(1.0), blur)
        scores.append(graph.add('Mul', cell, graph.add('Mul', best, sharp)))
        height_of = graph.add('Sub', face['y1'], face['y0'])
        parts = [
            graph.add('Sub', ax, face['x0']),
            graph.add('Sub', ay, face['y0']),
            graph.add('Sub', face['x1'], ax),
            graph.add('Sub', face['y1'], ay),
        ]
        for x, y in FIVE_POINTS:
            px = graph.add('Add', face['x0'], graph.add('Mul', side, graph.real(x)))
            py = graph.add('Add', face['y0'], graph.add('Mul', height_of, graph.real(y)))
            parts += [graph.add('Sub', px, ax), graph.add('Sub', py, ay)]
        scaled = [graph.add('Mul', cell, graph.add('Mul', p, graph.real(1 / stride))) for p in parts]
        values.append(graph.add('Concat', *scaled, axis=1))
    score = graph.add('Min', graph.sum(scores), graph.real(1.0))
    value = graph.sum(values)
    return {
        'score': graph.per_anchor(score, 1),
        'bbox': graph.per_anchor(graph.add('Gather', value, graph.ints(range(4)), axis=1), 4),
        'kps': graph.per_anchor(graph.add('Gather', value, graph.ints(range(4, 14)), axis=1), 10),
    }


def _find_square(graph: _Graph, channel: int, scale: float) -> dict[str, str]:
    """Where the square of a color is.

    Args:
        graph: Takes the nodes.
        channel: Channel of the input ``input.1`` (RGB).
        scale: What makes a difference of 255 gray values 1.

    Returns:
        Names of values: ``cover`` (1, 1, H, W) in [0, 1], ``peak``, ``x0``, ``y0``, ``x1``, ``y1``, each
        (1, 1, 1, 1), edges in pixels of the input.
    """
    planes = [graph.add('Gather', 'input.1', graph.ints([c]), axis=1) for c in range(3)]
    others = graph.add('Max', *(planes[c] for c in range(3) if c != channel))
    difference = graph.add('Sub', planes[channel], others)
    color = graph.add('Relu', graph.add('Mul', difference, graph.real(scale)))
    peak = graph.add('ReduceMax', color, axes=[2, 3], keepdims=1)
    relative = graph.add('Div', color, graph.add('Max', peak, graph.real(0.05)))
    stretched = graph.add('Sub', relative, graph.real(_SMALL))
    stretched = graph.add('Mul', stretched, graph.real(1 / (1 - 2 * _SMALL)))
    cover = graph.add('Min', graph.add('Relu', stretched), graph.real(1.0))
    found = {'cover': cover, 'peak': peak}
    for low, high, axis in (('x0', 'x1', 3), ('y0', 'y1', 2)):
        profile = graph.add('ReduceMax', cover, axes=[5 - axis], keepdims=1)
        length = graph.add('ReduceSum', profile, graph.ints([axis]), keepdims=1)
        size = graph.add('Gather', graph.add('Shape', 'input.1'), graph.ints([axis]))
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        places = graph.add('Add', graph.steps(size, 1, tuple(shape)), graph.real(0.5))
        moment = graph.add('ReduceSum', graph.add('Mul', profile, places), graph.ints([axis]), keepdims=1)
        center = graph.add('Div', moment, graph.add('Max', length, graph.real(1e-3)))
        half = graph.add('Mul', length, graph.real(0.5))
        found[low], found[high] = graph.add('Sub', center, half), graph.add('Add', center, half)
    return found


class _Graph:
    """Collects nodes under running names."""

    def __init__(self) -> None:
        try:
            from onnx import helper, numpy_helper
        except ModuleNotFoundError as error:
            raise MissingExtraError.of('onnx', 'dev') from error
        self.helper, self.numpy_helper = helper, numpy_helper
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f'n{len(self.nodes)}'
        self.nodes.append(self.helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def _constant(self, array: np.ndarray) -> str:
        name = f'c{len(self.constants)}'
        self.constants[name] = self.numpy_helper.from_array(array, name)
        return name

    def real(self, value: float) -> str:
        return self._constant(np.full((1, 1, 1, 1), value, np.float32))

    def reals(self, values: np.ndarray) -> str:
        return self._constant(values.astype(np.float32))

    def ints(self, values: Any) -> str:
        return self._constant(np.array(list(values), np.int64))

    def sum(self, names: list[str]) -> str:
        return self.add('Sum', *names)

    def steps(self, size: str, stride: int, shape: tuple[int, ...]) -> str:
        """0, stride, 2 stride, ... below a size, in a shape."""
        scalars = [self._constant(np.array(value, np.int64)) for value in (0, stride)]
        end = self.add('Squeeze', size)
        numbers = self.add('Cast', self.add('Range', scalars[0], end, scalars[1]), to=1)
        return self.add('Reshape', numbers, self.ints(shape))

    def per_anchor(self, name: str, width: int) -> str:
        """From (1, width, h, w) to (2 h w, width): two equal anchors a cell."""
        cells = self.add('Reshape', self.add('Transpose', name, perm=[0, 2, 3, 1]), self.ints([-1, 1, width]))
        return self.add('Reshape', self.add('Concat', cells, cells, axis=1), self.ints([-1, width]))

    def build(
        self,
        name: str,
        shape: tuple[int | str, ...],
        outputs: Sequence[tuple[str, tuple[int, ...]]],
        renamed: list[str] | None = None,
    ) -> bytes:
        helper = self.helper
        if renamed:
            for (inner, _), outer in zip(outputs, renamed, strict=True):
                self.nodes.append(helper.make_node('Identity', [inner], [outer], name=outer))
            outputs = [(outer, size) for outer, (_, size) in zip(renamed, outputs, strict=True)]
        graph = helper.make_graph(
            self.nodes,
            'stand_in',
            [helper.make_tensor_value_info(name, 1, shape)],
            [helper.make_tensor_value_info(output, 1, size) for output, size in outputs],
            initializer=list(self.constants.values()),
        )
        # An old format, which all supported versions of onnxruntime read.
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
        return bytes(model.SerializeToString())
