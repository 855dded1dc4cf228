# Mixing components: an mmpretrain ConvNeXt, an mmdet FPN and an mmdet RetinaHead as artifact head.
_base_ = './iid_effb4_ffpp.py'

model = dict(
    # The ImageNet weights expect RGB with this mean and standard deviation.
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='tiny',
        drop_path_rate=0.1,
        out_indices=(1, 2, 3),
        gap_before_final_norm=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/convnext/'
            'convnext-tiny_32xb128_in1k_20221207-998cf3e9.pth',
            prefix='backbone')),
    neck=dict(
        _delete_=True,
        type='mmdet.FPN',
        in_channels=[192, 384, 768],
        out_channels=256,
        num_outs=3),
    artifact_head=dict(
        _delete_=True,
        type='mmdet.RetinaHead',
        num_classes=1,
        in_channels=256,
        stacked_convs=2,
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=2,
            ratios=[0.5, 1.0, 2.0],
            strides=[8, 16, 32]),
        bbox_coder=dict(type='SSDBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=0.1),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=0.1)),
    forgery_head=dict(in_channels=768, artifact_channels=256, dropout=0.0),
    train_cfg=dict(assigner=dict(neg_iou_thr=0.4)))
