# The demo: a half as wide model on the generated toy set, for minutes on a CPU. Face2Face is not seen in training.
_base_ = './iid_r18_ffpp.py'

data_root = '{{$IID_DATA_ROOT:demo/prepared}}'
seen = ('FaceSwap', 'Deepfakes', 'NeuralTextures')

model = dict(
    backbone=dict(stem_channels=32, base_channels=32),
    neck=dict(in_channels=128),
    forgery_head=dict(in_channels=128))

# In a few minutes of training, swaps that put the genuine face into the fake frame teach little, because the
# toy set's traces lie inside the face: they are rare here, and more fakes stay as they are.
swap = dict(
    type='MultiScaleFacialSwap',
    windows=((20, 40), (40, 60), (60, 80), (112, 112)),
    genuine_into_fake_prob=0.1,
    keep_fake_prob=0.6)
train_pipeline = [
    dict(type='LoadForgeryPair'),
    dict(type='AlignFace', size=(112, 112), jitter={{_base_.jitter}}),
    swap,
    {{_base_.degradation}},
    dict(type='ForgeryFlip', prob=0.5),
    dict(type='PackForgeryInputs'),
]
train_dataloader = dict(
    num_workers=1, dataset=dict(data_root=data_root, methods=seen, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, methods=seen))
test_dataloader = dict(dataset=dict(data_root=data_root))

train_cfg = dict(val_interval=5)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
