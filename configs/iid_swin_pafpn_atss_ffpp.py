# Mixing components: an mmpretrain Swin-T, an mmdet PAFPN and an mmdet ATSSHead as artifact head.
_base_ = './iid_effb4_ffpp.py'

model = dict(
    # The ImageNet weights expect RGB with this mean and standard deviation.
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.SwinTransformer',
        arch='tiny',
        img_size=224,
        drop_path_rate=0.2,
        out_indices=(1, 2, 3),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/swin-transformer/'
            'swin_tiny_224_b16x64_300e_imagenet_20210616_090925-66df6be6.pth',
            prefix='backbone')),
    neck=dict(
        _delete_=True,
        type='mmdet.PAFPN',
        in_channels=[192, 384, 768],
        out_channels=256,
        num_outs=3),
    artifact_head=dict(
        _delete_=True,
        type='mmdet.ATSSHead',
        num_classes=1,
        in_channels=256,
        stacked_convs=2,
        feat_channels=256,
        anchor_generator=dict(
            type='AnchorGenerator',
            ratios=[1.0],
            octave_base_scale=8,
            scales_per_octave=1,
            strides=[8, 16, 32]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=0.1),
        loss_bbox=dict(type='GIoULoss', loss_weight=0.1),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.1)),
    forgery_head=dict(
        in_channels=768,
        artifact_channels=256,
        dropout=0.0,
        loss=dict(_delete_=True, type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1, num_classes=2)),
    train_cfg=dict(assigner=dict(_delete_=True, type='ATSSAssigner', topk=9)))
