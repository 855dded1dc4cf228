# A plain vision transformer: ViT-B/16 (MAE weights). An adapter fuses the maps of blocks 3, 6, 9 and 12 for the ADM.
_base_ = './iid_effb4_ffpp.py'

model = dict(
    # The weights expect RGB with this mean and standard deviation.
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.VisionTransformer',
        arch='base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        out_type='featmap',
        out_indices=(2, 5, 8, 11),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/vit/'
            'vit-base-p16_pt-32xb128-mae_in1k_20220623-4c544545.pth',
            prefix='backbone')),
    neck=dict(_delete_=True, type='PatchArtifactNeck', in_channels=[768, 768, 768, 768], channels=256),
    artifact_head=dict(in_channels=256),
    forgery_head=dict(in_channels=768, artifact_channels=256, dropout=0.0))

max_epochs = 50
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(
    optimizer=dict(lr=5e-4, weight_decay=0.05),
    clip_grad=dict(_delete_=True, type='norm', max_norm=1.0),
    # Learning rates fall toward the input.
    constructor='mmpretrain.LearningRateDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.75, norm_decay_mult=0.0, bias_decay_mult=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=2, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=2,
        T_max=max_epochs - 2,
        end=max_epochs,
        eta_min=1e-6,
        convert_to_iter_based=True),
]
