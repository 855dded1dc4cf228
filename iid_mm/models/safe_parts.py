# SPDX-License-Identifier: Apache-2.0
"""What a config from a stranger may build.

The constructors of these classes, and what they run when images are predicted, open no files and no
addresses and evaluate no text, whatever their arguments. To add one, read its code first.
"""

from __future__ import annotations


def _names(text: str, *scopes: str) -> tuple[str, ...]:
    """The words of a text, each with every scope before it; an empty scope is none."""
    return tuple(f'{scope}.{name}'.lstrip('.') for scope in scopes for name in text.split())


DETECTORS = _names('IIDDetector', '', 'iid_mm')
STEPS = _names('AlignFace PackForgeryInputs', '', 'iid_mm')
"""Transforms of test pipelines."""

_OURS = """
    ArtifactHead ArtifactNeck ExplicitAnchorGenerator ForgeryHead LoRABackbone PatchArtifactNeck SSDBBoxCoder
"""
_MMPRETRAIN = """
    BEiTViT CSPDarkNet CSPResNeXt CSPResNet ConvNeXt DeiT3 DenseNet DistilledVisionTransformer EfficientNet
    EfficientNetV2 HRNet MobileNetV2 MobileNetV3 RegNet RepVGG Res2Net ResNeSt ResNeXt ResNet ResNetV1c
    ResNetV1d SEResNeXt SEResNet ShuffleNetV2 SwinTransformer SwinTransformerV2 VGG ViTEVA02 VisionTransformer
    ClsDataPreprocessor GRN LN2d QuickGELU CrossEntropyLoss FocalLoss LabelSmoothLoss
"""
_MMDET = """
    DetDataPreprocessor
    CSPDarknet CSPNeXt EfficientNet HRNet MobileNetV2 RegNet Res2Net ResNeSt ResNeXt ResNet ResNetV1d
    SwinTransformer
    BFP CSPNeXtPAFPN ChannelMapper DilatedEncoder FPN HRFPN NASFPN PAFPN SSDNeck YOLOXPAFPN
    ATSSHead AnchorHead FCOSHead FreeAnchorRetinaHead GFLHead PAAHead RetinaHead SSDHead TOODHead VFNetHead
    BalancedL1Loss BoundedIoULoss CIoULoss CrossEntropyLoss DIoULoss DistributionFocalLoss EIoULoss FocalLoss
    GIoULoss IoULoss L1Loss MSELoss QualityFocalLoss SIoULoss SmoothL1Loss VarifocalLoss
    ATSSAssigner BboxOverlaps2D MaxIoUAssigner PointAssigner PseudoSampler RandomSampler SimOTAAssigner
    TaskAlignedAssigner
    AnchorGenerator DeltaXYWHBBoxCoder DistancePointBBoxCoder MlvlPointGenerator SSDAnchorGenerator
    TBLRBBoxCoder
"""
_LAYERS = """
    BN BN1d BN2d GN IN IN2d LN SyncBN
    Conv Conv1d Conv2d Conv2dAdaptivePadding ConvAWS ConvWS Linear bilinear nearest
    DropPath Dropout ELU GELU HSigmoid HSwish LeakyReLU PReLU ReLU ReLU6 SiLU Sigmoid Swish Tanh
"""
_SUPPRESSION = 'nms soft_nms'

PARTS = frozenset(
    (
        *_names(_OURS, '', 'iid_mm'),
        *_names(_MMPRETRAIN, 'mmpretrain'),
        # Names without a scope are looked up in mmdet, then in MMEngine.
        *_names(_MMDET, '', 'mmdet'),
        *_names(_LAYERS, ''),
        *_names(_SUPPRESSION, ''),
    )
)
"""Parts of detectors."""
