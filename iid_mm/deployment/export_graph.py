# SPDX-License-Identifier: Apache-2.0
"""A detector from raw pixels to logits and boxes, as one module."""

from __future__ import annotations

import torch
from torch import nn

from iid_mm.deployment.box_decoder import BoxDecoder, check_exportable
from iid_mm.errors import InputError
from iid_mm.models import IIDDetector
from iid_mm.utils.typing import Size

INPUT_NAME = 'images'
OUTPUT_NAMES = ('logits', 'boxes', 'scores', 'score_factors')
"""All outputs in their order; a plain classifier has the first one only, and most heads have no factors."""


class ExportGraph(nn.Module):
    """What goes into the ONNX file: preprocessing, network and decoding of all boxes.

    Letters: N images, H and W height and width of the input, M anchors an image.

    Args:
        model: The detector, in evaluation mode.
        size: Input (w, h).

    Raises:
        InputError: If the artifact head cannot be exported, or the model cannot take this size.
    """

    def __init__(self, model: IIDDetector, size: Size) -> None:
        super().__init__()
        self.size = size
        self.network = model
        self.decoder: BoxDecoder | None = None
        self.level_sizes: list[int] = []
        outs = self._try(size)
        if model.artifact_head is not None:
            maps = [(int(level.shape[2]), int(level.shape[3])) for level in outs[0]]
            self.decoder = BoxDecoder(model.artifact_head, maps, size)
            self.level_sizes = self.decoder.level_sizes
        # A head gives class maps, box maps and, some of them, maps of factors.
        self.output_names = list(OUTPUT_NAMES[: 1 + len(outs) * bool(self.decoder)])

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the detector.

        Args:
            images: (N, 3, H, W) float32, raw 0-255 BGR.

        Returns:
            ``logits`` (N, 2), column 1 = fake; with an artifact head also ``boxes`` (N, M, 4), xyxy in
            input pixels, and ``scores`` (N, M), and ``score_factors`` (N, M) where the head has them.
        """
        logits, outs = self._run(images)
        if self.decoder is None:
            return (logits,)
        return (logits, *self.decoder(*outs))

    def _run(self, images: torch.Tensor) -> tuple[torch.Tensor, tuple[list[torch.Tensor], ...]]:
        inputs = self.network.data_preprocessor({'inputs': images, 'data_samples': None}, False)['inputs']
        logits, outs = self.network._forward(inputs)
        return logits, outs

    def _try(self, size: Size) -> tuple[list[torch.Tensor], ...]:
        """What the head gives for an empty image; also finds out whether the model takes this size."""
        if self.network.artifact_head is not None:
            check_exportable(self.network.artifact_head)
        try:
            with torch.no_grad():
                return self._run(torch.zeros(1, 3, size[1], size[0]))[1]
        except RuntimeError as error:
            raise InputError(
                f'the model cannot take inputs of {size[0]}x{size[1]} pixels: {error}'
            ) from error
