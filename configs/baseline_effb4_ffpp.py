# The plain classifier to compare with: same backbone, schedule and degradation, no ADM and no facial swaps.
_base_ = './iid_effb4_ffpp.py'

model = dict(neck=None, artifact_head=None, forgery_head=dict(artifact_channels=None))

train_pipeline = [
    dict(type='LoadForgeryPair', with_source=False),
    dict(type='AlignFace', size=(224, 224), jitter=dict()),
    dict(type='DegradeFace'),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
