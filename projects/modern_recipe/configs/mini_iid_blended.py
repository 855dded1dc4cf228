# IID with the local level and pairs, half of them blended of two genuine people, with boxes of what was blended.
# Run with PYTHONPATH=projects/self_blended.
_base_ = '../../identity_leakage/configs/real_iid.py'
custom_imports = dict(imports=['iid_mm', 'self_blended'], allow_failed_imports=False)

train_pipeline = [
    dict(type='LoadForgeryPair', cache_mib=1024),
    dict(type='AlignFace', size={{_base_.size}}, jitter={{_base_.jitter}}),
    {{_base_.swap}},
    # Fakes pass unchanged; every genuine face is blended with that of another person.
    dict(type='LoadDonor', prob=1.0, cache_mib=256),
    dict(type='SelfBlendedImage', hulls=['face', 'brows_to_chin', 'inner']),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryPair'),
]
train_dataloader = dict(
    # As many pairs an epoch as there are fakes of the dataset.
    sampler=dict(_delete_=True, type='BalancedSampler', by=['label', 'method', 'video'], size=768),
    dataset=dict(
        type='DonorForgeryDataset', paired_only=False, require_pair=True, pipeline=train_pipeline))
