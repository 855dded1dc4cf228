# The plain classifier with the genuine frame of every fake in the batch; neither module nor swaps.
_base_ = './toy_iid_paired.py'

no_swap = dict(
    type='MultiScaleFacialSwap', partial_prob=0, genuine_into_fake_prob=0, keep_fake_prob=1)
train_pipeline = [
    dict(type='LoadForgeryPair', cache_mib=1024),
    dict(type='AlignFace', size={{_base_.size}}, jitter={{_base_.jitter}}),
    no_swap,
    dict(type='DegradeFace', probs={{_base_.degradation.probs}}, with_source=True),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryPair'),
]
model = dict(neck=None, artifact_head=None, forgery_head=dict(artifact_channels=None))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
