# The published model with ResNet-34.
_base_ = './iid_effb4_ffpp.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ResNet',
        depth=34,
        out_indices=(3, ),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/resnet/'
            'resnet34_8xb32_in1k_20210831-f257d4e6.pth',
            prefix='backbone')),
    neck=dict(in_channels=512),
    artifact_head=dict(in_channels=512),
    forgery_head=dict(in_channels=512, artifact_channels=512, dropout=0.0))
