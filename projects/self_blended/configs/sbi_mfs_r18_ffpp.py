# Self-blended images and facial swaps together: fakes of the dataset are swapped, and genuine faces become
# fakes half of the time.
_base_ = './sbi_adm_r18_ffpp.py'

train_pipeline = [
    dict(type='LoadForgeryPair', cache_mib=1024),
    dict(type='AlignFace', size=(112, 112), jitter=dict(scale_std=0.05, shift=10, rotation=12)),
    dict(
        type='MultiScaleFacialSwap',
        windows=((20, 40), (40, 60), (60, 80), (112, 112)),
        genuine_into_fake_prob=0,
        keep_fake_prob=0.6),
    dict(type='SelfBlendedImage', prob=0.5),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryPair'),
]
train_dataloader = dict(dataset=dict(genuine_only=False, pipeline=train_pipeline))
