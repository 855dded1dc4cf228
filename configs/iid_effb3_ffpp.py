# The published model with EfficientNet-b3.
_base_ = './iid_effb4_ffpp.py'

model = dict(
    backbone=dict(
        arch='b3',
        init_cfg=dict(
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/efficientnet/'
            'efficientnet-b3_3rdparty_8xb32_in1k_20220119-4b4d7487.pth')),
    neck=dict(in_channels=1536),
    artifact_head=dict(in_channels=1536),
    forgery_head=dict(in_channels=1536, artifact_channels=1536, dropout=0.3))
