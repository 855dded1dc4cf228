# EfficientNet-b4 with a 256-channel Artifact Detection Module: 24 M parameters instead of 288 M.
_base_ = './iid_effb4_ffpp.py'

model = dict(
    neck=dict(channels=256),
    artifact_head=dict(in_channels=256),
    forgery_head=dict(artifact_channels=256))
