# The demo: the small model on the generated toy set, for minutes on a CPU. Face2Face is not seen in training.
_base_ = './iid_r18_ffpp.py'

data_root = '{{$IID_DATA_ROOT:demo/prepared}}'
seen = ('FaceSwap', 'Deepfakes', 'NeuralTextures')
train_dataloader = dict(dataset=dict(data_root=data_root, methods=seen))
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
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
