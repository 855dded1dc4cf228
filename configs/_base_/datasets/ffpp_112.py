# The same data at 112 px, for small models and machines without a GPU: all lengths are halved.
_base_ = './ffpp.py'

size = (112, 112)
train_pipeline = [
    dict(type='LoadForgeryPair'),
    dict(type='AlignFace', size=size, jitter=dict()),
    dict(type='MultiScaleFacialSwap', windows=((20, 40), (40, 60), (60, 80), (112, 112))),
    dict(type='ForgeryDegradation'),
    dict(type='ForgeryFlip', prob=0.5),
    dict(type='PackForgeryInputs'),
]
test_pipeline = [
    dict(type='LoadForgeryPair', with_source=False),
    dict(type='AlignFace', size=size),
    dict(type='PackForgeryInputs'),
]
train_dataloader = dict(batch_size=32, num_workers=2, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=64, num_workers=2, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(batch_size=64, num_workers=2, dataset=dict(pipeline=test_pipeline))
