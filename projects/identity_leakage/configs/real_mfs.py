# Facial swaps without the artifact detection module.
_base_ = './real_iid.py'

model = dict(neck=None, artifact_head=None, forgery_head=dict(artifact_channels=None))
