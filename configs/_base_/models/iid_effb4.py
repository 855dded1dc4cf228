# ID-unaware detector with EfficientNet-b4, as published (arXiv 2210.14457; numbers of its public code) except genuine_negatives.
model = dict(
    type='IIDDetector',
    # Raw 0-255 BGR, no mean/std normalization.
    data_preprocessor=dict(type='DetDataPreprocessor'),
    backbone=dict(
        type='mmpretrain.EfficientNet',
        arch='b4',
        drop_path_rate=0.2,
        norm_cfg=dict(type='BN', eps=1e-3, momentum=0.01),
        out_indices=(6, ),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/efficientnet/'
            'efficientnet-b4_3rdparty_8xb32_in1k_20220119-81fd4077.pth',
            prefix='backbone')),
    neck=dict(type='ArtifactNeck', in_channels=1792),
    artifact_head=dict(
        type='ArtifactHead',
        in_channels=1792,
        neg_pos_ratio=2,
        # 0 is the published behavior: genuine faces contribute no loss to the artifact head.
        genuine_negatives=3,
        anchor_generator=dict(
            type='ExplicitAnchorGenerator',
            strides=[32, 45, 75, 224],
            sizes=[[(40, 80), (80, 40)], [(80, 120), (120, 80)], [(120, 160), (160, 120)],
                   [(224, 224), (224, 224)]]),
        bbox_coder=dict(
            type='SSDBBoxCoder',
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.1),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=0.1)),
    forgery_head=dict(
        type='ForgeryHead',
        in_channels=1792,
        artifact_channels=1792,
        dropout=0.4,
        loss=dict(type='CrossEntropyLoss', use_sigmoid=False)),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            ignore_iof_thr=-1,
            gt_max_assign_all=False),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.45),
        max_per_img=10))
