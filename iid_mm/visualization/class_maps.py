# SPDX-License-Identifier: Apache-2.0
"""Class activation maps of the real/fake decision of a detector (Grad-CAM and its relatives).

The maps come from the library ``grad-cam`` (extra ``attention``), with two differences that make metrics
comparable: maps are not stretched to 0..1 image by image, which would subtract a map's minimum and so change
the part of it that lies in a region; and the first component of EigenCAM, whose sign is arbitrary, is flipped
so that its largest magnitude is positive.

Letters: N images, H and W the height and width of the canvas.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from iid_mm.errors import InputError
from iid_mm.models import IIDDetector
from iid_mm.utils.dependencies import import_extra

CAM_METHODS = {
    'gradcam': ('GradCAM', 'Grad-CAM'),
    'gradcam++': ('GradCAMPlusPlus', 'Grad-CAM++'),
    'eigencam': ('EigenCAM', 'Eigen-CAM'),
    'layercam': ('LayerCAM', 'Layer-CAM'),
}
"""The library's class and the title of each method."""
TARGETS = ('fake', 'predicted')
BACKBONE = 'backbone'
"""Layer name of the backbone's last map."""
_LISTED_DEPTH = 2
"""Layers deeper than this many dots are usable and not listed."""

Maps = npt.NDArray[np.float32]


class DecisionNet(nn.Module):
    """The detector from prepared images to the two logits, with a hook for the backbone's last map.

    Args:
        model: The detector.
    """

    def __init__(self, model: IIDDetector) -> None:
        super().__init__()
        self.model = model
        # Backbones return tuples, which hooks of the library do not take.
        self.last_map = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify.

        Args:
            images: (N, 3, H, W) as the data preprocessor gives them.

        Returns:
            (N, 2) logits, column 1 = fake.
        """
        feats = tuple(self.model.backbone(images))
        feats = (*feats[:-1], self.last_map(feats[-1]))
        levels = () if self.model.neck is None else tuple(self.model.neck(feats))
        logits: torch.Tensor = self.model.forgery_head(feats[-1], self.model.fused_map(levels))
        return logits


def usable_layers(model: IIDDetector, size: tuple[int, int]) -> list[str]:
    """Names of the layers that have maps.

    These are modules that run once on the way to the decision and return one (N, C, h, w) map with more
    than one cell.

    Args:
        model: The detector.
        size: (w, h) of the canvas.

    Returns:
        ``'backbone'`` for its last map, then modules of the detector in the order of its definition.
    """
    calls: dict[str, list[bool]] = {}
    handles = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            fits = isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[2:].numel() > 1
            calls.setdefault(name, []).append(fits)

        return hook

    for name, module in model.named_modules():
        if name and name != BACKBONE:
            handles.append(module.register_forward_hook(note(name)))
    try:
        device = next(model.parameters()).device
        with torch.no_grad():
            DecisionNet(model).eval()(torch.zeros(1, 3, size[1], size[0], device=device))
    finally:
        for handle in handles:
            handle.remove()
    return [BACKBONE, *(name for name, _ in model.named_modules() if calls.get(name) == [True])]


def check_layer(model: IIDDetector, layer: str, size: tuple[int, int]) -> str:
    """Check the name of a layer.

    Raises:
        InputError: If it is none of :func:`usable_layers`; the message lists them.
    """
    known = usable_layers(model, size)
    if layer in known:
        return layer
    listed = [name for name in known if name.count('.') <= _LISTED_DEPTH]
    more = len(known) - len(listed)
    deeper = f' and {more} layers inside of these' if more else ''
    exists = layer in dict(model.named_modules())
    problem = 'gives no single map on the way to the decision' if exists else 'is unknown'
    raise InputError(f'layer={layer!r} {problem}; choose one of {", ".join(listed)}{deeper}')


def class_maps(
    model: IIDDetector,
    images: torch.Tensor,
    method: str = 'gradcam',
    layer: str = BACKBONE,
    target: str = 'fake',
) -> Maps:
    """Maps of the evidence for a class.

    Args:
        model: The detector in evaluation mode.
        images: (N, 3, H, W) as the data preprocessor gives them.
        method: One of :data:`CAM_METHODS`.
        layer: One of :func:`usable_layers`, see :func:`check_layer`.
        target: ``'fake'``: the logit of fake, whatever the decision. ``'predicted'``: the logit of the
            predicted class. EigenCAM uses no class.

    Returns:
        (N, H, W), not negative, in the units of the method.

    Raises:
        InputError: Method or target is unknown.
        MissingExtraError: grad-cam is not installed.
    """
    if method not in CAM_METHODS:
        raise InputError(f'method={method!r} is unknown; choose one of {", ".join(CAM_METHODS)}')
    if target not in TARGETS:
        raise InputError(f'target={target!r} is unknown; choose one of {", ".join(TARGETS)}')
    net = DecisionNet(model).eval()
    module = net.last_map if layer == BACKBONE else model.get_submodule(layer)
    # Layers that are frozen pass gradients on only if the images have one.
    images = images.detach().requires_grad_(True)
    output_target = load_library().utils.model_targets.ClassifierOutputTarget(1)
    targets = None if target == 'predicted' else [output_target] * len(images)
    with _out_of_place(model), torch.enable_grad():
        cam = _cam_class(method)(model=net, target_layers=[module])
        try:
            coarse: Maps = cam(input_tensor=images, targets=targets)
        finally:
            cam.activations_and_grads.release()
    model.zero_grad(set_to_none=True)
    enlarged = F.interpolate(torch.from_numpy(coarse)[:, None], images.shape[2:], mode='bilinear')
    return np.ascontiguousarray(enlarged[:, 0].numpy())


def load_library() -> Any:
    """Import ``pytorch_grad_cam``.

    Raises:
        MissingExtraError: It is not installed.
    """
    return import_extra('pytorch_grad_cam', 'attention', 'grad-cam')


def _cam_class(method: str) -> Any:
    """The library's class, changed to return the layer's own map, (N, h, w), negative parts cut off."""
    base: Any = getattr(load_library(), CAM_METHODS[method][0])

    class _Coarse(base):
        def compute_cam_per_layer(self, input_tensor: Any, targets: Any, eigen_smooth: bool) -> list[Maps]:
            hooks = self.activations_and_grads
            gradients = hooks.gradients[0].numpy() if hooks.gradients else None
            values = hooks.activations[0].numpy()
            cam = np.asarray(
                self.get_cam_image(
                    input_tensor, self.target_layers[0], targets, values, gradients, eigen_smooth
                )
            )
            if method == 'eigencam':
                low, high = cam.min(axis=(1, 2)), cam.max(axis=(1, 2))
                cam = np.where((-low > high)[:, None, None], -cam, cam)
            return [np.maximum(cam, 0).astype(np.float32)]

        def aggregate_multi_layers(self, cam_per_target_layer: Sequence[Maps]) -> Maps:
            return cam_per_target_layer[0]

    return _Coarse


@contextlib.contextmanager
def _out_of_place(model: nn.Module) -> Iterator[None]:
    """Stop activations from overwriting their inputs, which hooks have stored."""
    changed: list[Any] = [m for m in model.modules() if getattr(m, 'inplace', False) is True]
    for module in changed:
        module.inplace = False
    try:
        yield
    finally:
        for module in changed:
            module.inplace = True
