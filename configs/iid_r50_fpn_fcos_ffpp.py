# Mixing components: an mmpretrain ResNet-50, an mmdet FPN and an anchor-free FCOSHead as artifact head.
_base_ = './iid_effb4_ffpp.py'

model = dict(
    # The ImageNet weights expect RGB with this mean and standard deviation.
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ResNet',
        depth=50,
        out_indices=(1, 2, 3),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/resnet/'
            'resnet50_8xb32_in1k_20210831-ea4938fc.pth',
            prefix='backbone')),
    neck=dict(
        _delete_=True,
        type='mmdet.FPN',
        in_channels=[512, 1024, 2048],
        out_channels=256,
        num_outs=3),
    artifact_head=dict(
        _delete_=True,
        type='mmdet.FCOSHead',
        num_classes=1,
        in_channels=256,
        stacked_convs=2,
        feat_channels=256,
        strides=[8, 16, 32],
        regress_ranges=((-1, 48), (48, 96), (96, 1e8)),
        norm_cfg=dict(type='GN', num_groups=32),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=0.1),
        loss_bbox=dict(type='IoULoss', loss_weight=0.1),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.1)),
    forgery_head=dict(in_channels=2048, artifact_channels=256, dropout=0.0),
    train_cfg=None)
