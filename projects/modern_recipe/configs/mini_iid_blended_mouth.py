# The chosen recipe with a third of its blends in the mouth only, which only reenactment changes.
# Run with PYTHONPATH=projects/self_blended.
_base_ = './mini_iid_blended.py'

train_pipeline = [
    dict(type='LoadForgeryPair', cache_mib=1024),
    dict(type='AlignFace', size={{_base_.size}}, jitter={{_base_.jitter}}),
    {{_base_.swap}},
    # Fakes pass unchanged in both branches.
    dict(
        type='RandomChoice',
        prob=[2 / 3, 1 / 3],
        transforms=[
            [
                dict(type='LoadDonor', prob=1.0, cache_mib=256),
                dict(type='SelfBlendedImage', hulls=['face', 'brows_to_chin', 'inner']),
            ],
            [dict(type='SelfBlendedImage', hulls=['mouth'], ratios=[0.75, 1.0])],
        ]),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryPair'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
