# The plain classifier to compare iid_r18_ffpp.py with: no ADM, no facial swaps, all else equal.
_base_ = './iid_r18_ffpp.py'

model = dict(neck=None, artifact_head=None, forgery_head=dict(artifact_channels=None))

train_pipeline = [
    dict(type='LoadForgeryPair', with_source=False),
    dict(type='AlignFace', size=(112, 112), jitter={{_base_.jitter}}),
    {{_base_.degradation}},
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
