# The same data at 112 px, for small models and machines without a GPU: all lengths are halved.
_base_ = './ffpp.py'

size = (112, 112)
# Blur and resampling are twice as strong at half the size, too much for short training of a small model from
# scratch: each operation is less likely than in the published recipe.
degradation = dict(
    type='DegradeFace',
    probs=dict(
        half_resolution=0.02,
        down_up=0.05,
        min_max_stretch=0.2,
        shift_hsv=0.2,
        gamma=0.3,
        color_tone=0.2,
        low_frequency_noise=0.1,
        motion_blur=0.02,
        gaussian_blur=0.05,
        gaussian_noise=0.05,
        jpeg=0.05))
jitter = dict(scale_std=0.05, shift=12, rotation=15)
train_pipeline = [
    dict(type='LoadForgeryPair'),
    dict(type='AlignFace', size=size, jitter=jitter),
    dict(type='MultiScaleFacialSwap', windows=((20, 40), (40, 60), (60, 80), (112, 112))),
    degradation,
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryInputs'),
]
test_pipeline = [
    dict(type='LoadForgeryPair', with_source=False),
    dict(type='AlignFace', size=size),
    dict(type='PackForgeryInputs'),
]
train_dataloader = dict(batch_size=16, num_workers=2, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=64, num_workers=2, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(batch_size=64, num_workers=2, dataset=dict(pipeline=test_pipeline))
