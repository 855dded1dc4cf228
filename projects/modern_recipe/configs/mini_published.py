# The published recipe: its shares of facial swaps, the last level of the ADM joins the global head, no pairs.
_base_ = '../../identity_leakage/configs/real_iid_last_level.py'

train_pipeline = [
    dict(type='LoadForgeryPair', cache_mib=1024),
    dict(type='AlignFace', size={{_base_.size}}, jitter={{_base_.jitter}}),
    dict(type='MultiScaleFacialSwap', windows=((20, 40), (40, 60), (60, 80), (112, 112))),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryInputs'),
]
train_dataloader = dict(
    batch_size=16,
    collate_fn=dict(_delete_=True, type='pseudo_collate'),
    dataset=dict(paired_only=False, pipeline=train_pipeline))

# 144 videos an epoch instead of 96 pairs.
max_epochs = 16
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
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
