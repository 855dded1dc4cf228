# A small model that trains on a CPU: the first three stages of ResNet-18, from scratch, on 112 px faces, and
# an ADM with 128 channels.
_base_ = [
    '_base_/models/iid_effb4.py',
    '_base_/datasets/ffpp_112.py',
    '_base_/schedules/iid_200e.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ResNet',
        depth=18,
        # Stride 16 after the third stage: 112 px give the 7x7 map that the ADM starts from.
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2, )),
    neck=dict(in_channels=256, channels=128),
    artifact_head=dict(
        in_channels=128,
        anchor_generator=dict(
            strides=[16, 22, 37, 112],
            sizes=[[(20, 40), (40, 20)], [(40, 60), (60, 40)], [(60, 80), (80, 60)],
                   [(112, 112), (112, 112)]])),
    forgery_head=dict(in_channels=256, artifact_channels=128, dropout=0.0))

max_epochs = 20
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=1e-2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=1,
        T_max=max_epochs - 1,
        end=max_epochs,
        eta_min=1e-5,
        convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=16)
