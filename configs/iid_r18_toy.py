# The demo: a model of half the width on the generated toy set, for minutes on a CPU. Face2Face is left out of training.
_base_ = './iid_r18_ffpp.py'

data_root = '{{$IID_DATA_ROOT:demo/prepared}}'
seen = ('FaceSwap', 'Deepfakes', 'NeuralTextures')

model = dict(
    backbone=dict(stem_channels=32, base_channels=32),
    neck=dict(in_channels=128),
    # Three fakes a genuine face.
    forgery_head=dict(in_channels=128, loss=dict(class_weight=[1.5, 0.5])))

# A few minutes of training are too short for blur, compression and large shifts. Swaps of the genuine face into
# the fake frame are rare, because the traces of the toy set lie inside the face.
train_pipeline = [
    dict(type='LoadForgeryPair'),
    dict(type='AlignFace', size=(112, 112), jitter=dict(scale_std=0.03, shift=8, rotation=8)),
    dict(
        type='MultiScaleFacialSwap',
        windows=((20, 40), (40, 60), (60, 80), (112, 112)),
        genuine_into_fake_prob=0.1,
        keep_fake_prob=0.6),
    dict(
        type='DegradeFace',
        probs=dict(
            half_resolution=0,
            down_up=0,
            min_max_stretch=0.2,
            shift_hsv=0.2,
            gamma=0.3,
            color_tone=0.2,
            low_frequency_noise=0.1,
            motion_blur=0,
            gaussian_blur=0.02,
            gaussian_noise=0.02,
            jpeg=0.02)),
    dict(type='FlipFace', prob=0.5),
    dict(type='PackForgeryInputs'),
]
train_dataloader = dict(
    num_workers=1, dataset=dict(data_root=data_root, methods=seen, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, methods=seen))
test_dataloader = dict(dataset=dict(data_root=data_root))

max_epochs = 14
train_cfg = dict(max_epochs=max_epochs, val_interval=7)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=1,
        T_max=max_epochs - 1,
        end=max_epochs,
        eta_min=1e-5,
        convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
