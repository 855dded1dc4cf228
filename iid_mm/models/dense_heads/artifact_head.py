# SPDX-License-Identifier: Apache-2.0
"""Anchor head that localizes artifact areas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import AnchorHead
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import nn

from iid_mm.errors import InputError
from iid_mm.registry import MODELS
from iid_mm.utils.typing import ConfigType, Features


@MODELS.register_module()
class ArtifactHead(AnchorHead):
    """SSD-style anchor head of the Artifact Detection Module (arXiv 2210.14457, section 4.1).

    One convolution a level predicts the classes and one the offsets of all anchors of a cell. The loss
    is the cross entropy of the positive anchors and of the hardest negative ones plus the smooth L1
    loss of the positive anchors' offsets, both divided by the number of positive anchors, to which
    genuine images add a share (``genuine_negatives``).

    Letters: N images, A anchors a cell, K classes with background (last), M anchors an image.

    Args:
        in_channels: Channels of every level.
        anchor_generator: Config of the anchors; names the number of levels.
        num_classes: Number of artifact classes without background.
        kernel_sizes: Kernel of the predictors of each level; 3 everywhere but on the 1x1 level.
        neg_pos_ratio: Hard negatives per positive anchor in images with boxes.
        genuine_negatives: Hard negatives in an image without boxes, so that genuine faces train the
            background class. 0 is the published behavior: such images contribute no loss. In the normalizer
            each such image counts as ``genuine_negatives / neg_pos_ratio`` positive anchors.
        **kwargs: Of :class:`mmdet.models.dense_heads.AnchorHead` (coder, losses, train and test config).

    Raises:
        InputError: If the numbers of kernels and of levels with anchors differ.
    """

    def __init__(
        self,
        in_channels: int,
        anchor_generator: ConfigType,
        num_classes: int = 1,
        kernel_sizes: Sequence[int] = (3, 3, 3, 1),
        neg_pos_ratio: float = 2.0,
        genuine_negatives: int = 3,
        **kwargs: Any,
    ) -> None:
        self.kernel_sizes = tuple(kernel_sizes)
        self.neg_pos_ratio = neg_pos_ratio
        self.genuine_negatives = genuine_negatives
        if neg_pos_ratio <= 0 or genuine_negatives < 0:
            raise InputError(
                f'neg_pos_ratio={neg_pos_ratio} must be above 0 and '
                f'genuine_negatives={genuine_negatives} at least 0'
            )
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            anchor_generator=anchor_generator,
            **kwargs,
        )

    def _init_layers(self) -> None:
        priors = self.prior_generator.num_base_priors
        if len(priors) != len(self.kernel_sizes):
            raise InputError(
                f'kernel_sizes={self.kernel_sizes} names {len(self.kernel_sizes)} levels and the '
                f'anchor generator {len(priors)}; give one kernel size a level'
            )
        self.conv_cls = self._predictors([n * self.cls_out_channels for n in priors])
        self.conv_reg = self._predictors([n * self.bbox_coder.encode_size for n in priors])

    def _predictors(self, out_channels: Sequence[int]) -> nn.ModuleList:
        return nn.ModuleList(
            nn.Conv2d(self.in_channels, out, kernel, padding=kernel // 2)
            for out, kernel in zip(out_channels, self.kernel_sizes, strict=True)
        )

    def forward(self, feats: Features) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Predict for every anchor.

        Args:
            feats: One (N, C, H, W) map a level.

        Returns:
            For each level the class logits (N, A * K, H, W), background last, and the encoded offsets
            (N, A * 4, H, W).

        Raises:
            InputError: If there is another number of levels than the head was made for.
        """
        if len(feats) != len(self.kernel_sizes):
            raise InputError(
                f'ArtifactHead was made for {len(self.kernel_sizes)} levels and got {len(feats)}; '
                'match kernel_sizes and anchor_generator to the outputs of the neck'
            )
        cls_maps = [conv(feat) for conv, feat in zip(self.conv_cls, feats, strict=True)]
        reg_maps = [conv(feat) for conv, feat in zip(self.conv_reg, feats, strict=True)]
        return cls_maps, reg_maps

    def loss_by_feat(
        self,
        cls_scores: list[torch.Tensor],
        bbox_preds: list[torch.Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict[str, Any]],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Compute the losses.

        Args:
            cls_scores: Class logits of each level, (N, A * K, H, W).
            bbox_preds: Offsets of each level, (N, A * 4, H, W).
            batch_gt_instances: For each image ``bboxes`` (n, 4) xyxy in input pixels and ``labels`` (n,).
            batch_img_metas: For each image ``img_shape`` and ``pad_shape``, (h, w).
            batch_gt_instances_ignore: Not used.

        Returns:
            ``loss_cls`` and ``loss_bbox``, scalars.
        """
        logits = self._flatten(cls_scores, self.cls_out_channels)
        offsets = self._flatten(bbox_preds, self.bbox_coder.encode_size)
        anchors, valid_flags = self.get_anchors(
            [maps.shape[-2:] for maps in cls_scores], batch_img_metas, device=logits.device
        )
        labels, label_weights, targets, target_weights = self._targets(
            anchors, valid_flags, batch_gt_instances, batch_img_metas
        )
        label, weight = torch.stack(labels), torch.stack(label_weights)
        is_genuine = torch.tensor([len(gt) == 0 for gt in batch_gt_instances], device=logits.device)

        anchor_loss = self.loss_cls(
            logits.flatten(0, 1), label.flatten(), weight.flatten(), reduction_override='none'
        )
        anchor_loss = anchor_loss.reshape(*label.shape, -1).sum(dim=-1)
        positive = label < self.num_classes
        negative = self._hard_negatives(anchor_loss.detach(), positive, weight > 0, is_genuine)

        genuine_share = self.genuine_negatives / self.neg_pos_ratio
        count = positive.sum() + genuine_share * is_genuine.sum()
        avg_factor = reduce_mean(count.float()).clamp(min=1)
        loss_cls = (anchor_loss * (positive | negative)).sum() / avg_factor
        loss_bbox = self.loss_bbox(
            offsets.flatten(0, 1),
            torch.stack(targets).flatten(0, 1),
            torch.stack(target_weights).flatten(0, 1),
            avg_factor=avg_factor,
        )
        return dict(loss_cls=loss_cls, loss_bbox=loss_bbox)

    def _targets(
        self,
        anchors: list[list[torch.Tensor]],
        valid_flags: list[list[torch.Tensor]],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict[str, Any]],
    ) -> tuple[list[torch.Tensor], ...]:
        """Assign anchors to boxes, once for images with equal boxes and labels.

        Most images have no box or the whole-canvas box alone, so few assignments serve a batch.

        Returns:
            For each image labels (M,), label weights (M,), offsets (M, 4) and offset weights (M, 4).
        """
        # One transfer of all boxes: reading them image by image would synchronize a GPU each time.
        truth = torch.cat([torch.column_stack([gt.bboxes, gt.labels]) for gt in batch_gt_instances]).tolist()
        known: dict[Any, tuple[Any, ...]] = {}
        results = []
        start = 0
        for image, (gt, meta) in enumerate(zip(batch_gt_instances, batch_img_metas, strict=True)):
            stop = start + len(gt)
            key = (str(truth[start:stop]), tuple(meta['img_shape']), tuple(meta['pad_shape']))
            start = stop
            if key not in known:
                known[key] = self._get_targets_single(
                    torch.cat(anchors[image]), torch.cat(valid_flags[image]), gt, meta
                )[:4]
            results.append(known[key])
        return tuple(map(list, zip(*results, strict=True)))

    @staticmethod
    def _flatten(maps: list[torch.Tensor], channels: int) -> torch.Tensor:
        """Bring the maps of all levels, (N, A * channels, H, W), to (N, M, channels)."""
        return torch.cat(
            [m.permute(0, 2, 3, 1).reshape(m.shape[0], -1, channels) for m in maps], dim=1
        ).float()

    def _hard_negatives(
        self,
        anchor_loss: torch.Tensor,
        positive: torch.Tensor,
        used: torch.Tensor,
        is_genuine: torch.Tensor,
    ) -> torch.Tensor:
        """Choose the negative anchors with the largest loss in each image.

        Args:
            anchor_loss: (N, M).
            positive: (N, M) bool.
            used: (N, M) bool, false for anchors that the assigner ignores.
            is_genuine: (N,) bool, images without boxes.

        Returns:
            (N, M) bool.
        """
        candidates = used & ~positive
        quota = (self.neg_pos_ratio * positive.sum(dim=1)).long()
        quota = torch.where(is_genuine, self.genuine_negatives, quota)
        ranked = anchor_loss.masked_fill(~candidates, -1.0)
        rank = ranked.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return candidates & (rank < quota[:, None])
