# Pairs, half of them self-blended. Run with PYTHONPATH=projects/self_blended.
_base_ = '../../identity_leakage/configs/real_baseline.py'
custom_imports = dict(imports=['iid_mm', 'self_blended'], allow_failed_imports=False)

train_pipeline = [
    dict(type='LoadForgeryPair', cache_mib=1024),
    dict(type='AlignFace', size={{_base_.size}}, jitter={{_base_.jitter}}),
    # Fakes pass unchanged; every genuine face becomes a fake.
    dict(type='SelfBlendedImage'),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryPair'),
]
train_dataloader = dict(
    # As many pairs an epoch as there are fakes of the dataset.
    sampler=dict(_delete_=True, type='BalancedSampler', by=['label', 'method', 'video'], size=768),
    dataset=dict(paired_only=False, require_pair=True, pipeline=train_pipeline))
