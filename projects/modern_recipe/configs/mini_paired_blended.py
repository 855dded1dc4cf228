# Pairs, half of them blended of two genuine people (Face X-ray). Run with PYTHONPATH=projects/self_blended.
_base_ = './mini_paired_sbi.py'

train_pipeline = [
    dict(type='LoadForgeryPair', cache_mib=1024),
    dict(type='AlignFace', size={{_base_.size}}, jitter={{_base_.jitter}}),
    # Fakes pass unchanged; every genuine face is blended with that of another person.
    dict(type='LoadDonor', prob=1.0, cache_mib=256),
    dict(type='SelfBlendedImage', hulls=['face', 'brows_to_chin', 'inner']),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryPair'),
]
train_dataloader = dict(dataset=dict(type='DonorForgeryDataset', pipeline=train_pipeline))
