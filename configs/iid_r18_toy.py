# The demo: a half as wide model on the generated toy set, for minutes on a CPU. Face2Face is not seen in training.
_base_ = './iid_r18_ffpp.py'

data_root = '{{$IID_DATA_ROOT:demo/prepared}}'
seen = ('FaceSwap', 'Deepfakes', 'NeuralTextures')

model = dict(
    backbone=dict(stem_channels=32, base_channels=32),
    neck=dict(in_channels=128),
    forgery_head=dict(in_channels=128))

train_dataloader = dict(dataset=dict(data_root=data_root, methods=seen))
val_dataloader = dict(dataset=dict(data_root=data_root, methods=seen))
test_dataloader = dict(dataset=dict(data_root=data_root))

train_cfg = dict(val_interval=5)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
