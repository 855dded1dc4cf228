# As mini_iid_blended, and half of the pairs are compressed as JPEG: blends of decoded frames are not compressed once more
# otherwise, and fakes of the data set are.
_base_ = './mini_iid_blended.py'

compression = dict(
    type='ForgeryDegradation',
    with_source=True,
    probs=dict(
        half_resolution=0,
        down_up=0,
        min_max_stretch=0,
        shift_hsv=0,
        gamma=0,
        colour_tone=0,
        low_frequency_noise=0,
        motion_blur=0,
        gaussian_blur=0,
        gaussian_noise=0,
        jpeg=0.5),
    strengths=dict(jpeg_quality=(60, 95)))
train_pipeline = [
    dict(type='LoadForgeryPair', cache_mib=1024),
    dict(type='AlignFace', size={{_base_.size}}, jitter={{_base_.jitter}}),
    {{_base_.swap}},
    dict(type='LoadDonor', prob=1.0, cache_mib=256),
    dict(type='SelfBlendedImage', hulls=['face', 'brows_to_chin', 'inner']),
    compression,
    dict(type='ForgeryFlip', prob=0.5),
    dict(type='PackForgeryPair'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
