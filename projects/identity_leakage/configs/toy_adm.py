# The artifact detection module on untouched fakes: their box is the whole canvas.
_base_ = './toy_iid.py'

no_swap = dict(
    type='MultiScaleFacialSwap', partial_prob=0, genuine_into_fake_prob=0, keep_fake_prob=1)
train_pipeline = [
    dict(type='LoadForgeryPair', cache_mib=1024),
    dict(type='AlignFace', size={{_base_.size}}, jitter={{_base_.jitter}}),
    no_swap,
    {{_base_.degradation}},
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
