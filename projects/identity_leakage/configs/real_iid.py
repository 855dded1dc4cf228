# Full IID on real faces in the FaceForensics++ layout, for a CPU: the other arms change the model, or switch the
# facial swaps off. Every fake shares its batch with the genuine frame it was made from, in all arms.
_base_ = '../../../configs/iid_r18_ffpp.py'

size = (112, 112)
jitter = dict(scale_std=0.05, shift=10, rotation=12)
# Genuine faces in fake frames are left out: the forgeries lie inside the hull, where a genuine face undoes them.
swap = dict(
    type='MultiScaleFacialSwap',
    windows=((20, 40), (40, 60), (60, 80), (112, 112)),
    partial_prob=0.5,
    genuine_into_fake_prob=0,
    keep_fake_prob=0.6,
    min_kept_share=0.3)
train_pipeline = [
    dict(type='LoadForgeryPair', cache_mib=1024),
    dict(type='AlignFace', size=size, jitter=jitter),
    swap,
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryPair'),
]

# bfloat16 and channels last are 1.5 to 2.5 times as fast on a CPU with AMX.
optim_wrapper = dict(type='BFloat16OptimWrapper')
model = dict(
    channels_last=True,
    # The finest level joins the global head. With the last one, which sees the whole face, the model memorizes
    # the few people here.
    fused_level=0,
    backbone=dict(stem_channels=32, base_channels=32),
    neck=dict(in_channels=128, channels=64),
    artifact_head=dict(in_channels=64),
    forgery_head=dict(in_channels=128, artifact_channels=64))
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    collate_fn=dict(type='iid_mm.collate_pairs'),
    dataset=dict(paired_only=True, frames_per_video=8, pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(frames_per_video=8))
test_dataloader = dict(num_workers=1, dataset=dict(frames_per_video=16))

# A fixed schedule: run with `--select last`, so that nothing is chosen on the ten validation people.
max_epochs = 12
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
default_hooks = dict(checkpoint=dict(interval=4, max_keep_ckpts=1))
