# SPDX-License-Identifier: Apache-2.0
"""The ID-unaware deepfake detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from iid_mm.errors import InputError
from iid_mm.models.detectors.wiring_probe import WiringProbe
from iid_mm.models.heat_maps import head_heat_maps
from iid_mm.models.pretrained import drop_unreachable_weights
from iid_mm.registry import MODELS
from iid_mm.structures import ForgeryDataSample
from iid_mm.utils.typing import ConfigType, Features, OptConfigType, Size


@MODELS.register_module()
class IIDDetector(BaseDetector):
    """Backbone, neck, artifact head and global head, wired together (arXiv 2210.14457, section 4).

    The backbone's outputs feed the neck; the neck's levels feed the artifact head; the backbone's last
    output and one of the neck's levels, as published the last, feed the global head. Losses carry the role
    of their head as prefix: ``artifact.loss_cls``, ``artifact.loss_bbox``, ``forgery.loss_cls``; MMEngine's
    ``BaseModel.parse_losses`` sums the entries with ``loss`` in their name.

    Args:
        backbone: Any backbone that returns a tuple of (N, C, H, W) maps.
        forgery_head: The global real/fake head.
        neck: From backbone outputs to feature levels; None for a plain classifier.
        artifact_head: Any mmdet dense head on these levels; None trains without boxes.
        train_cfg: Training config handed to the artifact head.
        test_cfg: Test config handed to the artifact head.
        data_preprocessor: Config of the data preprocessor.
        fused_level: Which of the neck's levels joins the global head: -1, the last, as published. None:
            none: the artifact branch then affects the decision only through the backbone that it
            helps to train (the global head needs ``artifact_channels=None``). The last level sees
            the whole face and where its parts are, so it can recognize people; an earlier one (0)
            or None keeps the decision local.
        channels_last: Whether to store weights and inputs channels last in memory. Results are the same up to
            rounding; convolutions are faster on most CPUs and, in half precision, on GPUs.
        init_cfg: Initialization.

    Raises:
        InputError: If there is an artifact head and no neck.
    """

    def __init__(
        self,
        backbone: ConfigType,
        forgery_head: ConfigType,
        neck: OptConfigType = None,
        artifact_head: OptConfigType = None,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        fused_level: int | None = -1,
        channels_last: bool = False,
        init_cfg: OptConfigType = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if artifact_head is not None and neck is None:
            raise InputError('artifact_head is set and neck is None; give a neck or drop the head')
        for name, value in (('train_cfg', train_cfg), ('test_cfg', test_cfg)):
            if value is not None and not isinstance(value, dict):
                raise InputError(f'{name}={str(value)[:60]!r}: give a dict, or None')
        self.backbone = MODELS.build(backbone)
        self.forgery_head = MODELS.build(forgery_head)
        self.neck = None if neck is None else MODELS.build(neck)
        self.artifact_head = None
        if artifact_head is not None:
            # mmdet's heads read their configs by attribute, so plain dicts become ConfigDicts.
            artifact_head = ConfigDict(artifact_head)
            for name, value in (('train_cfg', train_cfg), ('test_cfg', test_cfg)):
                artifact_head.setdefault(name, value)
            self.artifact_head = MODELS.build(artifact_head)
        self.fused_level = fused_level
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)

    def init_weights(self) -> None:
        """Initialize the weights.

        Pretrained weights at a URL that cannot be reached are left out, with a warning.
        """
        drop_unreachable_weights(self)
        super().init_weights()

    def extract_feat(self, batch_inputs: torch.Tensor) -> tuple[Features, Features]:
        """Compute all features.

        Args:
            batch_inputs: (N, 3, H, W), BGR, in the range that the data preprocessor gives.

        Returns:
            The backbone's outputs and the neck's levels (empty without a neck).
        """
        batch_inputs = batch_inputs.contiguous(memory_format=self.memory_format)
        backbone_feats = tuple(self.backbone(batch_inputs))
        levels = () if self.neck is None else tuple(self.neck(backbone_feats))
        return backbone_feats, levels

    def loss(
        self, batch_inputs: torch.Tensor, batch_data_samples: list[ForgeryDataSample]
    ) -> dict[str, torch.Tensor]:
        """Compute all losses.

        Args:
            batch_inputs: (N, 3, H, W).
            batch_data_samples: N samples with ``gt_label`` and ``gt_instances``.

        Returns:
            Losses by name, each with its head's role as prefix.

        Raises:
            InputError: If there is an artifact head and a sample has no ``gt_instances``.
        """
        if self.artifact_head is not None and not all('gt_instances' in s for s in batch_data_samples):
            raise InputError(
                'a training sample has no gt_instances, from which the artifact head learns; put '
                'MultiScaleFacialSwap into the training pipeline, or set artifact_head=None'
            )
        backbone_feats, levels = self.extract_feat(batch_inputs)
        losses = self._with_prefix(
            'forgery',
            self.forgery_head.loss(backbone_feats[-1], self.fused_map(levels), batch_data_samples),
        )
        if self.artifact_head is not None:
            losses |= self._with_prefix('artifact', self.artifact_head.loss(levels, batch_data_samples))
        return losses

    def predict(
        self,
        batch_inputs: torch.Tensor,
        batch_data_samples: list[ForgeryDataSample] | None = None,
        rescale: bool = False,
    ) -> list[ForgeryDataSample]:
        """Predict label and artifact boxes.

        Args:
            batch_inputs: (N, 3, H, W).
            batch_data_samples: N samples; None makes empty ones.
            rescale: Not used: artifact boxes stay in input pixels, where faces are aligned.

        Returns:
            The samples with ``pred_score``, ``pred_label`` and ``pred_instances``; with ``pred_heat``
            (H, W) too where the test config of the artifact head names a ``heat_map``, see
            :mod:`iid_mm.models.heat_maps`.
        """
        if batch_data_samples is None:
            shape = tuple(batch_inputs.shape[-2:])
            batch_data_samples = [
                ForgeryDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape))
                for _ in range(len(batch_inputs))
            ]
        backbone_feats, levels = self.extract_feat(batch_inputs)
        samples: list[ForgeryDataSample] = self.forgery_head.predict(
            backbone_feats[-1], self.fused_map(levels), batch_data_samples
        )
        if self.artifact_head is not None:
            for sample, instances in zip(samples, self._predict_boxes(levels, samples), strict=True):
                sample.pred_instances = instances
        return samples

    def _predict_boxes(self, levels: Features, samples: list[ForgeryDataSample]) -> list[InstanceData]:
        """Boxes of each sample; ``pred_heat`` is set where the head's test config names a ``heat_map``."""
        head: Any = self.artifact_head
        kind = (head.test_cfg or {}).get('heat_map')
        if kind is None:
            return list(head.predict(levels, samples, rescale=False))
        metas = [sample.metainfo for sample in samples]
        outs = head(levels)
        for sample, heat in zip(samples, head_heat_maps(head, outs, metas, kind), strict=True):
            sample.pred_heat = heat
        return list(head.predict_by_feat(*outs, batch_img_metas=metas, rescale=False))

    def _forward(
        self,
        batch_inputs: torch.Tensor,
        batch_data_samples: Sequence[ForgeryDataSample] | None = None,
    ) -> tuple[torch.Tensor, tuple[Any, ...]]:
        """Run the network only (``mode='tensor'``).

        Args:
            batch_inputs: (N, 3, H, W).
            batch_data_samples: Not used.

        Returns:
            The logits (N, 2), column 1 = fake, and what the artifact head's ``forward`` returns: for
            :class:`ArtifactHead` the class maps (N, A * 2, h, w), background last, and the offset maps
            (N, A * 4, h, w) of each level. Without an artifact head two empty lists.
        """
        backbone_feats, levels = self.extract_feat(batch_inputs)
        logits = self.forgery_head(backbone_feats[-1], self.fused_map(levels))
        if self.artifact_head is None:
            return logits, ([], [])
        return logits, tuple(self.artifact_head(levels))

    def fused_map(self, levels: Features) -> torch.Tensor | None:
        """The level that joins the global head; None without one.

        Args:
            levels: The neck's levels.

        Raises:
            InputError: If there is no level ``fused_level``.
        """
        if not levels or self.fused_level is None:
            return None
        if not -len(levels) <= self.fused_level < len(levels):
            raise InputError(
                f'fused_level={self.fused_level}: the neck has {len(levels)} levels, 0 to {len(levels) - 1}'
            )
        return levels[self.fused_level]

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter, for learning rates that fall toward the input.

        mmpretrain's ``LearningRateDecayOptimWrapperConstructor`` calls it.

        Args:
            param_name: Name of the parameter.
            prefix: Prefix of its name, before the name within the detector.

        Returns:
            The depth and the number of depths; neck and heads have the last one.

        Raises:
            InputError: If the backbone does not know the depth of its layers.
        """
        try:
            depth, number = self.backbone.get_layer_depth(param_name, f'{prefix}backbone.')
        except AttributeError as error:
            raise InputError(
                f'model.backbone: {error}, which layer_decay_rate needs; use '
                "optim_wrapper.constructor='DefaultOptimWrapperConstructor'"
            ) from error
        return int(depth), int(number)

    @torch.no_grad()
    def check_wiring(self, size: Size) -> None:
        """Send one empty image through the parts and check that they fit each other.

        Mode and statistics stay as they are. Anchors that do not cover the image are a warning.

        Args:
            size: Width and height of the input in pixels.

        Raises:
            InputError: If a part does not fit the one before it, or the artifact head was made for another
                number of levels. The message names it, with the sizes of all maps so far.
        """
        was_training = self.training
        parameter = next(self.parameters())
        image = torch.zeros(1, 3, size[1], size[0], device=parameter.device, dtype=parameter.dtype)
        probe = WiringProbe(size)
        self.eval()
        try:
            feats = probe.run(self.backbone, 'backbone', image)
            probe.check_maps(feats, 'backbone')
            levels = () if self.neck is None else probe.run(self.neck, 'neck', feats)
            probe.run(lambda: self.forgery_head(feats[-1], self.fused_map(levels)), 'forgery_head')
            if self.artifact_head is not None:
                probe.check_levels(self.artifact_head, levels)
                probe.run(self.artifact_head, 'artifact_head', levels)
        finally:
            self.train(was_training)

    @staticmethod
    def _with_prefix(role: str, losses: dict[str, Any]) -> dict[str, Any]:
        return {f'{role}.{name}': value for name, value in losses.items()}
